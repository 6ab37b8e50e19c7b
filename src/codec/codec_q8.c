/* q8: 8-bit codes with one scale a row, its largest magnitude / 127. Rows are written one by one. They should
 * come rotated: a few large dimensions of K make the scale coarse for all others, which costs three times as
 * much.
 *
 *   K: | s8 [head_dim / 4][32 slots][4] | f32 [32 slots] scale |
 *   V: | s8 [8][columns][4 slots]       | f32 [32 slots] scale |      of head size 64: 2048 + 128 bytes each
 */
#include "codec/codec_coded.h"

/* Writes the row's codes, returns its scale. */
static float encode_row(const float *row, unsigned n, int8_t *codes) {
    uint32_t largest_bits = 0; /* as integers magnitudes compare too, and NaN is the largest */
    for (unsigned i = 0; i < n; i++) {
        uint32_t bits = bits_of_float(row[i]) & 0x7fffffffu;
        largest_bits = bits > largest_bits ? bits : largest_bits;
    }
    const float largest = float_of_bits(largest_bits), scale = largest / CODED_MAX;
    if (largest_bits >= 0x7f800000u || scale < CODED_LEAST_SCALE) {
        memset(codes, 0, n);
        return largest_bits >= 0x7f800000u ? float_of_bits(0x7fc00000u) : 0;
    }
    const float inverse = CODED_MAX / largest;
    for (unsigned i = 0; i < n; i++) codes[i] = (int8_t)coded_round(row[i] * inverse);
    return scale;
}

static void put_scale(void *area, size_t scales, unsigned slot, float scale) {
    memcpy((uint8_t *)area + scales + slot * sizeof scale, &scale, sizeof scale);
}

static void encode_k(void *k_area, unsigned slot, const float *row, unsigned head_dim) {
    int8_t codes[CODEC_MAX_DIM];
    put_scale(k_area, coded_k_scales(CODEC_q8, head_dim), slot, encode_row(row, head_dim, codes));
    for (unsigned i = 0; i < head_dim; i += 4)
        memcpy((int8_t *)k_area + (size_t)i * BLOCK_TOKENS + slot * 4, codes + i, 4);
}

static void encode_v(void *v_area, unsigned slot, const float *row, unsigned head_dim) {
    int8_t codes[CODEC_MAX_DIM];
    put_scale(v_area, coded_v_scales(CODEC_q8, head_dim), slot, encode_row(row, head_dim, codes));
    int8_t *line = (int8_t *)v_area + (size_t)(slot / 4) * coded_v_columns(head_dim) * 4 + slot % 4;
    for (unsigned i = 0; i < head_dim; i++) line[(size_t)i * 4] = codes[i];
}

CODEC_CODED_DEFINE(q8)

const struct codec codec_q8 = {
    .name = "q8",
    .is_row = true,
    .wants_rotation = true,
    .dim_multiple = 4,
    .k_bytes = k_bytes,
    .v_bytes = v_bytes,
    .encode_k = encode_k,
    .encode_v = encode_v,
    .decode_k = decode_k,
    .decode_v = decode_v,
};
