/* Vectors of 16 f32 for attention_body.h. */
#ifndef CABINET_KERNEL_X86_VEC_AVX512_H
#define CABINET_KERNEL_X86_VEC_AVX512_H

#include <immintrin.h>

#define VEC_WIDTH 16

typedef __m512 vec;
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, a) _mm512_storeu_ps(p, a)
#define vec_broadcast(p) _mm512_set1_ps(*(p))
#define vec_set(value) _mm512_set1_ps(value)
#define vec_zero() _mm512_setzero_ps()
#define vec_add(a, b) _mm512_add_ps(a, b)
#define vec_sub(a, b) _mm512_sub_ps(a, b)
#define vec_div(a, b) _mm512_div_ps(a, b)
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vec_min(a, b) _mm512_min_ps(a, b)
#define vec_max(a, b) _mm512_max_ps(a, b)
#define vec_max_across(a) _mm512_reduce_max_ps(a)
#define vec_sum_across(a) _mm512_reduce_add_ps(a)

static inline vec vec_widen_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }

static inline vec vec_widen_bf16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}

static inline void vec_narrow_f32(float *p, vec a) { vec_store(p, a); }

static inline void vec_narrow_f16(void *p, vec a) {
    _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Not vcvtneps2bf16: that instruction makes denormals zero. */
static inline void vec_narrow_bf16(void *p, vec a) {
    __m512i bits = _mm512_castps_si512(a), high = _mm512_srli_epi32(bits, 16);
    __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    rounded = _mm512_srli_epi32(rounded, 16);
    __mmask16 is_nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(rounded));
}

/* t = n + r, n an integer, 0 <= r < 1: r of vec_power, and 2^n times p, or 0 where 2^t is denormal. */
static inline vec vec_fraction(vec t) {
    return _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline vec vec_raise(vec p, vec t) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(t, vec_set(-126.0f), _CMP_NLT_UQ), p, t);
}
/* Minimax coefficients of 2^r, from the highest power down to r^1; r^0 has 1. */
#define POWER_FINE 0x1.e9755p-10f, 0x1.27783cp-7f, 0x1.c91ceap-5f, 0x1.ebdb56p-3f, 0x1.62e4bap-1f
#define POWER_COARSE 0x1.b7f798p-7f, 0x1.abf84p-5f, 0x1.ee2456p-3f, 0x1.62d6c6p-1f

#define vec_swap(half, a)                                                                                    \
    ((half) == 1   ? _mm512_permute_ps(a, 0xb1)                                                              \
     : (half) == 2 ? _mm512_permute_ps(a, 0x4e)                                                              \
     : (half) == 4 ? _mm512_shuffle_f32x4(a, a, 0xb1)                                                        \
                   : _mm512_shuffle_f32x4(a, a, 0x4e))

#endif
