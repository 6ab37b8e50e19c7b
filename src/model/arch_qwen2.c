/* Qwen 1.5, 2 and 2.5: biases on queries, keys and values. */
#include "model/description.h"

static int configure(const struct gguf *file, struct description *description) {
    return description_read_common(file, "qwen2", description);
}

const struct arch arch_qwen2 = {.name = "qwen2", .configure = configure};
