#include "kernel/x86/attention_avx2.h"

#include <immintrin.h>

#define SET(name) name##_avx2
/* 3 rows x 4 vectors of accumulators, 3 factors and a vector of B: all 16 registers. */
#define TILE_ROWS 3
#define FOR_TILE_ROWS X(1) X(2) X(3)
#define TILE_STRIPS 1
#define VEC_WIDTH 8

typedef __m256 vec;
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_store(p, a) _mm256_storeu_ps(p, a)
#define vec_broadcast(p) _mm256_broadcast_ss(p)
#define vec_set(value) _mm256_set1_ps(value)
#define vec_zero() _mm256_setzero_ps()
#define vec_add(a, b) _mm256_add_ps(a, b)
#define vec_sub(a, b) _mm256_sub_ps(a, b)
#define vec_div(a, b) _mm256_div_ps(a, b)
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vec_min(a, b) _mm256_min_ps(a, b)
#define vec_max(a, b) _mm256_max_ps(a, b)

static inline float vec_max_across(vec a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

static inline float vec_sum_across(vec a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline vec vec_widen_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }

static inline vec vec_widen_bf16(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}

static inline void vec_narrow_f32(float *p, vec a) { vec_store(p, a); }

static inline void vec_narrow_f16(void *p, vec a) {
    _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline void vec_narrow_bf16(void *p, vec a) {
    __m256i bits = _mm256_castps_si256(a), high = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    rounded = _mm256_srli_epi32(rounded, 16);
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), is_nan);
    __m128i low_half = _mm256_castsi256_si128(rounded), high_half = _mm256_extracti128_si256(rounded, 1);
    _mm_storeu_si128(p, _mm_packus_epi32(low_half, high_half));
}

/* t = n + r, n an integer, -1/2 <= r <= 1/2: r of vec_power, and 2^n times p, or 0 where 2^t is denormal. n
 * comes into the lowest bits by adding 1.5 * 2^23. */
#define MAGIC vec_set(0x1.8p+23f)
static inline vec vec_fraction(vec t) { return vec_sub(t, vec_sub(vec_add(t, MAGIC), MAGIC)); }
static inline vec vec_raise(vec p, vec t) {
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(vec_add(t, MAGIC)), 23);
    vec power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
    return _mm256_and_ps(power, _mm256_cmp_ps(t, vec_set(-126.0f), _CMP_NLT_UQ));
}
/* Minimax coefficients of 2^r, from the highest power down to r^1; r^0 has 1. */
#define POWER_FINE 0x1.5bba14p-10f, 0x1.3cea88p-7f, 0x1.c6b752p-5f, 0x1.ebf9bcp-3f, 0x1.62e42ap-1f
#define POWER_COARSE 0x1.3a02d6p-7f, 0x1.c9fc4ep-5f, 0x1.ec0378p-3f, 0x1.62e12cp-1f

#define vec_even_twice(a) _mm256_moveldup_ps(a)
#define vec_odd_twice(a) _mm256_movehdup_ps(a)
#define vec_sub_add(a, b) _mm256_addsub_ps(a, b)
static inline vec vec_evens(vec a, vec b) {
    const __m256i even = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7); /* of pairs by 128 bits */
    return _mm256_permutevar8x32_ps(_mm256_shuffle_ps(a, b, 0x88), even);
}
static inline vec vec_odds(vec a, vec b) {
    const __m256i odd = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    return _mm256_permutevar8x32_ps(_mm256_shuffle_ps(a, b, 0xdd), odd);
}

/* Lane j of rows[i] goes to lane i of rows[j]. */
static inline void vec_transpose(vec rows[VEC_WIDTH]) {
    vec quads[VEC_WIDTH]; /* quads[i + c]: columns c and c + 4 of rows i .. i + 3 */
    for (int i = 0; i < VEC_WIDTH; i += 4)
        for (int half = 0; half < 2; half++) {
            const vec low = half == 0 ? _mm256_unpacklo_ps(rows[i], rows[i + 1])
                                      : _mm256_unpackhi_ps(rows[i], rows[i + 1]),
                      high = half == 0 ? _mm256_unpacklo_ps(rows[i + 2], rows[i + 3])
                                       : _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
            quads[i + 2 * half] = _mm256_shuffle_ps(low, high, 0x44);
            quads[i + 2 * half + 1] = _mm256_shuffle_ps(low, high, 0xee);
        }
    for (int c = 0; c < 4; c++) {
        rows[c] = _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x20);
        rows[c + 4] = _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x31);
    }
}

#define vec_swap(half, a)                                                                                    \
    ((half) == 1   ? _mm256_permute_ps(a, 0xb1)                                                              \
     : (half) == 2 ? _mm256_permute_ps(a, 0x4e)                                                              \
                   : _mm256_permute2f128_ps(a, a, 1))

#include "kernel/x86/codes_avx2.h"

#define CODED_PRODUCTS "kernel/x86/attention_coded_body.h"
#include "kernel/x86/attention_body.h"
#include "kernel/x86/attention_rows_body.h"
#include "kernel/x86/rope_body.h"
#include "kernel/x86/rotate_body.h"
#include "kernel/x86/store_body.h"
