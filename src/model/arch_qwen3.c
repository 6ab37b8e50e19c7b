/* Qwen 3, dense: an RMS norm on every query and key head, and a head size of its own. */
#include "model/description.h"

static int configure(const struct gguf *file, struct description *description) {
    description->has_qk_norm = true;
    return description_read_common(file, "qwen3", description);
}

const struct arch arch_qwen3 = {.name = "qwen3", .configure = configure};
