/* Attention over integer codes for the x86 sets; included behind attention_body.h, with beside it defined
 *   ivec, ivec_zero()         32-bit integers, VEC_WIDTH of them
 *   ivec_load(p)              VEC_WIDTH * 4 bytes
 *   ivec_set(p)               the four bytes at p in every lane
 *   ivec_dot_k(sum, k, q)     sum + four products of unsigned bytes of k and signed bytes of q, in each lane
 *   ivec_dot_v(sum, v, p)     the same of signed bytes of v and unsigned bytes of p
 *   ivec_to_vec(a), ivec_subtract(a, value)
 *   ivec_store(p, a), ivec_low_nibbles(a), ivec_high_nibbles(a), ivec_lookup(table, a)   bytes; tables of 16
 *   unpack_q3(chunk, table, to)
 *   CODE_ROWS                 rows of one register tile: 1 to 4
 *
 * Both products, q times K and probabilities times V, are sums over quads of bytes (code_layout.h): lanes are
 * slots there and dimensions here. The other operand has two planes of bytes, which is 16 bits for a number:
 * rounding it adds nothing to what the codes have lost. Sums of integers are exact, so a row's result does
 * not depend on the rows beside it. */
#include "codec/code_layout.h"

enum {
    LANES = 32, /* of a chunk */
    LANE_VECS = LANES / VEC_WIDTH,
    CHUNK_BYTES = 4 * LANES
};

/* The codes of an area as bytes, chunk by chunk. */
INLINE const uint8_t *codes_of(enum codec_id codec, const uint8_t *area, unsigned n_chunks,
                               const uint8_t *table, uint8_t *buffer) {
    if (codec == CODEC_q8) return area;
    for (unsigned c = 0; c < n_chunks; c++) {
        uint8_t *to = buffer + (size_t)c * CHUNK_BYTES;
        if (codec == CODEC_q3) {
            unpack_q3(area + (size_t)c * CODE_Q3_CHUNK, table, to);
            continue;
        }
        const uint8_t *from = area + (size_t)c * CODE_Q4_CHUNK;
        for (unsigned i = 0; i < CODE_Q4_CHUNK; i += VEC_WIDTH * 4) {
            ivec packed = ivec_load(from + i);
            ivec_store(to + i, ivec_lookup(table, ivec_low_nibbles(packed)));
            ivec_store(to + CHUNK_BYTES / 2 + i, ivec_lookup(table, ivec_high_nibbles(packed)));
        }
    }
    return buffer;
}

static unsigned chunk_bytes(enum codec_id codec) {
    return codec == CODEC_q8 ? CODE_Q8_CHUNK : codec == CODEC_q4 ? CODE_Q4_CHUNK : CODE_Q3_CHUNK;
}

/* The 16 bytes of codes by index; K's with the bias. q3's table comes twice. */
static void make_table(enum codec_id codec, int bias, uint8_t *table) {
    for (int i = 0; i < 16; i++)
        table[i] = (uint8_t)((codec == CODEC_q3 ? code_levels_q3[i % 8] : code_levels_q4[i]) + bias);
}

/* One row's 32 sums 256 * high + low; the planes' sums of integers less `bias` of each. */
INLINE void combine(const ivec *high, const ivec *low, int high_bias, int low_bias, vec *sums) {
    for (unsigned i = 0; i < LANE_VECS; i++) {
        vec h = ivec_to_vec(ivec_subtract(high[i], high_bias)),
            l = ivec_to_vec(ivec_subtract(low[i], low_bias));
        sums[i] = vec_fma(h, vec_set(256.0f), l);
    }
}

/* sums[row][lane] of n_rows rows, whose planes have a quad of bytes for each of n_quads chunks. */
#define CODE_SUMS_DEFINE(n_rows, side, dot)                                                                  \
    static void sums_##side##_##n_rows(const uint8_t *chunks, size_t stride, unsigned n_quads,               \
                                       const void *high, const void *low, size_t row_stride,                 \
                                       ivec(*sums)[2][LANE_VECS]) {                                          \
        ivec sum[n_rows][2][LANE_VECS];                                                                      \
        for (unsigned r = 0; r < n_rows; r++)                                                                \
            for (unsigned i = 0; i < LANE_VECS; i++) sum[r][0][i] = sum[r][1][i] = ivec_zero();              \
        for (unsigned quad = 0; quad < n_quads; quad++) {                                                    \
            ivec b[LANE_VECS];                                                                               \
            for (unsigned i = 0; i < LANE_VECS; i++)                                                         \
                b[i] = ivec_load(chunks + quad * stride + i * VEC_WIDTH * 4);                                \
            UNROLL for (unsigned r = 0; r < n_rows; r++) {                                                   \
                ivec h = ivec_set((const char *)high + r * row_stride + quad * 4);                           \
                ivec l = ivec_set((const char *)low + r * row_stride + quad * 4);                            \
                UNROLL for (unsigned i = 0; i < LANE_VECS; i++) {                                            \
                    sum[r][0][i] = dot(sum[r][0][i], b[i], h);                                               \
                    sum[r][1][i] = dot(sum[r][1][i], b[i], l);                                               \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        for (unsigned r = 0; r < n_rows; r++)                                                                \
            for (unsigned i = 0; i < LANE_VECS; i++) {                                                       \
                sums[r][0][i] = sum[r][0][i];                                                                \
                sums[r][1][i] = sum[r][1][i];                                                                \
            }                                                                                                \
    }
typedef void sums_function(const uint8_t *chunks, size_t stride, unsigned n_quads, const void *high,
                           const void *low, size_t row_stride, ivec (*sums)[2][LANE_VECS]);

#define X(n) CODE_SUMS_DEFINE(n, k, ivec_dot_k) CODE_SUMS_DEFINE(n, v, ivec_dot_v)
FOR_CODE_ROWS
#undef X
static sums_function *const sums_of_k[] = {NULL,
#define X(n) sums_k_##n,
                                           FOR_CODE_ROWS
#undef X
};
static sums_function *const sums_of_v[] = {NULL,
#define X(n) sums_v_##n,
                                           FOR_CODE_ROWS
#undef X
};

/* What a call keeps on its stack. */
struct code_work {
    _Alignas(64) float scores[ATTENTION_MAX_ROWS][ATTENTION_TILE]; /* then probabilities */
    _Alignas(64) uint8_t codes[CODEC_MAX_DIM / 4 * CHUNK_BYTES];   /* of one area */
    _Alignas(64) uint8_t high[CODE_ROWS][LANES], low[CODE_ROWS][LANES];
    float weight_scale[CODE_ROWS];
    uint8_t k_table[16], v_table[16];
};

INLINE bool sees(const struct attention_tile *tile, unsigned r, unsigned block) {
    return tile->begin[r] < tile->end[r] && tile->begin[r] < (block + 1) * LANES &&
           tile->end[r] > block * LANES;
}

/* Asks for an area's cache lines; the hardware does not know where the next block lies. */
INLINE void prefetch_area(const void *area, size_t bytes) {
    for (size_t i = 0; i < bytes && area != NULL; i += 64) __builtin_prefetch((const char *)area + i, 0, 2);
}

/* The part of a row's scores that the mean of K's block gives. */
INLINE float score_of_mean(const int8_t *mean, const float *q, unsigned head_dim) {
    float sum = 0;
    for (unsigned i = 0; i < head_dim; i++) sum += (float)mean[i] * q[i];
    return sum * code_mean_scale(mean, head_dim) * (1.0f / CODE_MAX);
}

/* The scores of one block for the rows that see it. */
INLINE void score_block(enum codec_id codec, struct code_work *work, const struct attention_rows *rows,
                        const struct attention_tile *tile, unsigned block) {
    const unsigned head_dim = rows->head_dim, n_chunks = code_k_chunks(head_dim);
    const struct attention_codes *q = rows->codes;
    const size_t stride = attention_code_stride(head_dim);
    const uint8_t *chunks = codes_of(codec, tile->k[block], n_chunks, work->k_table, work->codes);
    const f16_bits *scales = code_scales(tile->k[block], n_chunks, chunk_bytes(codec));
    const int8_t *mean = codec == CODEC_q8 ? NULL : (const int8_t *)(scales + BLOCK_TOKENS);
    vec slot_scales[LANE_VECS];
    for (unsigned i = 0; i < LANE_VECS; i++) slot_scales[i] = vec_widen_f16(scales + i * VEC_WIDTH);
    for (unsigned first = 0, n; first < rows->n_rows; first += n) {
        ivec sums[CODE_ROWS][2][LANE_VECS];
        n = rows->n_rows - first < CODE_ROWS ? rows->n_rows - first : CODE_ROWS;
        sums_of_k[n](chunks, CHUNK_BYTES, n_chunks, q->high + first * stride, q->low + first * stride, stride,
                     sums);
        for (unsigned r = first; r < first + n; r++) {
            if (!sees(tile, r, block)) continue;
            vec combined[LANE_VECS];
            combine(sums[r - first][0], sums[r - first][1], CODE_BIAS * q->high_sum[r],
                    CODE_BIAS * q->low_sum[r], combined);
            vec of_row = vec_set(q->scale[r] * (1.0f / CODE_MAX)),
                of_mean =
                    vec_set(mean == NULL ? 0 : score_of_mean(mean, rows->q + (size_t)r * head_dim, head_dim));
            for (unsigned i = 0; i < LANE_VECS; i++) {
                vec scaled = vec_fma(combined[i], of_row, vec_zero());
                vec_store(work->scores[r] + block * LANES + i * VEC_WIDTH,
                          vec_fma(scaled, slot_scales[i], of_mean));
            }
        }
    }
}

/* A row's probabilities of a block, times V's scales, as two planes of bytes; row `at` of them. False if all
 * are zero. */
INLINE bool prepare_weights(struct code_work *work, const vec *slot_scales, const struct attention_tile *tile,
                            unsigned r, unsigned block, unsigned at) {
    enum { MOST = 65535 };
    _Alignas(64) float weights[LANES];
    const float *p = work->scores[r] + block * LANES;
    for (unsigned i = 0; i < LANE_VECS; i++)
        vec_store(weights + i * VEC_WIDTH, vec_fma(vec_load(p + i * VEC_WIDTH), slot_scales[i], vec_zero()));
    unsigned begin = tile->begin[r] > block * LANES ? tile->begin[r] - block * LANES : 0;
    unsigned end = tile->end[r] < (block + 1) * LANES ? tile->end[r] - block * LANES : LANES;
    for (unsigned i = 0; i < begin; i++) weights[i] = 0;
    for (unsigned i = end; i < LANES; i++) weights[i] = 0;
    float largest = largest_of(weights, LANE_VECS);
    work->weight_scale[at] = 0;
    if (largest <= 1e-30f) return false;
    float inverse = MOST / largest;
    work->weight_scale[at] = largest * (1.0f / MOST / CODE_MAX);
    for (unsigned i = 0; i < LANES; i++) {
        float code = weights[i] * inverse + 0.5f;
        unsigned whole = code >= 0 ? (unsigned)(int)code : 0; /* NaN: the sum of probabilities is NaN, too */
        whole = whole > MOST ? MOST : whole;
        work->high[at][i] = (uint8_t)(whole >> 8);
        work->low[at][i] = (uint8_t)whole;
    }
    return true;
}

/* out += probabilities * V of one block. */
INLINE void weigh_block(enum codec_id codec, struct code_work *work, struct attention_rows *rows,
                        const struct attention_tile *tile, unsigned block) {
    const unsigned head_dim = rows->head_dim, n_groups = code_v_groups(head_dim);
    const unsigned n_chunks = LANES / 4 * n_groups;
    const uint8_t *chunks = codes_of(codec, tile->v[block], n_chunks, work->v_table, work->codes);
    const f16_bits *scales = code_scales(tile->v[block], n_chunks, chunk_bytes(codec));
    vec slot_scales[LANE_VECS];
    for (unsigned i = 0; i < LANE_VECS; i++) slot_scales[i] = vec_widen_f16(scales + i * VEC_WIDTH);
    unsigned seen[CODE_ROWS], n_seen = 0;
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (sees(tile, r, block) && prepare_weights(work, slot_scales, tile, r, block, n_seen))
            seen[n_seen++] = r;
        if (n_seen == 0 || (n_seen < CODE_ROWS && r + 1 < rows->n_rows)) continue;
        for (unsigned g = 0; g < n_groups; g++) {
            ivec sums[CODE_ROWS][2][LANE_VECS];
            sums_of_v[n_seen](chunks + (size_t)g * CHUNK_BYTES, (size_t)n_groups * CHUNK_BYTES, LANES / 4,
                              work->high, work->low, LANES, sums);
            for (unsigned s = 0; s < n_seen; s++) {
                _Alignas(64) float tail[LANES];
                float *out = rows->out + (size_t)seen[s] * head_dim + g * LANES;
                const unsigned n_left = head_dim - g * LANES;
                vec combined[LANE_VECS], of_row = vec_set(work->weight_scale[s]);
                combine(sums[s][0], sums[s][1], 0, 0, combined);
                for (unsigned i = 0; i < LANE_VECS; i++) {
                    float *to = n_left >= LANES ? out + i * VEC_WIDTH : tail + i * VEC_WIDTH;
                    vec old = n_left >= LANES ? vec_load(to) : vec_zero();
                    vec_store(to, vec_fma(combined[i], of_row, old));
                }
                for (unsigned i = 0; i < n_left && n_left < LANES; i++) out[i] += tail[i];
            }
        }
        n_seen = 0;
    }
}

/* One copy of the code for each pair of codecs. */
INLINE void attend_pair(enum codec_id k, enum codec_id v, struct attention_rows *rows,
                        const struct attention_tile *tile) {
    struct code_work work;
    make_table(k, CODE_BIAS, work.k_table);
    make_table(v, 0, work.v_table);
    const size_t k_bytes = (size_t)code_k_chunks(rows->head_dim) * chunk_bytes(k),
                 v_bytes = (size_t)code_v_groups(rows->head_dim) * (LANES / 4) * chunk_bytes(v);
    bool is_seen[ATTENTION_TILE_BLOCKS] = {false};
    for (unsigned block = 0; block < ATTENTION_TILE_BLOCKS; block++) {
        for (unsigned r = 0; r < rows->n_rows; r++) is_seen[block] |= sees(tile, r, block);
        if (!is_seen[block]) continue;
        prefetch_area(tile->v[block], v_bytes);
        score_block(k, &work, rows, tile, block);
    }
    soften(rows, work.scores, tile);
    for (unsigned block = 0; block < ATTENTION_TILE_BLOCKS; block++) {
        prefetch_area(tile->next_k[block], k_bytes);
        if (is_seen[block]) weigh_block(v, &work, rows, tile, block);
    }
}

void SET(attend_codes)(enum codec_id k, enum codec_id v, struct attention_rows *rows,
                       const struct attention_tile *tile) {
    if (k == CODEC_q8 && v == CODEC_q8)
        attend_pair(CODEC_q8, CODEC_q8, rows, tile);
    else if (k == CODEC_q8 && v == CODEC_q4)
        attend_pair(CODEC_q8, CODEC_q4, rows, tile);
    else if (k == CODEC_q4 && v == CODEC_q4)
        attend_pair(CODEC_q4, CODEC_q4, rows, tile);
    else
        attend_pair(k, v, rows, tile);
}
