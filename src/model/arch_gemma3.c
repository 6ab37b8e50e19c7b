/* Gemma 3 (text): five of six layers see a window and have a RoPE of their own, unscaled and of a smaller
 * base; an RMS norm on every query and key head; norms before and after both halves of a layer. */
#include "model/description_read.h"
#include <math.h>

#include "base/err.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "gemma3"};
    uint32_t window;
    TRY(description_read_common(&reader, d));
    d->qk_norm = QK_NORM_HEADS;
    d->has_post_norms = true;
    d->activation = ACTIVATION_GELU;
    d->embedding_scale = sqrtf((float)d->n_embd);
    /* The format does not carry query_pre_attn_scalar; only the 27B's differs from the head size. */
    enum { LAYERS_OF_27B = 62 };
    if (d->n_layers == LAYERS_OF_27B) d->attention_scale = 1 / sqrtf((float)(d->n_embd / d->n_heads));
    if (gguf_find(file, "gemma3.final_logit_softcapping") != NULL)
        TRY(description_read_float(&reader, "final_logit_softcapping", 30, &d->logit_softcap));
    d->n_ropes = 2;
    d->ropes[1] = (struct rope_description){.n_dims = d->ropes[0].n_dims, .factor = 1, .attention_factor = 1};
    TRY(description_read_float(&reader, "rope.freq_base_swa", 10000, &d->ropes[1].base));
    int has_windows = description_read_window(&reader, d, 0, &window);
    if (has_windows <= 0) return has_windows;
    return description_set_windows(&reader, d, window, 6, 1);
}

const struct arch arch_gemma3 = {.name = "gemma3", .configure = configure};
