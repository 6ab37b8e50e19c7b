/* Integer dot products of codes with AVX2, for attention_coded_body.h: codes are widened to 16 bits, which
 * meet 15-bit factors in vpmaddwd, exactly. Pairs of its sums belong to one column; they are added at the
 * end. */
#ifndef CABINET_KERNEL_X86_CODES_AVX2_H
#define CABINET_KERNEL_X86_CODES_AVX2_H

#include <immintrin.h>

#include "codec/coded.h"

typedef struct {
    __m256i first, second; /* 4 columns each, 16 bits a code */
} codes_vec;               /* of VEC_WIDTH columns of a line */
typedef __m256i int_vec;
struct factor {
    __m256i quad; /* four 16-bit factors, in every half of a lane */
};
struct dots {
    __m256i first, second;
};
enum { CODES_BYTES = 32 };

static inline __m256i level_table(enum codec_id codec, bool is_k) {
    (void)is_k;
    return _mm256_broadcastsi128_si256(codec == CODEC_q4 ? _mm_loadu_si128((const __m128i *)coded_levels_q4)
                                                         : _mm_loadl_epi64((const __m128i *)coded_levels_q3));
}

/* Column vector `v` of line quad + j, of lines that begin at `low` (and `high`, q3); quad is a multiple of
 * what a byte holds lines of, j a constant. */
static inline __attribute__((always_inline)) codes_vec codes_of(enum codec_id codec, bool is_k, __m256i table,
                                                                const uint8_t *low, const uint8_t *high,
                                                                size_t line, unsigned quad, unsigned j,
                                                                unsigned v) {
    (void)is_k;
    __m256i raw;
    if (codec == CODEC_q8) {
        raw = _mm256_loadu_si256((const __m256i *)(low + (quad + j) * line + (size_t)v * CODES_BYTES));
    } else if (codec == CODEC_q4) {
        raw = _mm256_loadu_si256((const __m256i *)(low + quad / 2 * line + (size_t)v * CODES_BYTES));
        if (j % 2 == 1) raw = _mm256_srli_epi16(raw, 4);
        raw = _mm256_shuffle_epi8(table, _mm256_and_si256(raw, _mm256_set1_epi8(15)));
    } else {
        raw = _mm256_loadu_si256((const __m256i *)(low + (quad + j) / 4 * line + (size_t)v * CODES_BYTES));
        __m256i top = _mm256_loadu_si256((const __m256i *)(high + quad / 8 * line + (size_t)v * CODES_BYTES));
        raw = _mm256_and_si256(_mm256_srli_epi16(raw, j % 4 * 2), _mm256_set1_epi8(3));
        top = j % 8 > 2 ? _mm256_srli_epi16(top, j % 8 - 2) : _mm256_slli_epi16(top, 2 - j % 8);
        raw = _mm256_or_si256(raw, _mm256_and_si256(top, _mm256_set1_epi8(4)));
        raw = _mm256_shuffle_epi8(table, raw);
    }
    return (codes_vec){_mm256_cvtepi8_epi16(_mm256_castsi256_si128(raw)),
                       _mm256_cvtepi8_epi16(_mm256_extracti128_si256(raw, 1))};
}

static inline struct dots dots_zero(void) {
    return (struct dots){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

/* Factors of one quad of a row, which are 16 bits each, side by side. */
static inline struct factor factor_load(const uint8_t *row, size_t plane, unsigned quad) {
    int64_t four;
    (void)plane;
    memcpy(&four, row + (size_t)quad * 8, sizeof four);
    return (struct factor){_mm256_set1_epi64x(four)};
}

static inline __attribute__((always_inline)) struct dots dots_add(bool is_k, struct dots sum, codes_vec codes,
                                                                  struct factor factor) {
    (void)is_k;
    sum.first = _mm256_add_epi32(sum.first, _mm256_madd_epi16(codes.first, factor.quad));
    sum.second = _mm256_add_epi32(sum.second, _mm256_madd_epi16(codes.second, factor.quad));
    return sum;
}

static inline int_vec dots_total(bool is_k, struct dots sum) {
    (void)is_k;
    /* columns 0 1 4 5 2 3 6 7 */
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum.first, sum.second), 0xd8);
}

/* Writes codes of q, VEC_WIDTH of one row from the i-th on. */
static inline void q_store(uint8_t *row, size_t plane, unsigned i, int_vec codes) {
    (void)plane;
    _mm_storeu_si128((__m128i *)(row + (size_t)i * 2),
                     _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)));
}

/* Writes the codes of a block's weights, 4 * VEC_WIDTH from key `key` of a tile on. */
static inline void weights_store(uint8_t *row, unsigned key, const int_vec codes[4]) {
    for (unsigned i = 0; i < 4; i += 2) {
        __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(codes[i], codes[i + 1]), 0xd8);
        _mm256_storeu_si256((__m256i *)(row + (size_t)key * 2 + (size_t)i * 16), both);
    }
}

static inline int32_t bias_of(int32_t sum_of_codes) {
    (void)sum_of_codes;
    return 0;
}

static inline int32_t int_sum_across(int_vec a) {
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}

static inline uint32_t int_max_across(int_vec a) {
    __m128i x = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(x, _mm_shuffle_epi32(x, 0xb1)));
}

#define int_round(a) _mm256_cvtps_epi32(a)
#define int_to_vec(a) _mm256_cvtepi32_ps(a)
#define int_zero() _mm256_setzero_si256()
#define int_set(value) _mm256_set1_epi32(value)
#define int_add(a, b) _mm256_add_epi32(a, b)
#define int_sub(a, b) _mm256_sub_epi32(a, b)
#define int_and(a, b) _mm256_and_si256(a, b)
#define int_shift_right(a, n) _mm256_srli_epi32(a, n)
#define int_max(a, b) _mm256_max_epu32(a, b)
#define vec_mul(a, b) _mm256_mul_ps(a, b)
#define vec_bits(a) _mm256_castps_si256(a)
#define bits_vec(a) _mm256_castsi256_ps(a)

/* The bits of magnitudes. */
static inline int_vec vec_magnitude_bits(__m256 a) {
    return _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff));
}

/* a in lanes of keys begin .. end, `other` in those beside them; lane 0 is key `first`. */
static inline __m256 vec_select_keys(__m256 a, __m256 other, unsigned first, unsigned begin, unsigned end) {
    __m256i keys = _mm256_add_epi32(_mm256_set1_epi32((int)first), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
    __m256i is_kept = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)begin), keys),
                                          _mm256_cmpgt_epi32(_mm256_set1_epi32((int)end), keys));
    return _mm256_blendv_ps(other, a, _mm256_castsi256_ps(is_kept));
}

#endif
