/* Phi 3 and 4 (dense): queries, keys and values in one matrix, gate and up in another, which weights.c cuts;
 * often two lists of RoPE factors, for runs within the original context and beyond. A window, where the file
 * names one, is in every layer, as the models' own code has it (llama.cpp leaves it out). */
#include "base/err.h"
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "phi3"};
    uint32_t window;
    TRY(description_read_common(&reader, d));
    TRY(description_read_window(&reader, d, 0, &window));
    return description_set_windows(&reader, d, window, 1, 0);
}

const struct arch arch_phi3 = {.name = "phi3", .configure = configure};
