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

#include "kernel/x86/attention_body.h"

typedef __m256i ivec;
#define CODE_ROWS 1
#define FOR_CODE_ROWS X(1)
#define ivec_zero() _mm256_setzero_si256()
#define ivec_load(p) _mm256_loadu_si256((const __m256i *)(p))
#define ivec_store(p, a) _mm256_storeu_si256((__m256i *)(p), a)
#define ivec_to_vec(a) _mm256_cvtepi32_ps(a)
#define ivec_subtract(a, value) _mm256_sub_epi32(a, _mm256_set1_epi32(value))
#define ivec_low_nibbles(a) _mm256_and_si256(a, _mm256_set1_epi8(15))
#define ivec_high_nibbles(a) _mm256_and_si256(_mm256_srli_epi16(a, 4), _mm256_set1_epi8(15))

static inline ivec ivec_set(const char *p) {
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return _mm256_set1_epi32(quad);
}

/* sum + four products of unsigned and signed bytes a lane, over 16-bit numbers: the instruction for bytes
 * saturates. */
static inline ivec dot_bytes(ivec sum, ivec of_unsigned, ivec of_signed) {
    const ivec even = _mm256_set1_epi16(0xff);
    ivec a = _mm256_madd_epi16(_mm256_and_si256(of_unsigned, even),
                               _mm256_srai_epi16(_mm256_slli_epi16(of_signed, 8), 8));
    ivec b = _mm256_madd_epi16(_mm256_srli_epi16(of_unsigned, 8), _mm256_srai_epi16(of_signed, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
}
#define ivec_dot_k(sum, k, q) dot_bytes(sum, k, q)
#define ivec_dot_v(sum, v, p) dot_bytes(sum, p, v)

static inline ivec ivec_lookup(const uint8_t *table, ivec indices) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), indices);
}

/* A chunk of q3 (codec/code_layout.h) as 128 bytes. */
static inline void unpack_q3(const uint8_t *chunk, const uint8_t *table, uint8_t *to) {
    for (unsigned i = 0; i < 128; i++) {
        unsigned low = chunk[i % 32] >> (2 * (i / 32)) & 3, high = chunk[32 + i / 8] >> (i % 8) & 1;
        to[i] = table[low | high << 2];
    }
}

#include "kernel/x86/attention_codes_body.h"
