#include <immintrin.h>
#include <math.h>

#include "kernel/activations.h"
#include "kernel/quantize.h"
#include "kernel/x86/matmul_avx512.h"

enum { BATCH = 16 }; /* groups whose scales are computed side by side */

static inline __mmask16 mask_of(size_t n) { return n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1); }

/* One half of a group, of which n numbers exist. */
static inline __m512 load_half(const float *source, size_t n) {
    return n >= 16 ? _mm512_loadu_ps(source) : _mm512_maskz_loadu_ps(mask_of(n), source);
}

static inline size_t second_half(size_t n) { return n < 16 ? 0 : n - 16; }

/* Largest magnitude of a group, as bits. */
static inline uint32_t largest_magnitude(const float *source, size_t n) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i low = _mm512_and_si512(_mm512_castps_si512(load_half(source, n)), magnitude);
    __m512i high = _mm512_and_si512(_mm512_castps_si512(load_half(source + 16, second_half(n))), magnitude);
    return _mm512_reduce_max_epu32(_mm512_max_epu32(low, high));
}

/* quantize_scale_of (kernel/quantize.h) in 16 lanes. */
static inline __m512 scales_of(__m512i largest, __m512 *inverse) {
    __m512 magnitude = _mm512_castsi512_ps(largest);
    __mmask16 is_sound = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(0x1p100f), _CMP_LT_OQ);
    __mmask16 is_large = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(0x1p-100f), _CMP_GE_OQ);
    __m512i cut = _mm512_and_si512(_mm512_castps_si512(_mm512_div_ps(magnitude, _mm512_set1_ps(127.0f))),
                                   _mm512_set1_epi32(~3));
    __m512 scale = _mm512_maskz_mov_ps(is_large, _mm512_castsi512_ps(cut));
    *inverse = _mm512_maskz_div_ps(is_large & is_sound, _mm512_set1_ps(1.0f), scale);
    return _mm512_mask_mov_ps(_mm512_set1_ps(NAN), is_sound, scale);
}

/* An inverse of 0 gives codes of 0 for NaN and infinity too: they convert to 2^31, whose lowest byte is 0. */
static inline __m128i codes_of(__m512 numbers, __m512 inverse) {
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(numbers, inverse)));
}

static inline __m256i encode_group(const float *source, size_t n, float inverse) {
    __m128i low = codes_of(load_half(source, n), _mm512_set1_ps(inverse));
    __m128i high = codes_of(load_half(source + 16, second_half(n)), _mm512_set1_ps(inverse));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Sums of both halves of a group's codes, in the two lowest lanes. */
static inline __m128i sum_halves(__m256i codes) {
    /* psadbw adds unsigned bytes: codes + 128, eight at a time */
    __m256i biased = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    __m256i eights = _mm256_sad_epu8(biased, _mm256_setzero_si256());
    __m256i halves = _mm256_add_epi64(eights, _mm256_unpackhi_epi64(eights, eights));
    __m256i packed = _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0));
    return _mm_sub_epi32(_mm256_castsi256_si128(packed), _mm_set1_epi32(16 * 128));
}

static void quantize_coarse(struct activations *x, size_t row) {
    const struct activation_plane *plane = &x->planes[PLANE_COARSE];
    for (size_t first = 0; first < x->n_groups; first += BATCH) {
        size_t n = x->n_groups - first < BATCH ? x->n_groups - first : BATCH, at = row * x->n_groups + first;
        const float *source = x->f32 + row * x->n_cols + first * PANEL_GROUP;
        size_t n_cols = x->n_cols - first * PANEL_GROUP;
        uint32_t largest[BATCH] = {0};
        float inverse[BATCH];
        for (size_t g = 0; g < n; g++) {
            size_t left = n_cols - g * PANEL_GROUP;
            largest[g] = largest_magnitude(source + g * PANEL_GROUP, left);
        }
        __m512 inverses, scale = scales_of(_mm512_loadu_si512(largest), &inverses);
        _mm512_storeu_ps(inverse, inverses);
        _mm512_mask_storeu_ps(plane->scale + at, mask_of(n), scale);
        int32_t sums[BATCH];
        for (size_t g = 0; g < n; g++) {
            size_t left = n_cols - g * PANEL_GROUP;
            __m256i codes = encode_group(source + g * PANEL_GROUP, left, inverse[g]);
            __m128i halves = sum_halves(codes);
            _mm256_storeu_si256((__m256i *)(plane->codes + (at + g) * PANEL_GROUP), codes);
            _mm_storel_epi64((__m128i *)(plane->half_sum + (at + g) * 2), halves);
            sums[g] = _mm_cvtsi128_si32(halves) + _mm_extract_epi32(halves, 1);
        }
        __m512 sum = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask_of(n), sums));
        _mm512_mask_storeu_ps(x->scaled_sum + at, mask_of(n), _mm512_mul_ps(scale, sum));
    }
}

/* Fine codes of half a group, of which n numbers exist. */
static inline __m128i rest_of(const float *source, size_t n, const int8_t *coarse, float scale,
                              float inverse) {
    __m512 code = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)coarse)));
    __m512 rest = _mm512_fnmadd_ps(code, _mm512_set1_ps(scale), load_half(source, n));
    __m512 steps = _mm512_mul_ps(_mm512_mul_ps(rest, _mm512_set1_ps(inverse)), _mm512_set1_ps(FINE_STEPS));
    __m512i fine = _mm512_max_epi32(_mm512_cvtps_epi32(steps), _mm512_set1_epi32(-127));
    return _mm512_cvtsepi32_epi8(fine); /* saturates above 127 */
}

static void quantize_rest(struct activations *x, size_t at, const float *source, size_t n) {
    const struct activation_plane *fine = &x->planes[PLANE_FINE];
    const int8_t *coarse = x->planes[PLANE_COARSE].codes + at * PANEL_GROUP;
    float scale = x->planes[PLANE_COARSE].scale[at], inverse = 1.0f / scale;
    __m128i low = rest_of(source, n, coarse, scale, inverse);
    __m128i high = rest_of(source + 16, second_half(n), coarse + 16, scale, inverse);
    __m256i codes = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    __m128i halves = sum_halves(codes);
    _mm256_storeu_si256((__m256i *)(fine->codes + at * PANEL_GROUP), codes);
    _mm_storel_epi64((__m128i *)(fine->half_sum + at * 2), halves);
    fine->scale[at] = scale / FINE_STEPS;
    x->scaled_sum[at] += fine->scale[at] * (float)(_mm_cvtsi128_si32(halves) + _mm_extract_epi32(halves, 1));
}

void quantize_row_avx512(struct activations *x, size_t row) {
    quantize_coarse(x, row);
    const float *source = x->f32 + row * x->n_cols,
                *scale = x->planes[PLANE_COARSE].scale + row * x->n_groups;
    float limit = quantize_fine_above(scale, x->n_groups);
    for (size_t g = 0; g < x->n_groups; g++) {
        x->planes[PLANE_FINE].scale[row * x->n_groups + g] = 0;
        if (scale[g] > limit)
            quantize_rest(x, row * x->n_groups + g, source + g * PANEL_GROUP, x->n_cols - g * PANEL_GROUP);
    }
}

void round_row_avx512(struct activations *x, size_t row) {
    const float *from = x->f32 + row * x->n_cols;
    bf16_bits *to = x->bf16 + row * x->n_groups * PANEL_GROUP;
    for (size_t k = 0; k < x->n_groups * PANEL_GROUP; k += PANEL_GROUP) {
        size_t n = x->n_cols - k; /* at least 1 */
        __m512 low = load_half(from + k, n), high = load_half(from + k + 16, second_half(n));
        _mm512_storeu_si512(to + k, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

void rmsnorm_avx512(float *out, const float *x, const float *weight, size_t n, float epsilon) {
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(mask_of(n - i), x + i);
        sums[i / 16 % 2] = _mm512_fmadd_ps(v, v, sums[i / 16 % 2]);
    }
    float sum = _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
    __m512 factor = _mm512_set1_ps(1.0f / sqrtf(sum / (float)n + epsilon));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor);
        _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i)));
    }
}

/* e^x: 2^n * e^r with |r| <= ln 2 / 2, and the Taylor polynomial of e^r to degree 7 (error below half an ulp
 * before rounding); overflow and underflow as scalef has them. */
static inline __m512 exp_of(__m512 x) {
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p0f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    const float coefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
#pragma GCC unroll 7
    for (int i = 0; i < 7; i++) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(coefficients[i]));
    return _mm512_scalef_ps(p, n);
}

void silu_mul_avx512(float *out, const float *gate, const float *up, size_t n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i), u = _mm512_maskz_loadu_ps(mask, up + i);
        __m512 e = exp_of(_mm512_sub_ps(_mm512_setzero_ps(), g));
        _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, e)), u));
    }
}

/* gelu(x) = x / (1 + e^-2u) with the argument u of the tanh. */
void gelu_mul_avx512(float *out, const float *gate, const float *up, size_t n) {
    const __m512 one = _mm512_set1_ps(1.0f), linear = _mm512_set1_ps(-2 * 0.7978845608f),
                 cubic = _mm512_set1_ps(-2 * 0.7978845608f * 0.044715f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i), u = _mm512_maskz_loadu_ps(mask, up + i);
        __m512 argument = _mm512_mul_ps(g, _mm512_fmadd_ps(_mm512_mul_ps(g, g), cubic, linear));
        __m512 e = exp_of(argument);
        _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(_mm512_div_ps(g, _mm512_add_ps(one, e)), u));
    }
}

/* cap * tanh(t) = cap - 2 cap / (e^2t + 1) */
void softcap_avx512(float *x, size_t n, float cap) {
    const __m512 one = _mm512_set1_ps(1.0f), caps = _mm512_set1_ps(cap), twice = _mm512_set1_ps(2 * cap),
                 factor = _mm512_set1_ps(2 / cap);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 e = exp_of(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor));
        __m512 rest = _mm512_div_ps(twice, _mm512_add_ps(e, one));
        _mm512_mask_storeu_ps(x + i, mask, _mm512_sub_ps(caps, rest));
    }
}

void add_avx512(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(x + i, mask, sum);
    }
}

/* vmaxps gives its second operand where the first is NaN. */
size_t largest_avx512(const float *x, size_t n) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __m512 most[2] = {lowest, lowest};
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        most[0] = _mm512_max_ps(_mm512_loadu_ps(x + i), most[0]);
        most[1] = _mm512_max_ps(_mm512_loadu_ps(x + i + 16), most[1]);
    }
    for (; i < n; i += 16)
        most[0] = _mm512_max_ps(_mm512_mask_loadu_ps(lowest, mask_of(n - i), x + i), most[0]);
    const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1])));
    for (i = 0; i < n; i += 16) {
        const __mmask16 found = _mm512_mask_cmp_ps_mask(
            mask_of(n - i), _mm512_maskz_loadu_ps(mask_of(n - i), x + i), largest, _CMP_EQ_OQ);
        if (found != 0) return i + (size_t)__builtin_ctz(found);
    }
    return 0; /* no numbers */
}

double soften_avx512(float *out, const float *x, size_t n, float max, float temperature) {
    const __m512 maxima = _mm512_set1_ps(max), temperatures = _mm512_set1_ps(temperature);
    __m512d sums[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = mask_of(n - i);
        const __m512 t =
            _mm512_div_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), maxima), temperatures);
        const __mmask16 counts = _mm512_mask_cmp_ps_mask(mask, t, _mm512_set1_ps(-87.0f), _CMP_GE_OQ);
        const __m512 e = _mm512_maskz_mov_ps(counts, exp_of(t));
        _mm512_mask_storeu_ps(out + i, mask, e);
        sums[0] = _mm512_add_pd(sums[0], _mm512_cvtps_pd(_mm512_castps512_ps256(e)));
        sums[1] = _mm512_add_pd(sums[1], _mm512_cvtps_pd(_mm512_extractf32x8_ps(e, 1)));
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1]));
}
