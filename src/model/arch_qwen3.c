/* Qwen 3, dense: an RMS norm on every query and key head, and a head size of its own. */
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "qwen3"};
    d->qk_norm = QK_NORM_HEADS;
    return description_read_common(&reader, d);
}

const struct arch arch_qwen3 = {.name = "qwen3", .configure = configure};
