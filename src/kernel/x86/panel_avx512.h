/* Reads groups of quantised panels with AVX-512: a vector lane is one of the 16 outputs. */
#ifndef CABINET_KERNEL_PANEL_AVX512_H
#define CABINET_KERNEL_PANEL_AVX512_H

#include <immintrin.h>

#include "kernel/panel_layout.h"

/* The first n of 16 lanes; and those of a panel whose outputs exist. */
PANEL_INLINE __mmask16 lanes_of(size_t n) { return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1); }
PANEL_INLINE __mmask16 panel_lanes(const struct panel_matrix *w, size_t panel) {
    return panel < w->n_panels ? lanes_of(w->n_rows - panel * PANEL_ROWS) : 0;
}

PANEL_INLINE __m512i broadcast4(const int8_t *codes) {
    return _mm512_broadcastd_epi32(_mm_loadu_si32(codes));
}

/* Sixteen f16 numbers, and the numbers of 16 bytes. */
PANEL_INLINE __m512 panel_load_f16(const uint8_t *numbers) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)numbers));
}
PANEL_INLINE __m512i panel_load_i8(const uint8_t *bytes) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)bytes));
}
PANEL_INLINE __m512i panel_load_u8(const uint8_t *bytes) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes));
}

/* weight_e8m0_to_f32 in 16 lanes. */
PANEL_INLINE __m512 panel_e8m0_to_f32(__m512i exponent) {
    const __m512i one = _mm512_set1_epi32(1);
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(exponent, one), 23);
    __mmask16 is_denormal = _mm512_cmple_epu32_mask(exponent, one);
    return _mm512_castsi512_ps(
        _mm512_mask_sllv_epi32(normal, is_denormal, _mm512_set1_epi32(0x00200000), exponent));
}

PANEL_INLINE __m512 panel_load_scale(enum weight_type type, const uint8_t *group, const uint8_t *common,
                                     unsigned share) {
    const uint8_t *scales = group + share * panel_scale_bytes(type);
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return panel_load_f16(scales);
    case SCALE_E8M0: return panel_e8m0_to_f32(panel_load_u8(scales));
    case SCALE_FACTORS:
        return _mm512_mul_ps(panel_load_f16(common), _mm512_cvtepi32_ps(panel_load_i8(scales)));
    default: {
        __m512i factor = _mm512_and_si512(panel_load_u8(scales), _mm512_set1_epi32(15));
        return _mm512_mul_ps(panel_load_f16(common), _mm512_cvtepi32_ps(factor));
    }
    }
}

PANEL_INLINE __m512 panel_load_minimum(enum weight_type type, const uint8_t *group, const uint8_t *common,
                                       unsigned share) {
    const uint8_t *minima = group + panel_minima_at(type) + share * panel_scale_bytes(type);
    common += 2 * PANEL_ROWS;
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return panel_load_f16(minima);
    case SCALE_FACTORS:
        return _mm512_mul_ps(panel_load_f16(common), _mm512_cvtepi32_ps(panel_load_i8(minima)));
    default: {
        __m512i factor = _mm512_srli_epi32(panel_load_u8(group + share * PANEL_ROWS), 4);
        return _mm512_mul_ps(panel_load_f16(common), _mm512_cvtepi32_ps(factor));
    }
    }
}

/* A code line of a plane, its bits moved to bit `to` of each byte, and around them what lay there. */
PANEL_INLINE __m512i panel_load_bits(const uint8_t *plane, unsigned bits, unsigned to, unsigned i) {
    __m512i line = _mm512_loadu_si512(plane + i % bits * PANEL_LINE);
    unsigned from = i / bits * bits;
    if (from > to) return _mm512_srli_epi16(line, from - to);
    return from < to ? _mm512_slli_epi16(line, to - from) : line;
}

/* The numbers of a group, unsigned: line[i] has those of inputs 4i .. 4i+3. */
PANEL_INLINE void panel_load_numbers(enum weight_type type, const uint8_t *group, __m512i line[PANEL_LINES]) {
    const struct weight_traits traits = weight_traits_of(type);
    const unsigned low = traits.low_bits, high = traits.high_bits;
    const __m512i low_mask = _mm512_set1_epi8((char)((1u << low) - 1));
    const __m512i high_mask = _mm512_set1_epi8((char)(((1u << high) - 1) << low));
#pragma GCC unroll 8
    for (unsigned i = 0; i < PANEL_LINES; i++) {
        line[i] = panel_load_bits(group + panel_low_at(type), low, 0, i);
        if (low < 8) line[i] = _mm512_and_si512(line[i], low_mask);
        if (high != 0) { /* line | (upper & mask) */
            __m512i upper = panel_load_bits(group + panel_high_at(type), high, low, i);
            line[i] = _mm512_ternarylogic_epi32(line[i], upper, high_mask, 0xf8);
        }
        if (traits.table != NULL) {
            __m128i table = _mm_loadu_si128((const __m128i *)traits.table);
            line[i] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), line[i]);
        }
    }
}

#endif
