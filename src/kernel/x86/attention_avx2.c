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

static inline vec vec_scale2(vec p, vec y) {
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(y), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}

static inline vec vec_keep_from(vec p, vec t, vec at) {
    return _mm256_and_ps(p, _mm256_cmp_ps(t, at, _CMP_NLT_UQ));
}

#define vec_swap(half, a)                                                                                    \
    ((half) == 1   ? _mm256_permute_ps(a, 0xb1)                                                              \
     : (half) == 2 ? _mm256_permute_ps(a, 0x4e)                                                              \
                   : _mm256_permute2f128_ps(a, a, 1))

#include "kernel/x86/codes_avx2.h"

#include "kernel/x86/attention_body.h"
