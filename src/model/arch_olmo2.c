/* OLMo 2: norms only after both halves of a layer, and one RMS norm over all of a token's queries, another
 * over its keys. OLMo 3, under the same name: three of four layers see a window and have an unscaled RoPE. */
#include "base/err.h"
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "olmo2"};
    uint32_t window;
    TRY(description_read_common(&reader, d));
    d->qk_norm = QK_NORM_ROWS;
    d->has_pre_norms = false;
    d->has_post_norms = true;
    int has_windows = description_read_window(&reader, d, 0, &window);
    if (has_windows <= 0) return has_windows;
    d->n_ropes = 2;
    d->ropes[1] = (struct rope_description){.n_dims = d->ropes[0].n_dims, .factor = 1, .attention_factor = 1};
    TRY(description_read_float(&reader, "rope.freq_base_swa", d->ropes[0].base, &d->ropes[1].base));
    return description_set_windows(&reader, d, window, 4, 1);
}

const struct arch arch_olmo2 = {.name = "olmo2", .configure = configure};
