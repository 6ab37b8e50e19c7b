#include "kernel/ref/attention_scalar.h"

#include <math.h>

#include "base/float16.h"

/* e^(a - b) where both may be -infinity: nothing has weight 0. */
static float weight(float score, float max) { return score == -INFINITY ? 0 : expf(score - max); }

/* Gives a row's running softmax a new, larger maximum. */
static void raise_max(struct attention_rows *rows, unsigned r, float max) {
    float factor = weight(rows->max[r], max), *out = rows->out + (size_t)r * rows->head_dim;
    rows->max[r] = max;
    rows->sum[r] *= factor;
    for (unsigned i = 0; i < rows->head_dim; i++) out[i] *= factor;
}

/* One row against one tile: scores, one pass of max and exp over all of them, weighted sum of V. */
#define SAME(value) (value)
#define CODEC_DEFINE(codec, element, to_f32)                                                       \
    static void attend_row_##codec(struct attention_rows *rows, unsigned r, const struct attention_tile *t,  \
                                   unsigned n_visible) {                                                     \
        const unsigned head_dim = rows->head_dim;                                                            \
        const float *q = rows->q + (size_t)r * head_dim;                                                     \
        float scores[ATTENTION_TILE] = {0}, max = rows->max[r], *out = rows->out + (size_t)r * head_dim;     \
        for (unsigned first = 0; first < n_visible; first += BLOCK_TOKENS) {                                 \
            const element *k = t->k[first / BLOCK_TOKENS];                                                   \
            unsigned n = n_visible - first < BLOCK_TOKENS ? n_visible - first : BLOCK_TOKENS;                \
            for (unsigned d = 0; d < head_dim; d++, k += BLOCK_TOKENS)                                       \
                for (unsigned i = 0; i < n; i++) scores[first + i] += q[d] * to_f32(k[i]);                   \
        }                                                                                                    \
        for (unsigned i = 0; i < n_visible; i++)                                                             \
            if (scores[i] > max) max = scores[i];                                                            \
        if (max > rows->max[r]) raise_max(rows, r, max);                                                     \
        for (unsigned i = 0; i < n_visible; i++) {                                                           \
            const element *v = (const element *)t->v[i / BLOCK_TOKENS] + (size_t)i % BLOCK_TOKENS * head_dim; \
            float p = weight(scores[i], max);                                                                \
            rows->sum[r] += p;                                                                               \
            for (unsigned d = 0; d < head_dim; d++) out[d] += p * to_f32(v[d]);                              \
        }                                                                                                    \
    }                                                                                                        \
    void attend_tile_##codec##_scalar(struct attention_rows *rows, const struct attention_tile *tile) {      \
        for (unsigned r = 0; r < rows->n_rows; r++)                                                          \
            if (tile->n_visible[r] > 0) attend_row_##codec(rows, r, tile, tile->n_visible[r]);               \
    }                                                                                                        \
    void store_k_##codec##_scalar(void *k_area, unsigned slot, const float *row, unsigned head_dim) {        \
        codec_get(CODEC_##codec)->encode_k(k_area, slot, row, head_dim);                                     \
    }                                                                                                        \
    void store_v_##codec##_scalar(void *v_area, unsigned slot, const float *row, unsigned head_dim) {        \
        codec_get(CODEC_##codec)->encode_v(v_area, slot, row, head_dim);                                     \
    }
CODEC_DEFINE(f32, float, SAME)
CODEC_DEFINE(f16, f16_bits, f16_to_f32)
CODEC_DEFINE(bf16, bf16_bits, bf16_to_f32)

void attend_merge_scalar(struct attention_rows *rows, const struct attention_rows *part) {
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (part->sum[r] == 0) continue;
        if (part->max[r] > rows->max[r]) raise_max(rows, r, part->max[r]);
        float factor = weight(part->max[r], rows->max[r]), *out = rows->out + (size_t)r * rows->head_dim;
        const float *part_out = part->out + (size_t)r * rows->head_dim;
        rows->sum[r] += part->sum[r] * factor;
        for (unsigned d = 0; d < rows->head_dim; d++) out[d] += part_out[d] * factor;
    }
}
