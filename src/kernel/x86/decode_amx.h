/* Quantised groups as the BF16 tiles that matmul_quantised_amx.c multiplies: 16 lines, each with two inputs
 * of 16 outputs (kernel/panel.h says which and what the numbers are).
 *
 * A line costs five operations: codes move to the low bits of 16-bit lanes, a table look-up makes f16 numbers
 * of them (whatever lies above its five index bits is not looked at), an f16 FMA scales, and f16's bits
 *
 *   s eeeee mmmmmmmmmm   become   s 000eeeee mmmmmmm
 *
 * by an arithmetic shift that rounds, and a mask: a BF16 number with the same exponent field, which means
 * 2^-112 of it, as f16's exponents are biased by 15 and BF16's by 127. */
#ifndef CABINET_KERNEL_X86_DECODE_AMX_H
#define CABINET_KERNEL_X86_DECODE_AMX_H

#include <math.h>

#include "kernel/x86/matmul_amx.h"
#include "kernel/x86/panel_avx512.h"

/* What a matrix's groups are decoded with. */
struct tile_decoder {
    __m512i numbers; /* f16: of 32 codes, or of 16 codes twice */
    __m512i twice;   /* lane i / 2 for lane i */
    __m512 f32_scale;
    __m512h f16_scale;
};

enum { LEAST_EXPONENT = -40, MOST_EXPONENT = 60, MOST_F16_EXPONENT = 15, LARGEST_EXPONENT = 14 };

/* 2^exponent, of a normal number, and the exponent of one; calls for that would cost as much as a panel. */
PANEL_INLINE float power_of_two(int exponent) { return float_of_bits((uint32_t)(exponent + 127) << 23); }
PANEL_INLINE int exponent_of(float value) { return (int)(bits_of_float(value) >> 23) - 127; }

/* s of kernel/panel.h: largest * 2^s is below 2^15. f16 scales are multiples of 2^-24, so are all weights
 * then, and 2^15 times them no denormal numbers. */
PANEL_INLINE int tile_exponent(enum weight_type type, float largest) {
    const int most = weight_traits_of(type).scale == SCALE_F16 ? MOST_F16_EXPONENT : MOST_EXPONENT;
    if (!(largest > 0x1p-100f)) return most; /* a NaN shows in tile_factor */
    int exponent = LARGEST_EXPONENT - exponent_of(largest);
    return exponent > most ? most : exponent < LEAST_EXPONENT ? LEAST_EXPONENT : exponent;
}

/* What sums are multiplied with; NaN if weights are not finite, or absurd. */
PANEL_INLINE float tile_factor(int exponent, float largest) {
    return largest < 0x1p50f ? power_of_two(112 - PANEL_RAISE - exponent) : NAN;
}

PANEL_INLINE struct tile_decoder tile_decoder_of(enum weight_type type, int exponent) {
    const struct weight_traits traits = weight_traits_of(type);
    int16_t numbers[2 * PANEL_ROWS];
    uint16_t twice[2 * PANEL_ROWS];
    for (int i = 0; i < 2 * PANEL_ROWS; i++) {
        int code = traits.low_bits + traits.high_bits == 4 ? i % 16 : i;
        numbers[i] = (int16_t)weight_number(traits, (uint8_t)code);
        twice[i] = (uint16_t)(i / 2);
    }
    float scale = power_of_two(exponent);
    return (struct tile_decoder){
        .numbers = _mm512_castph_si512(_mm512_cvtepi16_ph(_mm512_loadu_si512(numbers))),
        .twice = _mm512_loadu_si512(twice),
        .f32_scale = _mm512_set1_ps(scale),
        .f16_scale = _mm512_set1_ph((_Float16)(traits.scale == SCALE_F16 ? scale : 1)),
    };
}

/* Sixteen scales or minima, each for two lanes. `f16` are those of the types whose scales are so in a panel,
 * `f32` those of all others. */
PANEL_INLINE __m512h tile_scales(enum weight_type type, const struct tile_decoder *decoder,
                                 const uint8_t *f16, __m512 f32) {
    bool is_f16 = weight_traits_of(type).scale == SCALE_F16;
    __m256i scales = is_f16 ? _mm256_loadu_si256((const __m256i *)f16)
                            : _mm512_cvtps_ph(_mm512_mul_ps(f32, decoder->f32_scale), 0);
    __m512h both =
        _mm512_castsi512_ph(_mm512_permutexvar_epi16(decoder->twice, _mm512_castsi256_si512(scales)));
    return is_f16 ? _mm512_mul_ph(both, decoder->f16_scale) : both;
}

/* f16 numbers scaled, as BF16. */
PANEL_INLINE void tile_store_line(uint8_t *line, __m512h numbers, __m512h scale, __m512h minimum) {
    const __m512i eighth = _mm512_set1_epi16(0x1000), kept = _mm512_set1_epi16((short)0x8fff);
    __m512i weights = _mm512_castph_si512(_mm512_fmadd_ph(numbers, scale, minimum));
    _mm512_store_si512(line, _mm512_and_si512(_mm512_mulhrs_epi16(weights, eighth), kept));
}

/* Four inputs of 16 outputs, from bit `from` of each byte on, are two lines of the tile: inputs 0 and 2, 1
 * and 3. */
PANEL_INLINE void tile_store_quad(enum weight_type type, const struct tile_decoder *decoder, uint8_t *lines,
                                  __m512i quad, unsigned from, __m512h scale, __m512h minimum) {
    const struct weight_traits traits = weight_traits_of(type);
#pragma GCC unroll 2
    for (unsigned i = 0; i < 2; i++) {
        const unsigned shift = from + 8 * i;
        __m512h numbers;
        if (traits.low_bits + traits.high_bits <= 5) {
            __m512i codes = shift == 0 ? quad : _mm512_srli_epi16(quad, shift);
            numbers = _mm512_castsi512_ph(_mm512_permutexvar_epi16(codes, decoder->numbers));
        } else {
            __m512i high = i == 0 ? _mm512_slli_epi16(quad, 8) : quad;
            numbers = _mm512_cvtepi16_ph(_mm512_srai_epi16(high, 8));
        }
        tile_store_line(lines + i * TILE_LINE_BYTES, numbers, scale, minimum);
    }
}

/* Decodes group g of a panel. */
PANEL_INLINE void tile_decode(enum weight_type type, const struct tile_decoder *decoder, const uint8_t *panel,
                              size_t g, uint8_t tile[TILE_BYTES]) {
    const struct weight_traits traits = weight_traits_of(type);
    const uint8_t *group = panel + panel_group_at(type, g), *common = panel + panel_common_at(type, g);
    const bool is_f16 = traits.scale == SCALE_F16, is_nibbles = traits.low_bits == 4 && traits.high_bits == 0;
    const unsigned n_lines = PANEL_LINES / traits.n_shares;
    __m512h scale[2], minimum[2];
#pragma GCC unroll 2
    for (unsigned i = 0; i < traits.n_shares; i++) {
        __m512 none = _mm512_setzero_ps();
        minimum[i] = _mm512_setzero_ph();
        scale[i] =
            tile_scales(type, decoder, group, is_f16 ? none : panel_load_scale(type, group, common, i));
        if (traits.has_minimum)
            minimum[i] = tile_scales(type, decoder, group + panel_minima_at(type),
                                     is_f16 ? none : panel_load_minimum(type, group, common, i));
    }
    if (is_nibbles) {
#pragma GCC unroll 4
        for (unsigned i = 0; i < PANEL_LINES / 2; i++) {
            __m512i line = _mm512_loadu_si512(group + panel_low_at(type) + i * PANEL_LINE);
            tile_store_quad(type, decoder, tile + 2 * i * TILE_LINE_BYTES, line, 0, scale[0], minimum[0]);
            tile_store_quad(type, decoder, tile + (2 * i + PANEL_LINES) * TILE_LINE_BYTES, line, 4, scale[0],
                            minimum[0]);
        }
        return;
    }
    __m512i line[PANEL_LINES];
    panel_load_numbers(type, group, line);
#pragma GCC unroll 8
    for (unsigned i = 0; i < PANEL_LINES; i++) {
        if (traits.low_bits + traits.high_bits > 5 && traits.offset != 0)
            line[i] = _mm512_sub_epi8(line[i], _mm512_set1_epi8((char)traits.offset));
        tile_store_quad(type, decoder, tile + 2 * i * TILE_LINE_BYTES, line[i], 0, scale[i / n_lines],
                        minimum[i / n_lines]);
    }
}

#endif
