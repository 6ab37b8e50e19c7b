#include "kernel/x86/attention_avx512.h"

#include <immintrin.h>

#define SET(name) name##_avx512
/* 6 rows x 4 vectors of accumulators, 4 of B and a factor: 29 of the 32 registers, and 10 loads for 24 FMAs
 * (12 rows x 2 vectors need 14, which costs 5 %). */
#define TILE_ROWS 6
#define FOR_TILE_ROWS X(1) X(2) X(3) X(4) X(5) X(6)
#define TILE_STRIPS 2
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

static inline vec vec_scale2(vec p, vec y) {
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(y), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}

static inline vec vec_keep_from(vec p, vec t, vec at) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, at, _CMP_NLT_UQ), p);
}

#include "kernel/x86/attention_body.h"

typedef __m512i ivec;
#define CODE_ROWS 4
#define FOR_CODE_ROWS X(1) X(2) X(3) X(4)
#define ivec_zero() _mm512_setzero_si512()
#define ivec_load(p) _mm512_loadu_si512(p)
#define ivec_store(p, a) _mm512_storeu_si512(p, a)
#define ivec_dot_k(sum, k, q) _mm512_dpbusd_epi32(sum, k, q)
#define ivec_dot_v(sum, v, p) _mm512_dpbusd_epi32(sum, p, v)
#define ivec_to_vec(a) _mm512_cvtepi32_ps(a)
#define ivec_subtract(a, value) _mm512_sub_epi32(a, _mm512_set1_epi32(value))
#define ivec_low_nibbles(a) _mm512_and_si512(a, _mm512_set1_epi8(15))
#define ivec_high_nibbles(a) _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15))

static inline ivec ivec_set(const char *p) {
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return _mm512_set1_epi32(quad);
}

static inline ivec ivec_lookup(const uint8_t *table, ivec indices) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), indices);
}

/* A chunk of q3 (codec/code_layout.h) as 128 bytes. */
static inline void unpack_q3(const uint8_t *chunk, const uint8_t *table, uint8_t *to) {
    const __m256i low = _mm256_loadu_si256((const __m256i *)chunk);
    for (int half = 0; half < 2; half++) {
        __m256i first = _mm256_srl_epi16(low, _mm_cvtsi32_si128(4 * half)),
                second = _mm256_srl_epi16(low, _mm_cvtsi32_si128(4 * half + 2));
        __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
        uint64_t third;
        memcpy(&third, chunk + 32 + 8 * half, sizeof third);
        both = _mm512_and_si512(both, _mm512_set1_epi8(3));
        both = _mm512_or_si512(both, _mm512_maskz_set1_epi8(third, 4));
        _mm512_storeu_si512(to + 64 * half, ivec_lookup(table, both));
    }
}

#include "kernel/x86/attention_codes_body.h"
