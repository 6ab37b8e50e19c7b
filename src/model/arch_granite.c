/* Granite 3 (dense): Llama's shape with factors on the embedding, the scores, what each half of a layer adds,
 * and the logits. Granite 4's dense models, under the same name, have no RoPE. */
#include "base/err.h"
#include "model/description_read.h"

static int configure(const struct gguf *file, struct description *d) {
    const struct description_reader reader = {file, "granite"};
    TRY(description_read_common(&reader, d));
    d->ropes[0].is_interleaved = true;
    float logit_divisor;
    TRY(description_read_float(&reader, "embedding_scale", 1, &d->embedding_scale));
    TRY(description_read_float(&reader, "residual_scale", 1, &d->residual_scale));
    TRY(description_read_float(&reader, "attention.scale", d->attention_scale, &d->attention_scale));
    TRY(description_read_float(&reader, "logit_scale", 1, &logit_divisor));
    d->logit_scale = 1 / logit_divisor;
    bool has_rope = true;
    TRY(gguf_get_bool(file, "granite.rope.scaling.finetuned", &has_rope));
    for (uint32_t i = 0; i < d->n_layers && !has_rope; i++) d->layers[i].rope = ROPE_ABSENT;
    return 0;
}

const struct arch arch_granite = {.name = "granite", .configure = configure};
