/* Integer dot products of codes with AVX-512 VNNI, for attention_coded_body.h; and what of it AMX shares.
 *
 * vpdpbusd multiplies u8 by s8, so a 15-bit factor is two bytes, and has two sums. A row of factors is a
 * plane of high bytes and then one of low bytes.
 *
 *   q:       high * 128 + low, s8 both. Codes of K are made u8 by adding 128, which attention_codes.bias
 * takes off again. weights: high * 256 + low, u8 both, as weights are not negative. Codes of V are s8 as they
 * are. */
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

/* Factors of one quad of a row whose planes have `plane` bytes. */
static inline struct factor factor_load(const uint8_t *row, size_t plane, unsigned quad) {
    int32_t high, low;
    memcpy(&high, row + (size_t)quad * 4, sizeof high);
    memcpy(&low, row + plane + (size_t)quad * 4, sizeof low);
    return (struct factor){_mm512_set1_epi32(high), _mm512_set1_epi32(low)};
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

static inline int_vec dots_total(bool is_k, struct dots sum) {
    return _mm512_add_epi32(_mm512_slli_epi32(sum.high, is_k ? 7 : 8), sum.low);
}

/* Writes codes of q, VEC_WIDTH of one row from the i-th on. */
static inline void q_store(uint8_t *row, size_t plane, unsigned i, int_vec codes) {
    _mm_storeu_si128((__m128i *)(row + i), _mm512_cvtepi32_epi8(_mm512_srai_epi32(codes, 7)));
    _mm_storeu_si128((__m128i *)(row + plane + i),
                     _mm512_cvtepi32_epi8(_mm512_and_si512(codes, _mm512_set1_epi32(127))));
}

/* Writes the codes of a block's weights, 2 * VEC_WIDTH from key `key` of a tile on. */
static inline void weights_store(uint8_t *row, unsigned key, const int_vec codes[2]) {
    /* low and high bytes of the first 16 and of the others: bytes 4i, 4i + 2, 4i + 1, 4i + 3 */
    const __m512i order =
        _mm512_set_epi8(63, 59, 55, 51, 47, 43, 39, 35, 31, 27, 23, 19, 15, 11, 7, 3, 61, 57, 53, 49, 45, 41,
                        37, 33, 29, 25, 21, 17, 13, 9, 5, 1, 62, 58, 54, 50, 46, 42, 38, 34, 30, 26, 22, 18,
                        14, 10, 6, 2, 60, 56, 52, 48, 44, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4, 0);
    __m512i bytes = _mm512_or_si512(codes[0], _mm512_slli_epi32(codes[1], 16));
    bytes = _mm512_permutexvar_epi8(order, bytes);
    _mm256_storeu_si256((__m256i *)(row + ATTENTION_TILE + key), _mm512_castsi512_si256(bytes));
    _mm256_storeu_si256((__m256i *)(row + key), _mm512_extracti64x4_epi64(bytes, 1));
}

/* What K's codes + 128 make the sum of factors too large by. */
static inline int32_t bias_of(int32_t sum_of_codes) { return 128 * sum_of_codes; }

#define int_round(a) _mm512_cvtps_epi32(a)
#define int_to_vec(a) _mm512_cvtepi32_ps(a)
#define int_zero() _mm512_setzero_si512()
#define int_set(value) _mm512_set1_epi32(value)
#define int_add(a, b) _mm512_add_epi32(a, b)
#define int_sub(a, b) _mm512_sub_epi32(a, b)
#define int_and(a, b) _mm512_and_si512(a, b)
#define int_shift_right(a, n) _mm512_srli_epi32(a, n)
#define int_sum_across(a) _mm512_reduce_add_epi32(a)
#define int_max(a, b) _mm512_max_epu32(a, b)
#define int_max_across(a) _mm512_reduce_max_epu32(a)
#define vec_mul(a, b) _mm512_mul_ps(a, b)
#define vec_bits(a) _mm512_castps_si512(a)
#define bits_vec(a) _mm512_castsi512_ps(a)

/* The bits of magnitudes. */
static inline int_vec vec_magnitude_bits(__m512 a) {
    return _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff));
}

/* a in lanes of keys begin .. end, `other` in those beside them; lane 0 is key `first`. */
static inline __m512 vec_select_keys(__m512 a, __m512 other, unsigned first, unsigned begin, unsigned end) {
    __m512i keys = _mm512_add_epi32(_mm512_set1_epi32((int)first),
                                    _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    __mmask16 is_kept = _mm512_cmpge_epi32_mask(keys, _mm512_set1_epi32((int)begin)) &
                        _mm512_cmplt_epi32_mask(keys, _mm512_set1_epi32((int)end));
    return _mm512_mask_mov_ps(other, is_kept, a);
}

#endif
