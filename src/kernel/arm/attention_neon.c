/* Attention with NEON. Scores and weighted sums of float codecs are chains of FMAs in order of dimension and
 * key, whatever rows are side by side. Codes of q8 are multiplied by `sdot`, for which the 15-bit factors are
 * split in bytes: factor = 256 * high + low with low in 0 .. 255, which becomes signed as low - 128; so
 *
 *   sum factor * code = 256 * sum high * code + sum (low - 128) * code + 128 * sum code
 *
 * exactly, and the last sum serves all rows. q4 and q3 use the scalar products (attention_coded_scalar.c). */
#include "kernel/arm/attention_neon.h"

#include <arm_neon.h>
#include <math.h>

#include "codec/coded.h"
#include "kernel/attention_coded.h"
#include "kernel/ref/attention_coded_scalar.h"
#include "kernel/ref/rope_scalar.h"
#include "kernel/ref/rotate_scalar.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { WIDTH = 4, TILE_ROWS = 4, TILE_VECS = 4, TILE_COLUMNS = TILE_VECS * WIDTH };

/* What a tile's rows see: whole blocks from begin to end. */
struct span {
    unsigned begin, end;
};

static struct span span_of(const struct attention_tile *tile, unsigned n_rows) {
    unsigned first = ATTENTION_TILE, last = 0;
    for (unsigned i = 0; i < n_rows; i++) {
        if (tile->begin[i] == tile->end[i]) continue;
        if (tile->begin[i] < first) first = tile->begin[i];
        if (tile->end[i] > last) last = tile->end[i];
    }
    return (struct span){first / BLOCK_TOKENS * BLOCK_TOKENS,
                         (last + BLOCK_TOKENS - 1) / BLOCK_TOKENS * BLOCK_TOKENS};
}

/* ---- numbers of the float codecs ---- */

INLINE size_t element_bytes(enum codec_id codec) { return codec == CODEC_f32 ? 4 : 2; }

/* Four numbers. */
INLINE float32x4_t load_numbers(enum codec_id codec, const uint8_t *numbers) {
    if (codec == CODEC_f32) return vreinterpretq_f32_u8(vld1q_u8(numbers));
    if (codec == CODEC_f16) return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(numbers)));
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(numbers)), 16));
}

INLINE float load_number(enum codec_id codec, const uint8_t *number) {
    float wide;
    uint16_t narrow;
    if (codec == CODEC_f32) {
        __builtin_memcpy(&wide, number, sizeof wide);
        return wide;
    }
    __builtin_memcpy(&narrow, number, sizeof narrow);
    return codec == CODEC_f16 ? f16_to_f32(narrow) : bf16_to_f32(narrow);
}

/* ---- scores of float K ---- */

/* scores of n_rows rows and TILE_COLUMNS slots */
INLINE void score_columns(enum codec_id codec, unsigned n_rows, const uint8_t *k, const float *q,
                          unsigned head_dim, float *scores) {
    float32x4_t acc[TILE_ROWS][TILE_VECS];
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        UNROLL for (unsigned v = 0; v < TILE_VECS; v++) acc[r][v] = vdupq_n_f32(0);
    }
    for (unsigned d = 0; d < head_dim; d++, k += BLOCK_TOKENS * element_bytes(codec)) {
        float32x4_t column[TILE_VECS];
        UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
            column[v] = load_numbers(codec, k + v * WIDTH * element_bytes(codec));
        }
        UNROLL for (unsigned r = 0; r < n_rows; r++) {
            UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
                acc[r][v] = vfmaq_n_f32(acc[r][v], column[v], q[(size_t)r * head_dim + d]);
            }
        }
    }
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
            vst1q_f32(scores + r * ATTENTION_TILE + v * WIDTH, acc[r][v]);
        }
    }
}

INLINE void score_float(enum codec_id codec, const struct attention_rows *rows,
                        const struct attention_tile *tile, struct span span, score_rows scores) {
    const unsigned n = rows->n_rows, head_dim = rows->head_dim;
    for (unsigned key = span.begin; key < span.end; key += TILE_COLUMNS) {
        const uint8_t *k =
            (const uint8_t *)tile->k[key / BLOCK_TOKENS] + key % BLOCK_TOKENS * element_bytes(codec);
        for (unsigned r = 0; r < n; r += TILE_ROWS) {
            const float *q = rows->q + (size_t)r * head_dim;
            float *to = &scores[r][key];
            switch (n - r) {
            case 1: score_columns(codec, 1, k, q, head_dim, to); break;
            case 2: score_columns(codec, 2, k, q, head_dim, to); break;
            case 3: score_columns(codec, 3, k, q, head_dim, to); break;
            default: score_columns(codec, 4, k, q, head_dim, to);
            }
        }
    }
}

/* ---- the softmax ---- */

/* e^t for t <= 88, within 2^-23 + |t| * 2^-26 of it relatively; 0 for t < -87, where f32 becomes denormal.
 * t * log2(e) = n + r with n rounded by adding 1.5 * 2^23; 2^r is a minimax polynomial on [-1/2, 1/2]. */
INLINE float32x4_t exp_of(float32x4_t t) {
    static const float coefficients[] = {0x1.3cea88p-7f, 0x1.c6b752p-5f, 0x1.ebf9bcp-3f, 0x1.62e42ap-1f,
                                         1.0f};
    const float32x4_t magic = vdupq_n_f32(0x1.8p+23f);
    float32x4_t y = vfmaq_n_f32(magic, t, 0x1.715476p+0f);
    float32x4_t r = vfmaq_n_f32(vsubq_f32(magic, y), t, 0x1.715476p+0f);
    float32x4_t p = vdupq_n_f32(0x1.5bba14p-10f);
    UNROLL for (int i = 0; i < 5; i++) p = vfmaq_f32(vdupq_n_f32(coefficients[i]), p, r);
    int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(y), 23);
    p = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n));
    uint32x4_t is_tiny = vcltq_f32(t, vdupq_n_f32(-87.0f)); /* false of NaN */
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), is_tiny));
}

static float exp_of_one(float t) { return vgetq_lane_f32(exp_of(vdupq_n_f32(t)), 0); }

/* softcap * tanh(score / softcap), by tanh(x) = 1 - 2 / (e^2x + 1). A NaN stays one. */
static void cap_scores(float *scores, unsigned n, float softcap) {
    for (unsigned i = 0; i < n; i += WIDTH) {
        float32x4_t t = vmulq_n_f32(vld1q_f32(scores + i), 2 / softcap);
        float32x4_t e = exp_of(vminq_f32(vdupq_n_f32(80.0f), vmaxq_f32(vdupq_n_f32(-80.0f), t)));
        float32x4_t rest = vdivq_f32(vdupq_n_f32(2 * softcap), vaddq_f32(e, vdupq_n_f32(1.0f)));
        vst1q_f32(scores + i, vsubq_f32(vdupq_n_f32(softcap), rest));
    }
}

/* Turns a row's scores of keys begin .. end into exp(score - max), moving max, sum and out along. */
static void soften_row(struct attention_rows *rows, unsigned r, const struct attention_tile *tile,
                       float *scores) {
    const unsigned begin = tile->begin[r], end = tile->end[r], first = begin / WIDTH * WIDTH;
    const unsigned n = (end - first + WIDTH - 1) / WIDTH * WIDTH;
    float *seen = scores + first;
    if (begin == end) return;
    if (tile->softcap > 0) cap_scores(seen, n, tile->softcap);
    for (unsigned i = first; i < begin; i++) scores[i] = -INFINITY;
    for (unsigned i = end; i < first + n; i++) scores[i] = -INFINITY;
    float32x4_t largest = vdupq_n_f32(rows->max[r]);
    for (unsigned i = 0; i < n; i += WIDTH) largest = vmaxnmq_f32(largest, vld1q_f32(seen + i));
    const float max = vmaxnmvq_f32(largest), old = rows->max[r];
    if (max > old) {
        const float factor = old == -INFINITY ? 0 : exp_of_one(old - max);
        float *out = rows->out + (size_t)r * rows->head_dim;
        rows->max[r] = max;
        rows->sum[r] *= factor;
        for (unsigned i = 0; i < rows->head_dim; i++) out[i] *= factor;
    }
    /* While every score is -infinity there is nothing to subtract. */
    const float32x4_t shift = vdupq_n_f32(max == -INFINITY ? 0.0f : max);
    float32x4_t sum = vdupq_n_f32(0);
    for (unsigned i = 0; i < n; i += WIDTH) {
        float32x4_t p = exp_of(vsubq_f32(vld1q_f32(seen + i), shift));
        vst1q_f32(seen + i, p);
        sum = vaddq_f32(sum, p);
    }
    rows->sum[r] += vaddvq_f32(sum);
}

/* ---- weighted sums of float V ---- */

/* out += probabilities * V for keys begin .. end, n_rows rows and n_vecs vectors of dimensions */
INLINE void weigh_columns(enum codec_id codec, unsigned n_rows, unsigned n_vecs,
                          const struct attention_tile *tile, unsigned begin, unsigned end, size_t v_offset,
                          size_t v_stride, const float *weights, float *out, unsigned head_dim) {
    float32x4_t acc[TILE_ROWS][TILE_VECS];
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        UNROLL for (unsigned v = 0; v < n_vecs; v++) {
            acc[r][v] = vld1q_f32(out + (size_t)r * head_dim + v * WIDTH);
        }
    }
    for (unsigned key = begin; key < end; key++) {
        const uint8_t *row =
            (const uint8_t *)tile->v[key / BLOCK_TOKENS] + key % BLOCK_TOKENS * v_stride + v_offset;
        float32x4_t column[TILE_VECS];
        UNROLL for (unsigned v = 0; v < n_vecs; v++) {
            column[v] = load_numbers(codec, row + v * WIDTH * element_bytes(codec));
        }
        UNROLL for (unsigned r = 0; r < n_rows; r++) {
            UNROLL for (unsigned v = 0; v < n_vecs; v++) {
                acc[r][v] = vfmaq_n_f32(acc[r][v], column[v], weights[r * ATTENTION_TILE + key]);
            }
        }
    }
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        UNROLL for (unsigned v = 0; v < n_vecs; v++) {
            vst1q_f32(out + (size_t)r * head_dim + v * WIDTH, acc[r][v]);
        }
    }
}

/* The same for all dimensions. The last head_dim % 4 go one by one. */
INLINE void weigh_rows(enum codec_id codec, unsigned n_rows, const struct attention_tile *tile,
                       unsigned begin, unsigned end, const float *weights, float *out, unsigned head_dim) {
    const size_t bytes = element_bytes(codec), v_stride = head_dim * bytes;
    unsigned d = 0;
    for (; d + TILE_COLUMNS <= head_dim; d += TILE_COLUMNS)
        weigh_columns(codec, n_rows, TILE_VECS, tile, begin, end, d * bytes, v_stride, weights, out + d,
                      head_dim);
    for (; d + WIDTH <= head_dim; d += WIDTH)
        weigh_columns(codec, n_rows, 1, tile, begin, end, d * bytes, v_stride, weights, out + d, head_dim);
    for (; d < head_dim; d++)
        for (unsigned r = 0; r < n_rows; r++)
            for (unsigned key = begin; key < end; key++) {
                const uint8_t *v =
                    (const uint8_t *)tile->v[key / BLOCK_TOKENS] + key % BLOCK_TOKENS * v_stride + d * bytes;
                float *sum = &out[(size_t)r * head_dim + d];
                *sum = fmaf(weights[r * ATTENTION_TILE + key], load_number(codec, v), *sum);
            }
}

/* How many of the rows from r on see the same keys. */
static unsigned count_alike(const struct attention_tile *tile, unsigned r, unsigned n_rows) {
    unsigned n = 1;
    while (n < TILE_ROWS && r + n < n_rows && tile->begin[r + n] == tile->begin[r] &&
           tile->end[r + n] == tile->end[r])
        n++;
    return n;
}

INLINE void weigh_float(enum codec_id codec, struct attention_rows *rows, const struct attention_tile *tile,
                        score_rows scores) {
    for (unsigned r = 0, n; r < rows->n_rows; r += n) {
        const unsigned begin = tile->begin[r], end = tile->end[r], dim = rows->head_dim;
        float *out = rows->out + (size_t)r * dim;
        n = count_alike(tile, r, rows->n_rows);
        switch (n) {
        case 1: weigh_rows(codec, 1, tile, begin, end, scores[r], out, dim); break;
        case 2: weigh_rows(codec, 2, tile, begin, end, scores[r], out, dim); break;
        case 3: weigh_rows(codec, 3, tile, begin, end, scores[r], out, dim); break;
        default: weigh_rows(codec, 4, tile, begin, end, scores[r], out, dim);
        }
    }
}

/* ---- q8 ---- */

/* A row's factors in bytes. */
enum { MOST_FACTORS = (int)CODEC_MAX_DIM > (int)ATTENTION_TILE ? (int)CODEC_MAX_DIM : (int)ATTENTION_TILE };
struct halves {
    int8_t high[MOST_FACTORS], low[MOST_FACTORS]; /* low less 128 */
};

static void split_factors(struct halves *halves, const int16_t *factors, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        halves->high[i] = (int8_t)(factors[i] >> 8);
        halves->low[i] = (int8_t)((factors[i] & 255) - 128);
    }
}

INLINE int8x16_t load_quad(const int8_t *factors) {
    int32_t quad;
    __builtin_memcpy(&quad, factors, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

/* Sums of codes times factors, of TILE_COLUMNS columns: n_quads lines of `stride` bytes are added to them. */
struct quad_sums {
    int32x4_t high[TILE_VECS], low[TILE_VECS], codes[TILE_VECS];
};

INLINE void clear_quads(struct quad_sums *sums) {
    UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
        sums->high[v] = sums->low[v] = sums->codes[v] = vdupq_n_s32(0);
    }
}

INLINE void add_quads(struct quad_sums *sums, const int8_t *lines, size_t stride, unsigned n_quads,
                      const int8_t *high, const int8_t *low) {
    for (unsigned quad = 0; quad < n_quads; quad++, lines += stride) {
        const int8x16_t factor_high = load_quad(high + 4 * quad), factor_low = load_quad(low + 4 * quad);
        UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
            const int8x16_t codes = vld1q_s8(lines + v * 16);
            sums->high[v] = vdotq_s32(sums->high[v], codes, factor_high);
            sums->low[v] = vdotq_s32(sums->low[v], codes, factor_low);
            sums->codes[v] = vdotq_s32(sums->codes[v], codes, vdupq_n_s8(1));
        }
    }
}

INLINE float32x4_t total_quads(const struct quad_sums *sums, unsigned v) {
    int32x4_t sum = vaddq_s32(vshlq_n_s32(sums->high[v], 8), sums->low[v]);
    return vcvtq_f32_s32(vaddq_s32(sum, vshlq_n_s32(sums->codes[v], 7)));
}

static void score_q8(const struct attention_rows *rows, const struct attention_tile *tile, struct span span,
                     score_rows scores) {
    const unsigned head_dim = rows->head_dim;
    const size_t stride = BLOCK_TOKENS * 4;
    struct halves halves;
    for (unsigned r = 0; r < rows->n_rows; r++) {
        split_factors(
            &halves,
            (const int16_t *)(const void *)(rows->codes->codes + r * attention_code_row_bytes(head_dim)),
            head_dim);
        for (unsigned key = span.begin; key < span.end; key += TILE_COLUMNS) {
            const uint8_t *area = tile->k[key / BLOCK_TOKENS];
            const unsigned slot = key % BLOCK_TOKENS;
            const float *scales =
                (const float *)(const void *)(area + coded_k_scales(CODEC_q8, head_dim)) + slot;
            struct quad_sums sums;
            clear_quads(&sums);
            add_quads(&sums, (const int8_t *)area + slot * 4, stride, head_dim / 4, halves.high, halves.low);
            UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
                float32x4_t score = vmulq_f32(total_quads(&sums, v), vld1q_f32(scales + v * WIDTH));
                vst1q_f32(&scores[r][key + v * WIDTH], vmulq_n_f32(score, rows->codes->scale[r]));
            }
        }
    }
}

/* A row's probabilities times the scales of V as factors; returns their scale. */
static float make_weights(const struct attention_rows *rows, const struct attention_tile *tile, unsigned r,
                          struct span span, float *weights, struct halves *halves) {
    int16_t factors[ATTENTION_TILE] = {0};
    uint32_t largest = 0;
    float scale;
    for (unsigned key = tile->begin[r]; key < tile->end[r]; key++) {
        const uint8_t *area = tile->v[key / BLOCK_TOKENS];
        weights[key] *=
            coded_scale(CODEC_q8, area + coded_v_scales(CODEC_q8, rows->head_dim), key % BLOCK_TOKENS);
        const uint32_t magnitude = bits_of_float(weights[key]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    const float inverse = attention_scale_of(largest, ATTENTION_WEIGHT_MAX, &scale);
    for (unsigned key = tile->begin[r]; key < tile->end[r] && inverse != 0; key++)
        factors[key] = (int16_t)lrintf(weights[key] * inverse);
    split_factors(halves, factors, span.end);
    return scale;
}

static void weigh_q8(struct attention_rows *rows, const struct attention_tile *tile, struct span span,
                     score_rows scores) {
    const unsigned head_dim = rows->head_dim, n_columns = coded_v_columns(head_dim);
    struct halves halves;
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (tile->begin[r] == tile->end[r]) continue;
        float *out = rows->out + (size_t)r * head_dim;
        const float scale = make_weights(rows, tile, r, span, scores[r], &halves);
        for (unsigned d = 0; d < n_columns; d += TILE_COLUMNS) {
            struct quad_sums sums;
            float products[TILE_COLUMNS];
            clear_quads(&sums);
            for (unsigned key = span.begin; key < span.end; key += BLOCK_TOKENS)
                add_quads(&sums, (const int8_t *)tile->v[key / BLOCK_TOKENS] + (size_t)d * 4,
                          (size_t)n_columns * 4, CODED_V_QUADS, halves.high + key, halves.low + key);
            UNROLL for (unsigned v = 0; v < TILE_VECS; v++) {
                vst1q_f32(products + v * WIDTH, vmulq_n_f32(total_quads(&sums, v), scale));
            }
            for (unsigned i = 0; i < TILE_COLUMNS && d + i < head_dim; i++) out[d + i] += products[i];
        }
    }
}

/* ---- the tile ---- */

void attend_tile_neon(struct attention_rows *rows, const struct attention_tile *tile) {
    const struct span span = span_of(tile, rows->n_rows);
    score_rows scores;
    if (span.begin >= span.end) return;
    switch (tile->k_codec) {
    case CODEC_f32: score_float(CODEC_f32, rows, tile, span, scores); break;
    case CODEC_f16: score_float(CODEC_f16, rows, tile, span, scores); break;
    case CODEC_bf16: score_float(CODEC_bf16, rows, tile, span, scores); break;
    case CODEC_q8: score_q8(rows, tile, span, scores); break;
    default: score_coded_scalar(rows, tile, span.begin, span.end, scores);
    }
    for (unsigned r = 0; r < rows->n_rows; r++) soften_row(rows, r, tile, scores[r]);
    switch (tile->v_codec) {
    case CODEC_f32: weigh_float(CODEC_f32, rows, tile, scores); break;
    case CODEC_f16: weigh_float(CODEC_f16, rows, tile, scores); break;
    case CODEC_bf16: weigh_float(CODEC_bf16, rows, tile, scores); break;
    case CODEC_q8: weigh_q8(rows, tile, span, scores); break;
    default: weigh_coded_scalar(rows, tile, span.begin, span.end, scores);
    }
}

/* Once a tile or less often, or short: the scalar ones. */
void attend_prepare_neon(struct attention_rows *rows) { attend_prepare_scalar(rows); }
void attend_merge_neon(struct attention_rows *rows, const struct attention_rows *part) {
    attend_merge_scalar(rows, part);
}
void rotate_neon(float *x, unsigned n) { rotate_scalar(x, n); }
void rope_neon(float *heads, unsigned n_heads, unsigned head_dim, const float *table, unsigned n_dims,
               bool is_interleaved) {
    rope_scalar(heads, n_heads, head_dim, table, n_dims, is_interleaved);
}

#define X(codec)                                                                                             \
    void store_k_##codec##_neon(void *area, unsigned slot, unsigned n_slots, const float *rows,              \
                                size_t stride, unsigned head_dim) {                                          \
        for (unsigned i = 0; i < n_slots; i++)                                                               \
            codec_get(CODEC_##codec)->encode_k(area, slot + i, rows + i * stride, head_dim);                 \
    }                                                                                                        \
    void store_v_##codec##_neon(void *area, unsigned slot, unsigned n_slots, const float *rows,              \
                                size_t stride, unsigned head_dim) {                                          \
        for (unsigned i = 0; i < n_slots; i++)                                                               \
            codec_get(CODEC_##codec)->encode_v(area, slot + i, rows + i * stride, head_dim);                 \
    }
CODEC_ROW_LIST(X)
#undef X
