/* Decoding of the coded codecs, and the struct that q8 and the block codecs share. */
#ifndef CABINET_CODEC_CODEC_CODED_H
#define CABINET_CODEC_CODEC_CODED_H

#include "codec/coded.h"

/* Least scale that is one: below, a row counts as zeros, so that no reciprocal overflows. */
#define CODED_LEAST_SCALE 0x1p-100f

/* To the nearest integer, ties to even, of |value| < 2^22: as conversions of vectors round. */
static inline int coded_round(float value) {
    const float magic = 0x1.8p+23f;
    return (int)(int32_t)(bits_of_float(value + magic) - bits_of_float(magic));
}

#define CODEC_CODED_DEFINE(codec_name)                                                                       \
    static size_t k_bytes(unsigned head_dim) { return coded_k_bytes(CODEC_##codec_name, head_dim); }         \
    static size_t v_bytes(unsigned head_dim) { return coded_v_bytes(CODEC_##codec_name, head_dim); }         \
    static void decode_k(const void *k_area, unsigned slot, float *row, unsigned head_dim) {                 \
        const uint8_t *area = k_area;                                                                        \
        float mean_scale = 0,                                                                                \
              scale = coded_scale(CODEC_##codec_name, area + coded_k_scales(CODEC_##codec_name, head_dim),   \
                                  slot);                                                                     \
        const int8_t *mean = (const int8_t *)area + coded_k_mean(CODEC_##codec_name, head_dim);              \
        if (CODEC_##codec_name != CODEC_q8) memcpy(&mean_scale, mean + head_dim, sizeof mean_scale);         \
        for (unsigned i = 0; i < head_dim; i++) {                                                            \
            uint8_t index =                                                                                  \
                coded_index(CODEC_##codec_name, area, head_dim / 4, BLOCK_TOKENS, i / 4, slot * 4 + i % 4);  \
            row[i] = (float)coded_value(CODEC_##codec_name, index) * scale;                                  \
            if (CODEC_##codec_name != CODEC_q8) row[i] += (float)mean[i] * mean_scale;                       \
        }                                                                                                    \
    }                                                                                                        \
    static void decode_v(const void *v_area, unsigned slot, float *row, unsigned head_dim) {                 \
        const uint8_t *area = v_area;                                                                        \
        float scale =                                                                                        \
            coded_scale(CODEC_##codec_name, area + coded_v_scales(CODEC_##codec_name, head_dim), slot);      \
        for (unsigned i = 0; i < head_dim; i++) {                                                            \
            uint8_t index = coded_index(CODEC_##codec_name, area, CODED_V_QUADS, coded_v_columns(head_dim),  \
                                        slot / 4, i * 4 + slot % 4);                                         \
            row[i] = (float)coded_value(CODEC_##codec_name, index) * scale;                                  \
        }                                                                                                    \
    }

#endif
