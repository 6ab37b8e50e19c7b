#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernel/activations.h"
#include "kernel/quantize.h"
#include "kernel/x86/matmul_avx2.h"

/* A whole group, padded with zeros: in place, or copied to `padded`. */
static inline const float *whole_group(const struct activations *x, size_t row, size_t g, float *padded) {
    const float *source = x->f32 + row * x->n_cols + g * PANEL_GROUP;
    size_t left = x->n_cols - g * PANEL_GROUP;
    if (left >= PANEL_GROUP) return source;
    memset(padded, 0, PANEL_GROUP * sizeof *padded);
    memcpy(padded, source, left * sizeof *padded);
    return padded;
}

static inline uint32_t largest_magnitude(const float *source) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < PANEL_GROUP; i += 8) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)(source + i));
        largest = _mm256_max_epu32(largest, _mm256_and_si256(bits, magnitude));
    }
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1)));
}

/* Stores 16 codes; returns their sum. */
static inline int32_t store_half(__m256i low, __m256i high, int8_t *codes) {
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)codes, bytes);
    __m128i eights = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(eights) + _mm_extract_epi16(eights, 4) - 16 * 128;
}

static inline __m256i coarse_codes(const float *source, __m256 inverse) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(source), inverse));
}

static void quantize_group(struct activations *x, size_t at, const float *source) {
    const struct activation_plane *plane = &x->planes[PLANE_COARSE];
    int8_t *codes = plane->codes + at * PANEL_GROUP;
    int32_t *half_sum = plane->half_sum + at * 2;
    struct quantize_scale q = quantize_scale_of(largest_magnitude(source));
    __m256 inverse = _mm256_set1_ps(q.inverse);
    if (q.inverse != 0) {
        for (int i = 0; i < 2; i++)
            half_sum[i] = store_half(coarse_codes(source + 16 * i, inverse),
                                     coarse_codes(source + 16 * i + 8, inverse), codes + 16 * i);
    } else { /* the numbers may be NaN */
        memset(codes, 0, PANEL_GROUP);
        half_sum[0] = half_sum[1] = 0;
    }
    plane->scale[at] = q.scale;
    x->scaled_sum[at] = q.scale * (float)(half_sum[0] + half_sum[1]);
}

/* Fine codes of eight numbers. */
static inline __m256i fine_codes(const float *source, const int8_t *coarse, __m256 scale, __m256 inverse) {
    __m256 code = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)coarse)));
    __m256 rest = _mm256_mul_ps(_mm256_fnmadd_ps(code, scale, _mm256_loadu_ps(source)), inverse);
    __m256i fine = _mm256_cvtps_epi32(_mm256_mul_ps(rest, _mm256_set1_ps(FINE_STEPS)));
    return _mm256_max_epi32(fine, _mm256_set1_epi32(-127)); /* above 127 the packing saturates */
}

static void quantize_rest(struct activations *x, size_t at, const float *source) {
    const struct activation_plane *fine = &x->planes[PLANE_FINE];
    const int8_t *coarse = x->planes[PLANE_COARSE].codes + at * PANEL_GROUP;
    int32_t *half_sum = fine->half_sum + at * 2;
    float scale_of_group = x->planes[PLANE_COARSE].scale[at];
    __m256 scale = _mm256_set1_ps(scale_of_group), inverse = _mm256_set1_ps(1.0f / scale_of_group);
    for (int i = 0; i < 2; i++)
        half_sum[i] = store_half(fine_codes(source + 16 * i, coarse + 16 * i, scale, inverse),
                                 fine_codes(source + 16 * i + 8, coarse + 16 * i + 8, scale, inverse),
                                 fine->codes + at * PANEL_GROUP + 16 * i);
    fine->scale[at] = scale_of_group / FINE_STEPS;
    x->scaled_sum[at] += fine->scale[at] * (float)(half_sum[0] + half_sum[1]);
}

void quantize_row_avx2(struct activations *x, size_t row) {
    float padded[PANEL_GROUP];
    for (size_t g = 0; g < x->n_groups; g++)
        quantize_group(x, row * x->n_groups + g, whole_group(x, row, g, padded));
    const float *scale = x->planes[PLANE_COARSE].scale + row * x->n_groups;
    float limit = quantize_fine_above(scale, x->n_groups);
    for (size_t g = 0; g < x->n_groups; g++) {
        x->planes[PLANE_FINE].scale[row * x->n_groups + g] = 0;
        if (scale[g] > limit) quantize_rest(x, row * x->n_groups + g, whole_group(x, row, g, padded));
    }
}

/* Lanes that exist of the n left, for maskload and maskstore. */
static inline __m256i mask_of(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline float sum_lanes(__m256 v) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

void round_row_avx2(struct activations *x, size_t row) {
    const size_t n_padded = x->n_groups * PANEL_GROUP;
    const float *from = x->f32 + row * x->n_cols;
    bf16_bits *to = x->bf16 + row * n_padded;
    for (size_t k = 0; k < x->n_cols; k++) to[k] = quantize_bf16(from[k]);
    for (size_t k = x->n_cols; k < n_padded; k++) to[k] = 0;
}

void rmsnorm_avx2(float *out, const float *x, const float *weight, size_t n, float epsilon) {
    __m256 sums = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, mask_of(n - i));
        sums = _mm256_fmadd_ps(v, v, sums);
    }
    __m256 factor = _mm256_set1_ps(1.0f / sqrtf(sum_lanes(sums) / (float)n + epsilon));
    for (size_t i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), factor);
        _mm256_maskstore_ps(out + i, mask, _mm256_mul_ps(v, _mm256_maskload_ps(weight + i, mask)));
    }
}

/* e^x: 2^n * e^r with |r| <= ln 2 / 2, and the Taylor polynomial of e^r to degree 7. Past +-87 it stays at
 * the smallest and largest normal results; NaN stays NaN. */
static inline __m256 exp_of(__m256 x) {
    x = _mm256_min_ps(_mm256_set1_ps(88.0f), _mm256_max_ps(_mm256_set1_ps(-87.0f), x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p0f)), 8);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    const float coefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
#pragma GCC unroll 7
    for (int i = 0; i < 7; i++) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(coefficients[i]));
    __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(exponent));
}

void silu_mul_avx2(float *out, const float *gate, const float *up, size_t n) {
    const __m256 one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 g = _mm256_maskload_ps(gate + i, mask), u = _mm256_maskload_ps(up + i, mask);
        __m256 e = exp_of(_mm256_sub_ps(_mm256_setzero_ps(), g));
        _mm256_maskstore_ps(out + i, mask, _mm256_mul_ps(_mm256_div_ps(g, _mm256_add_ps(one, e)), u));
    }
}

/* gelu(x) = x / (1 + e^-2u) with the argument u of the tanh. */
void gelu_mul_avx2(float *out, const float *gate, const float *up, size_t n) {
    const __m256 one = _mm256_set1_ps(1.0f), linear = _mm256_set1_ps(-2 * 0.7978845608f),
                 cubic = _mm256_set1_ps(-2 * 0.7978845608f * 0.044715f);
    for (size_t i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 g = _mm256_maskload_ps(gate + i, mask), u = _mm256_maskload_ps(up + i, mask);
        __m256 argument = _mm256_mul_ps(g, _mm256_fmadd_ps(_mm256_mul_ps(g, g), cubic, linear));
        __m256 e = exp_of(argument);
        _mm256_maskstore_ps(out + i, mask, _mm256_mul_ps(_mm256_div_ps(g, _mm256_add_ps(one, e)), u));
    }
}

/* cap * tanh(t) = cap - 2 cap / (e^2t + 1) */
void softcap_avx2(float *x, size_t n, float cap) {
    const __m256 one = _mm256_set1_ps(1.0f), caps = _mm256_set1_ps(cap), twice = _mm256_set1_ps(2 * cap),
                 factor = _mm256_set1_ps(2 / cap);
    for (size_t i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 e = exp_of(_mm256_mul_ps(_mm256_maskload_ps(x + i, mask), factor));
        __m256 rest = _mm256_div_ps(twice, _mm256_add_ps(e, one));
        _mm256_maskstore_ps(x + i, mask, _mm256_sub_ps(caps, rest));
    }
}

void add_avx2(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 sum = _mm256_add_ps(_mm256_maskload_ps(x + i, mask), _mm256_maskload_ps(y + i, mask));
        _mm256_maskstore_ps(x + i, mask, sum);
    }
}

/* vmaxps gives its second operand where the first is NaN. */
size_t largest_avx2(const float *x, size_t n) {
    __m256 most = _mm256_set1_ps(-INFINITY);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) most = _mm256_max_ps(_mm256_loadu_ps(x + i), most);
    float lanes[8], largest = -INFINITY;
    _mm256_storeu_ps(lanes, most);
    for (int lane = 0; lane < 8; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
    for (; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (i = 0; i + 8 <= n; i += 8) {
        const __m256 is_it = _mm256_cmp_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(largest), _CMP_EQ_OQ);
        const unsigned found = (unsigned)_mm256_movemask_ps(is_it);
        if (found != 0) return i + (size_t)__builtin_ctz(found);
    }
    for (; i < n; i++)
        if (x[i] >= largest) return i;
    return 0; /* no numbers */
}

double soften_avx2(float *out, const float *x, size_t n, float max, float temperature) {
    const __m256 maxima = _mm256_set1_ps(max), temperatures = _mm256_set1_ps(temperature);
    __m256d sums[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    for (size_t i = 0; i < n; i += 8) {
        const __m256i mask = mask_of(n - i);
        const __m256 t = _mm256_div_ps(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), maxima), temperatures);
        const __m256 counts =
            _mm256_and_ps(_mm256_cmp_ps(t, _mm256_set1_ps(-87.0f), _CMP_GE_OQ), _mm256_castsi256_ps(mask));
        const __m256 e = _mm256_and_ps(counts, exp_of(t));
        _mm256_maskstore_ps(out + i, mask, e);
        sums[0] = _mm256_add_pd(sums[0], _mm256_cvtps_pd(_mm256_castps256_ps128(e)));
        sums[1] = _mm256_add_pd(sums[1], _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1)));
    }
    double lanes[4];
    _mm256_storeu_pd(lanes, _mm256_add_pd(sums[0], sums[1]));
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}
