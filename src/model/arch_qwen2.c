/* Qwen 1.5, 2 and 2.5: biases on queries, keys and values. */
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "qwen2"};
    return description_read_common(&reader, d);
}

const struct arch arch_qwen2 = {.name = "qwen2", .configure = configure};
