/* The one body of the row codecs: a codec file defines its element conversions and expands this. */
#ifndef CABINET_CODEC_CODEC_ROW_H
#define CABINET_CODEC_CODEC_ROW_H

#include "codec/codec.h"

#define CODEC_ROW_DEFINE(codec_name, element, from_f32, to_f32)                                              \
    static void encode_k(void *k_area, unsigned slot, const float *row, unsigned head_dim) {                 \
        element *k = k_area;                                                                                 \
        for (unsigned i = 0; i < head_dim; i++) k[(size_t)i * BLOCK_TOKENS + slot] = from_f32(row[i]);       \
    }                                                                                                        \
    static void encode_v(void *v_area, unsigned slot, const float *row, unsigned head_dim) {                 \
        element *v = (element *)v_area + (size_t)slot * head_dim;                                            \
        for (unsigned i = 0; i < head_dim; i++) v[i] = from_f32(row[i]);                                     \
    }                                                                                                        \
    static void decode_k(const void *k_area, unsigned slot, float *row, unsigned head_dim) {                 \
        const element *k = k_area;                                                                           \
        for (unsigned i = 0; i < head_dim; i++) row[i] = to_f32(k[(size_t)i * BLOCK_TOKENS + slot]);         \
    }                                                                                                        \
    static void decode_v(const void *v_area, unsigned slot, float *row, unsigned head_dim) {                 \
        const element *v = (const element *)v_area + (size_t)slot * head_dim;                                \
        for (unsigned i = 0; i < head_dim; i++) row[i] = to_f32(v[i]);                                       \
    }                                                                                                        \
    static size_t area_bytes(unsigned head_dim) { return sizeof(element) * BLOCK_TOKENS * head_dim; }        \
    const struct codec codec_##codec_name = {                                                                \
        .name = #codec_name,                                                                                 \
        .is_row = true,                                                                                      \
        .dim_multiple = 2,                                                                                   \
        .k_bytes = area_bytes,                                                                               \
        .v_bytes = area_bytes,                                                                               \
        .encode_k = encode_k,                                                                                \
        .encode_v = encode_v,                                                                                \
        .decode_k = decode_k,                                                                                \
        .decode_v = decode_v,                                                                                \
    };

#endif
