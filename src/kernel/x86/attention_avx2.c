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

#define vec_swap(half, a)                                                                                    \
    ((half) == 1   ? _mm256_permute_ps(a, 0xb1)                                                              \
     : (half) == 2 ? _mm256_permute_ps(a, 0x4e)                                                              \
                   : _mm256_permute2f128_ps(a, a, 1))

#include "kernel/x86/codes_avx2.h"

#define CODED_PRODUCTS "kernel/x86/attention_coded_body.h"
#include "kernel/x86/attention_body.h"
#include "kernel/x86/attention_rows_body.h"
#include "kernel/x86/rotate_body.h"
