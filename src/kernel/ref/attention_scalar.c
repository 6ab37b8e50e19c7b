#include "kernel/ref/attention_scalar.h"

#include <math.h>

#include "base/float16.h"

/* Numbers that are widened to f32 together: a line of a K area, or as many dimensions of a V row. */
enum { LINE = BLOCK_TOKENS };

/* Elements begin .. begin + n of an area as f32. */
typedef void widen_function(const void *area, size_t begin, unsigned n, float *line);

/* e^(score - max) where the score may be -infinity: nothing weighs 0. */
static float weight(float score, float max) { return score == -INFINITY ? 0 : expf(score - max); }

/* The blocks that some row sees a key of: from *first_key, a block's first, to the key returned. */
static unsigned span_of(const struct attention_tile *tile, unsigned n_rows, unsigned *first_key) {
    unsigned first = ATTENTION_TILE, last = 0;
    for (unsigned i = 0; i < n_rows; i++) {
        if (tile->begin[i] == tile->end[i]) continue;
        if (tile->begin[i] < first) first = tile->begin[i];
        if (tile->end[i] > last) last = tile->end[i];
    }
    *first_key = first / BLOCK_TOKENS * BLOCK_TOKENS;
    return last;
}

/* Gives a row's running softmax a new, larger maximum. */
static void raise_max(struct attention_rows *rows, unsigned r, float max) {
    float factor = weight(rows->max[r], max), *out = rows->out + (size_t)r * rows->head_dim;
    rows->max[r] = max;
    rows->sum[r] *= factor;
    for (unsigned i = 0; i < rows->head_dim; i++) out[i] *= factor;
}

/* Turns a row's n scores into exp(score - max). */
static void soften_row(struct attention_rows *rows, unsigned r, float *scores, unsigned n) {
    float max = rows->max[r];
    for (unsigned i = 0; i < n; i++)
        if (scores[i] > max) max = scores[i];
    if (max > rows->max[r]) raise_max(rows, r, max);
    for (unsigned i = 0; i < n; i++) {
        scores[i] = weight(scores[i], max);
        rows->sum[r] += scores[i];
    }
}

#define INLINE static inline __attribute__((always_inline))

/* scores = q * K for keys begin .. end. */
INLINE void score(widen_function *widen, const struct attention_rows *rows, const struct attention_tile *tile,
                  unsigned begin, unsigned end, score_rows scores) {
    const unsigned head_dim = rows->head_dim;
    float line[LINE];
    for (unsigned r = 0; r < rows->n_rows; r++)
        for (unsigned i = begin; i < end; i++) scores[r][i] = 0;
    for (unsigned key = begin; key < end; key += LINE)
        for (unsigned d = 0; d < head_dim; d++) {
            const unsigned n = end - key < LINE ? end - key : LINE;
            widen(tile->k[key / BLOCK_TOKENS], (size_t)d * BLOCK_TOKENS, n, line);
            for (unsigned r = 0; r < rows->n_rows; r++)
                for (unsigned i = 0; i < n; i++)
                    scores[r][key + i] += rows->q[(size_t)r * head_dim + d] * line[i];
        }
}

/* out += probabilities * V for keys begin .. end. */
INLINE void weigh(widen_function *widen, struct attention_rows *rows, const struct attention_tile *tile,
                  unsigned begin, unsigned end, score_rows scores) {
    const unsigned head_dim = rows->head_dim;
    float line[LINE];
    for (unsigned d = 0; d < head_dim; d += LINE)
        for (unsigned key = begin; key < end; key++) {
            const unsigned n = head_dim - d < LINE ? head_dim - d : LINE;
            widen(tile->v[key / BLOCK_TOKENS], (size_t)(key % BLOCK_TOKENS) * head_dim + d, n, line);
            for (unsigned r = 0; r < rows->n_rows; r++) {
                float *out = rows->out + (size_t)r * head_dim + d;
                if (key < tile->begin[r] || key >= tile->end[r]) continue;
                for (unsigned i = 0; i < n; i++) out[i] += scores[r][key] * line[i];
            }
        }
}

#define SAME(value) (value)
#define WIDEN_DEFINE(codec, element, to_f32)                                                                 \
    static inline void widen_##codec(const void *area, size_t begin, unsigned n, float *line) {              \
        for (unsigned i = 0; i < n; i++) line[i] = to_f32(((const element *)area)[begin + i]);               \
    }
WIDEN_DEFINE(f32, float, SAME)
WIDEN_DEFINE(f16, f16_bits, f16_to_f32)
WIDEN_DEFINE(bf16, bf16_bits, bf16_to_f32)

void attend_tile_scalar(struct attention_rows *rows, const struct attention_tile *tile) {
    unsigned begin;
    const unsigned end = span_of(tile, rows->n_rows, &begin);
    score_rows scores;
    switch (tile->k_codec) {
#define X(codec)                                                                                             \
    case CODEC_##codec: score(widen_##codec, rows, tile, begin, end, scores); break;
        CODEC_FLOAT_LIST(X)
#undef X
    default: score_coded_scalar(rows, tile, begin, end, scores);
    }
    for (unsigned r = 0; r < rows->n_rows; r++) {
        for (unsigned i = tile->begin[r]; i < tile->end[r] && tile->softcap > 0; i++)
            scores[r][i] = tile->softcap * tanhf(scores[r][i] / tile->softcap);
        soften_row(rows, r, scores[r] + tile->begin[r], tile->end[r] - tile->begin[r]);
    }
    switch (tile->v_codec) {
#define X(codec)                                                                                             \
    case CODEC_##codec: weigh(widen_##codec, rows, tile, begin, end, scores); break;
        CODEC_FLOAT_LIST(X)
#undef X
    default: weigh_coded_scalar(rows, tile, begin, end, scores);
    }
}

#define X(codec)                                                                                             \
    void store_k_##codec##_scalar(void *area, unsigned slot, unsigned n_slots, const float *rows,            \
                                  size_t stride, unsigned head_dim) {                                        \
        for (unsigned i = 0; i < n_slots; i++)                                                               \
            codec_get(CODEC_##codec)->encode_k(area, slot + i, rows + i * stride, head_dim);                 \
    }                                                                                                        \
    void store_v_##codec##_scalar(void *area, unsigned slot, unsigned n_slots, const float *rows,            \
                                  size_t stride, unsigned head_dim) {                                        \
        for (unsigned i = 0; i < n_slots; i++)                                                               \
            codec_get(CODEC_##codec)->encode_v(area, slot + i, rows + i * stride, head_dim);                 \
    }
CODEC_ROW_LIST(X)
#undef X

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
