/* Llama 1 to 3, Mistral, SmolLM2 and all that is converted under this name: queries and keys are stored
 * permuted so that RoPE's pairs lie side by side. */
#include "base/err.h"
#include "model/description.h"

static int configure(const struct gguf *file, struct description *description) {
    TRY(description_read_common(file, "llama", description));
    uint32_t n_experts = 0;
    TRY(gguf_get_u32(file, "llama.expert_count", &n_experts));
    if (n_experts > 0)
        return ERR(UNSUPPORTED, "llama with %u experts does not run here (dense models do)", n_experts);
    description->rope.is_interleaved = true;
    return 0;
}

const struct arch arch_llama = {.name = "llama", .configure = configure};
