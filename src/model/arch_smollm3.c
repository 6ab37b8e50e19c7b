/* SmolLM3: Llama's shape, every fourth layer without RoPE. */
#include "base/err.h"
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "smollm3"};
    TRY(description_read_common(&reader, d));
    d->ropes[0].is_interleaved = true;
    for (uint32_t i = 3; i < d->n_layers; i += 4) d->layers[i].rope = ROPE_ABSENT;
    return 0;
}

const struct arch arch_smollm3 = {.name = "smollm3", .configure = configure};
