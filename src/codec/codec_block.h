/* The one body of the block codecs (q4, q3): rows become indices into the levels of a Gaussian, with the
 * scale of least squares. A codec file gives its levels and expands CODEC_BLOCK_DEFINE.
 *
 * K loses the mean of its block's channels first, which is kept in 8 bits: keys have large ones. Rows should
 * come rotated (codec.wants_rotation), which makes them Gaussian enough. */
#ifndef CABINET_CODEC_CODEC_BLOCK_H
#define CABINET_CODEC_CODEC_BLOCK_H

#include <math.h>

#include "codec/codec_coded.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define BLOCK_INLINE static inline __attribute__((always_inline))
#define BLOCK_UNROLL _Pragma("GCC unroll 16")

enum {
    BLOCK_LANES = 16,
    BLOCK_MAX_LINES = (CODEC_MAX_DIM > BLOCK_TOKENS ? CODEC_MAX_DIM : BLOCK_TOKENS) / 4
};

struct block_levels {
    enum codec_id codec;
    const int8_t *levels;
    unsigned n_levels;
    float widest; /* the largest level, in standard deviations */
};

/* Where level j begins on the grid of levels, less one, and what it adds to level j - 1. */
BLOCK_INLINE int8_t border_of(const struct block_levels *levels, unsigned j) {
    return (int8_t)((levels->levels[j - 1] + levels->levels[j]) >> 1);
}
BLOCK_INLINE int8_t step_of(const struct block_levels *levels, unsigned j) {
    return (int8_t)(levels->levels[j] - levels->levels[j - 1]);
}

/* Indices of the levels next to BLOCK_LANES grid points, and these levels. */
BLOCK_INLINE void choose_levels(const struct block_levels *levels, const int8_t *grid, uint8_t *indices,
                                int8_t *chosen) {
#if defined(__SSE2__) /* gcc 12 does not find it in the loops below, which are the same */
    const __m128i points = _mm_loadu_si128((const __m128i *)grid);
    __m128i index = _mm_setzero_si128(), level = _mm_set1_epi8(levels->levels[0]);
    BLOCK_UNROLL for (unsigned j = 1; j < levels->n_levels; j++) {
        const __m128i is_above = _mm_cmpgt_epi8(points, _mm_set1_epi8(border_of(levels, j)));
        index = _mm_sub_epi8(index, is_above);
        level = _mm_add_epi8(level, _mm_and_si128(is_above, _mm_set1_epi8(step_of(levels, j))));
    }
    _mm_storeu_si128((__m128i *)indices, index);
    _mm_storeu_si128((__m128i *)chosen, level);
#else
    for (unsigned i = 0; i < BLOCK_LANES; i++) {
        indices[i] = 0;
        chosen[i] = levels->levels[0];
        for (unsigned j = 1; j < levels->n_levels && grid[i] > border_of(levels, j); j++) {
            indices[i]++;
            chosen[i] = (int8_t)(chosen[i] + step_of(levels, j));
        }
    }
#endif
}

/* Chooses the indices for row / scale; returns the scale of least squares for them. Levels are integers, so
 * rounding first moves the borders between them by little, and lets vectors compare bytes. */
BLOCK_INLINE float fit_row(const struct block_levels *levels, const float *row, unsigned n, float scale,
                           uint8_t *indices) {
    float products[BLOCK_LANES] = {0}, product = 0;
    int32_t square = 0;
    int8_t grid[CODEC_MAX_DIM], level[CODEC_MAX_DIM];
    const float inverse = 1 / scale;
    for (unsigned i = 0; i < n; i++) {
        int at = coded_round(row[i] * inverse); /* at most sqrt(n) * CODED_MAX or so */
        at = at > CODED_MAX ? CODED_MAX : at;
        grid[i] = (int8_t)(at < -CODED_MAX ? -CODED_MAX : at);
    }
    for (unsigned i = 0; i < n; i += BLOCK_LANES) choose_levels(levels, grid + i, indices + i, level + i);
    for (unsigned i = 0; i < n; i++) square += level[i] * level[i];
    for (unsigned i = 0; i < n; i += BLOCK_LANES)
        for (unsigned lane = 0; lane < BLOCK_LANES; lane++)
            products[lane] += (float)level[i + lane] * row[i + lane];
    for (unsigned lane = 0; lane < BLOCK_LANES; lane++) product += products[lane];
    return product / (float)square;
}

/* Writes the row's indices, returns its scale. n is a multiple of BLOCK_LANES. */
BLOCK_INLINE f16_bits encode_row(const struct block_levels *levels, const float *row, unsigned n,
                                 uint8_t *indices) {
    float sums[BLOCK_LANES] = {0}, sum = 0;
    for (unsigned i = 0; i < n; i += BLOCK_LANES)
        for (unsigned lane = 0; lane < BLOCK_LANES; lane++) sums[lane] += row[i + lane] * row[i + lane];
    for (unsigned lane = 0; lane < BLOCK_LANES; lane++) sum += sums[lane];
    float scale = sqrtf(sum / (float)n) * (levels->widest / CODED_MAX);
    if (!(scale >= CODED_LEAST_SCALE && scale < INFINITY)) {
        memset(indices, 0, n);
        return scale < CODED_LEAST_SCALE ? 0 : 0x7e00;
    }
    for (int round = 0; round < 4; round++) scale = fit_row(levels, row, n, scale, indices);
    return f16_from_f32(scale < 65504 ? scale : 65504);
}

/* Lines of indices as the codec's bits. Lines past the last are zero, up to a multiple of 8. */
BLOCK_INLINE void pack_lines(enum codec_id codec, const uint8_t *lines, unsigned n_quads, size_t line,
                             uint8_t *codes) {
    if (codec == CODEC_q4) {
        for (unsigned quad = 0; quad < n_quads; quad += 2, codes += line)
            for (size_t i = 0; i < line; i++)
                codes[i] = (uint8_t)(lines[quad * line + i] | lines[(quad + 1) * line + i] << 4);
        return;
    }
    for (unsigned quad = 0; quad < n_quads; quad += 4, codes += line)
        for (size_t i = 0; i < line; i++) {
            unsigned bits = 0;
            for (unsigned j = 0; j < 4; j++) bits |= (lines[(quad + j) * line + i] & 3u) << 2 * j;
            codes[i] = (uint8_t)bits;
        }
    for (unsigned quad = 0; quad < n_quads; quad += 8, codes += line)
        for (size_t i = 0; i < line; i++) {
            unsigned bits = 0;
            for (unsigned j = 0; j < 8; j++) bits |= (lines[(quad + j) * line + i] >> 2u & 1u) << j;
            codes[i] = (uint8_t)bits;
        }
}

/* The rounded mean of each channel, as codes; returns their scale, 0 if there is none to speak of. */
BLOCK_INLINE float encode_mean(const float *rows, unsigned head_dim, int8_t *mean) {
    float sums[CODEC_MAX_DIM] = {0}, largest = 0;
    for (unsigned slot = 0; slot < BLOCK_TOKENS; slot++)
        for (unsigned i = 0; i < head_dim; i++) sums[i] += rows[(size_t)slot * head_dim + i];
    for (unsigned i = 0; i < head_dim; i++) {
        sums[i] *= 1.0f / BLOCK_TOKENS;
        largest = fabsf(sums[i]) > largest ? fabsf(sums[i]) : largest;
    }
    memset(mean, 0, head_dim);
    const float scale = largest / CODED_MAX;
    if (!(scale >= CODED_LEAST_SCALE && scale < INFINITY)) return 0;
    for (unsigned i = 0; i < head_dim; i++) /* a NaN channel's row is NaN anyway */
        mean[i] = (int8_t)coded_round(sums[i] == sums[i] ? sums[i] * (CODED_MAX / largest) : 0);
    return scale;
}

#define CODEC_BLOCK_MAX_LINE (BLOCK_TOKENS * CODEC_MAX_DIM + 8 * 4 * CODEC_MAX_DIM)

BLOCK_INLINE void encode_k_of(const struct block_levels *levels, uint8_t *area, const float *rows,
                              unsigned head_dim) {
    const unsigned n_quads = head_dim / 4;
    uint8_t lines[CODEC_BLOCK_MAX_LINE], indices[CODEC_MAX_DIM];
    int8_t *mean = (int8_t *)area + coded_k_mean(levels->codec, head_dim);
    f16_bits *scales = (f16_bits *)(area + coded_k_scales(levels->codec, head_dim));
    const size_t end = coded_k_mean(levels->codec, head_dim) + head_dim + sizeof(float);
    float mean_scale = encode_mean(rows, head_dim, mean), row[CODEC_MAX_DIM];
    memcpy(mean + head_dim, &mean_scale, sizeof mean_scale);
    memset(area + end, 0, coded_k_bytes(levels->codec, head_dim) - end);
    for (unsigned slot = 0; slot < BLOCK_TOKENS; slot++, rows += head_dim) {
        for (unsigned i = 0; i < head_dim; i++) row[i] = rows[i] - (float)mean[i] * mean_scale;
        scales[slot] = encode_row(levels, row, head_dim, indices);
        for (unsigned quad = 0; quad < n_quads; quad++)
            memcpy(lines + ((size_t)quad * BLOCK_TOKENS + slot) * 4, indices + (size_t)quad * 4, 4);
    }
    pack_lines(levels->codec, lines, n_quads, (size_t)BLOCK_TOKENS * 4, area);
}

BLOCK_INLINE void encode_v_of(const struct block_levels *levels, uint8_t *area, const float *rows,
                              unsigned head_dim) {
    uint8_t lines[CODEC_BLOCK_MAX_LINE], indices[CODEC_MAX_DIM];
    f16_bits *scales = (f16_bits *)(area + coded_v_scales(levels->codec, head_dim));
    const size_t line = (size_t)head_dim * 4, n_lines = (CODED_V_QUADS + 7) / 8 * 8;
    const size_t end = coded_v_scales(levels->codec, head_dim) + coded_scale_bytes(levels->codec);
    memset(area + end, 0, coded_v_bytes(levels->codec, head_dim) - end);
    if (BLOCK_TOKENS % 32 != 0) memset(lines, 0, n_lines * line);
    for (unsigned slot = 0; slot < BLOCK_TOKENS; slot++, rows += head_dim) {
        scales[slot] = encode_row(levels, rows, head_dim, indices);
        uint8_t *to = lines + slot / 4 * line + slot % 4;
        for (unsigned i = 0; i < head_dim; i++) to[(size_t)i * 4] = indices[i];
    }
    pack_lines(levels->codec, lines, CODED_V_QUADS, line, area);
}

#define CODEC_BLOCK_DEFINE(codec_name, widest_level)                                                         \
    static const struct block_levels levels = {                                                              \
        CODEC_##codec_name, coded_levels_##codec_name,                                                       \
        sizeof coded_levels_##codec_name / sizeof *coded_levels_##codec_name, widest_level};                 \
    static void encode_k_block(void *k_area, const float *rows, unsigned head_dim) {                         \
        encode_k_of(&levels, k_area, rows, head_dim);                                                        \
    }                                                                                                        \
    static void encode_v_block(void *v_area, const float *rows, unsigned head_dim) {                         \
        encode_v_of(&levels, v_area, rows, head_dim);                                                        \
    }                                                                                                        \
    CODEC_CODED_DEFINE(codec_name)                                                                           \
    const struct codec codec_##codec_name = {                                                                \
        .name = #codec_name,                                                                                 \
        .wants_rotation = true,                                                                              \
        .dim_multiple = 32,                                                                                  \
        .k_bytes = k_bytes,                                                                                  \
        .v_bytes = v_bytes,                                                                                  \
        .encode_k_block = encode_k_block,                                                                    \
        .encode_v_block = encode_v_block,                                                                    \
        .decode_k = decode_k,                                                                                \
        .decode_v = decode_v,                                                                                \
    };

#endif
