/* Llama 1 to 3, Mistral, SmolLM2 and all that is converted under this name: queries and keys are stored
 * permuted so that RoPE's pairs lie side by side. Mistral 7B v0.1 has a window in every layer. */
#include "base/err.h"
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "llama"};
    TRY(description_read_common(&reader, d));
    uint32_t n_experts = 0, window;
    TRY(gguf_get_u32(file, "llama.expert_count", &n_experts));
    if (n_experts > 0)
        return ERR(UNSUPPORTED, "llama with %u experts does not run here (dense models do)", n_experts);
    d->ropes[0].is_interleaved = true;
    TRY(description_read_window(&reader, d, 0, &window));
    return description_set_windows(&reader, d, window, 1, 0);
}

const struct arch arch_llama = {.name = "llama", .configure = configure};
