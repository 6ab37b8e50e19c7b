/* Gemma 2: every second layer sees a window, norms before and after both halves of a layer, scores and logits
 * soft-capped, the embedding scaled up. The files hold 1 + the norms' weights. */
#include "model/description_read.h"
#include <math.h>

#include "base/err.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "gemma2"};
    uint32_t window;
    TRY(description_read_common(&reader, d));
    d->has_post_norms = true;
    d->activation = ACTIVATION_GELU;
    d->embedding_scale = sqrtf((float)d->n_embd);
    /* The format does not carry query_pre_attn_scalar; only the 27B's differs from the head size. */
    enum { LAYERS_OF_27B = 46 };
    if (d->n_layers == LAYERS_OF_27B) d->attention_scale = 1 / sqrtf((float)(d->n_embd / d->n_heads));
    TRY(description_read_float(&reader, "attn_logit_softcapping", 50, &d->attention_softcap));
    TRY(description_read_float(&reader, "final_logit_softcapping", 30, &d->logit_softcap));
    TRY(description_read_window(&reader, d, 4096, &window));
    return description_set_windows(&reader, d, window, 2, 0);
}

const struct arch arch_gemma2 = {.name = "gemma2", .configure = configure};
