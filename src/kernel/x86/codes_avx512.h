/* Integer dot products of codes with AVX-512 VNNI, for attention_coded_body.h.
 *
 * vpdpbusd multiplies u8 by s8, so a 15-bit factor is two bytes, high * 128 + low, and has two sums. Codes of
 * K meet factors that may be negative: they are made u8 by adding 128, which attention_codes.bias takes off
 * again. Codes of V are s8 as they are, since weights are not negative. */
#ifndef CABINET_KERNEL_X86_CODES_AVX512_H
#define CABINET_KERNEL_X86_CODES_AVX512_H

#include <immintrin.h>

#include "codec/coded.h"

typedef __m512i codes_vec; /* of VEC_WIDTH columns of a line */
typedef __m512i int_vec;
struct factor {
    __m512i high, low; /* of a quad: each four bytes, in every lane */
};
struct dots {
    __m512i high, low;
};
enum { CODES_BYTES = 64 };

/* The levels as bytes, + 128 for K. */
static inline __m512i level_table(enum codec_id codec, bool is_k) {
    __m128i table = codec == CODEC_q4 ? _mm_loadu_si128((const __m128i *)coded_levels_q4)
                                      : _mm_loadl_epi64((const __m128i *)coded_levels_q3);
    if (is_k) table = _mm_xor_si128(table, _mm_set1_epi8((char)0x80));
    return _mm512_broadcast_i32x4(table);
}

/* Column vector `v` of line quad + j, of lines that begin at `low` (and `high`, q3); quad is a multiple of
 * what a byte holds lines of, j a constant. */
static inline __attribute__((always_inline)) codes_vec codes_of(enum codec_id codec, bool is_k, __m512i table,
                                                                const uint8_t *low, const uint8_t *high,
                                                                size_t line, unsigned quad, unsigned j,
                                                                unsigned v) {
    if (codec == CODEC_q8) {
        __m512i codes = _mm512_loadu_si512(low + (quad + j) * line + (size_t)v * CODES_BYTES);
        return is_k ? _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80)) : codes;
    }
    if (codec == CODEC_q4) {
        __m512i raw = _mm512_loadu_si512(low + quad / 2 * line + (size_t)v * CODES_BYTES);
        if (j % 2 == 1) raw = _mm512_srli_epi16(raw, 4);
        return _mm512_shuffle_epi8(table, _mm512_and_si512(raw, _mm512_set1_epi8(15)));
    }
    __m512i raw = _mm512_loadu_si512(low + (quad + j) / 4 * line + (size_t)v * CODES_BYTES);
    __m512i top = _mm512_loadu_si512(high + quad / 8 * line + (size_t)v * CODES_BYTES);
    raw = _mm512_and_si512(_mm512_srli_epi16(raw, j % 4 * 2), _mm512_set1_epi8(3));
    top = j % 8 > 2 ? _mm512_srli_epi16(top, j % 8 - 2) : _mm512_slli_epi16(top, 2 - j % 8);
    /* 0xf8: raw or (top and 4) */
    return _mm512_shuffle_epi8(table, _mm512_ternarylogic_epi32(raw, top, _mm512_set1_epi8(4), 0xf8));
}

static inline struct dots dots_zero(void) {
    return (struct dots){_mm512_setzero_si512(), _mm512_setzero_si512()};
}

/* Factors of one quad: 8 bytes. */
static inline struct factor factor_load(const uint8_t *p) {
    int32_t quad[2];
    memcpy(quad, p, sizeof quad);
    return (struct factor){_mm512_set1_epi32(quad[0]), _mm512_set1_epi32(quad[1])};
}

/* sum += u8 codes * s8 codes. Not the intrinsic: with that, gcc 12 spills the sums of 6 rows. */
static inline __attribute__((always_inline)) __m512i dot_add(__m512i sum, __m512i u8, __m512i s8) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u8), "v"(s8));
    return sum;
}

static inline __attribute__((always_inline)) struct dots dots_add(bool is_k, struct dots sum, codes_vec codes,
                                                                  struct factor factor) {
    if (is_k) {
        sum.high = dot_add(sum.high, codes, factor.high);
        sum.low = dot_add(sum.low, codes, factor.low);
    } else {
        sum.high = dot_add(sum.high, factor.high, codes);
        sum.low = dot_add(sum.low, factor.low, codes);
    }
    return sum;
}

static inline int_vec dots_total(struct dots sum) {
    return _mm512_add_epi32(_mm512_slli_epi32(sum.high, 7), sum.low);
}

/* Writes codes, VEC_WIDTH of one row, as the factors of VEC_WIDTH / 4 quads. */
static inline void factors_store(uint8_t *p, int_vec codes) {
    __m128i high = _mm512_cvtepi32_epi8(_mm512_srai_epi32(codes, 7));
    __m128i low = _mm512_cvtepi32_epi8(_mm512_and_si512(codes, _mm512_set1_epi32(127)));
    _mm_storeu_si128((__m128i *)p, _mm_unpacklo_epi32(high, low));
    _mm_storeu_si128((__m128i *)p + 1, _mm_unpackhi_epi32(high, low));
}

/* What K's codes + 128 make the sum of factors too large by. */
static inline int32_t bias_of(int32_t sum_of_codes) { return 128 * sum_of_codes; }

/* Sum of factors * (mean code + 128) of n dimensions, a multiple of 32. */
static inline int32_t mean_dot(const int8_t *mean, const uint8_t *factors, unsigned n) {
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    __m512i sums = _mm512_setzero_si512();
    for (unsigned i = 0; i < n; i += 32) {
        __m256i codes =
            _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(mean + i)), _mm256_set1_epi8((char)0x80));
        __m512i quads = _mm512_permutexvar_epi32(twice, _mm512_castsi256_si512(codes));
        sums = _mm512_dpbusd_epi32(sums, quads, _mm512_loadu_si512(factors + (size_t)i * 2));
    }
    /* even lanes have the high bytes */
    return _mm512_reduce_add_epi32(_mm512_mask_slli_epi32(sums, 0x5555, sums, 7));
}

#define int_round(a) _mm512_cvtps_epi32(a)
#define int_to_vec(a) _mm512_cvtepi32_ps(a)
#define int_zero() _mm512_setzero_si512()
#define int_set(value) _mm512_set1_epi32(value)
#define int_add(a, b) _mm512_add_epi32(a, b)
#define int_sub(a, b) _mm512_sub_epi32(a, b)
#define int_sum_across(a) _mm512_reduce_add_epi32(a)
#define int_max(a, b) _mm512_max_epu32(a, b)
#define int_max_across(a) _mm512_reduce_max_epu32(a)
#define vec_mul(a, b) _mm512_mul_ps(a, b)

/* The bits of magnitudes. */
static inline int_vec vec_magnitude_bits(__m512 a) {
    return _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff));
}

/* a in lanes of keys begin .. end, else 0; lane 0 is key `first`. */
static inline __m512 vec_keep_keys(__m512 a, unsigned first, unsigned begin, unsigned end) {
    __m512i keys = _mm512_add_epi32(_mm512_set1_epi32((int)first),
                                    _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    __mmask16 is_kept = _mm512_cmpge_epi32_mask(keys, _mm512_set1_epi32((int)begin)) &
                        _mm512_cmplt_epi32_mask(keys, _mm512_set1_epi32((int)end));
    return _mm512_maskz_mov_ps(is_kept, a);
}

#endif
