#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernel/arm/matmul_neon.h"
#include "kernel/quantize.h"
#include "kernel/ref/logits_scalar.h"

/* ---- activations ---- */

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
    uint32x4_t largest = vdupq_n_u32(0);
    for (int i = 0; i < PANEL_GROUP; i += 4)
        largest = vmaxq_u32(largest,
                            vandq_u32(vreinterpretq_u32_f32(vld1q_f32(source + i)), vdupq_n_u32(0x7fffffff)));
    return vmaxvq_u32(largest);
}

/* Stores 16 codes; returns their sum. */
static inline int32_t store_half(const int32x4_t numbers[4], int8_t *codes) {
    int8x8_t low = vqmovn_s16(vcombine_s16(vqmovn_s32(numbers[0]), vqmovn_s32(numbers[1])));
    int8x8_t high = vqmovn_s16(vcombine_s16(vqmovn_s32(numbers[2]), vqmovn_s32(numbers[3])));
    int8x16_t bytes = vcombine_s8(low, high);
    vst1q_s8(codes, bytes);
    return vaddlvq_s8(bytes);
}

static void quantize_group(struct activations *x, size_t at, const float *source) {
    const struct activation_plane *plane = &x->planes[PLANE_COARSE];
    int8_t *codes = plane->codes + at * PANEL_GROUP;
    int32_t *half_sum = plane->half_sum + at * 2;
    struct quantize_scale q = quantize_scale_of(largest_magnitude(source));
    if (q.inverse != 0) {
        for (int i = 0; i < 2; i++) {
            int32x4_t numbers[4];
            for (int j = 0; j < 4; j++)
                numbers[j] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(source + 16 * i + 4 * j), q.inverse));
            half_sum[i] = store_half(numbers, codes + 16 * i);
        }
    } else { /* the numbers may be NaN */
        memset(codes, 0, PANEL_GROUP);
        half_sum[0] = half_sum[1] = 0;
    }
    plane->scale[at] = q.scale;
    x->scaled_sum[at] = q.scale * (float)(half_sum[0] + half_sum[1]);
}

static inline float32x4_t widen_codes(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, sizeof four);
    int16x8_t words = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
}

static void quantize_rest(struct activations *x, size_t at, const float *source) {
    const struct activation_plane *fine = &x->planes[PLANE_FINE];
    const int8_t *coarse = x->planes[PLANE_COARSE].codes + at * PANEL_GROUP;
    int32_t *half_sum = fine->half_sum + at * 2;
    const float scale = x->planes[PLANE_COARSE].scale[at], inverse = 1.0f / scale;
    for (int i = 0; i < 2; i++) {
        int32x4_t numbers[4];
        for (int j = 0; j < 4; j++) {
            const int k = 16 * i + 4 * j;
            float32x4_t rest = vfmsq_n_f32(vld1q_f32(source + k), widen_codes(coarse + k), scale);
            int32x4_t code = vcvtnq_s32_f32(vmulq_n_f32(vmulq_n_f32(rest, inverse), FINE_STEPS));
            numbers[j] = vmaxq_s32(code, vdupq_n_s32(-127)); /* above 127 the narrowing saturates */
        }
        half_sum[i] = store_half(numbers, fine->codes + at * PANEL_GROUP + 16 * i);
    }
    fine->scale[at] = scale / FINE_STEPS;
    x->scaled_sum[at] += fine->scale[at] * (float)(half_sum[0] + half_sum[1]);
}

void quantize_row_neon(struct activations *x, size_t row) {
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

void round_row_neon(struct activations *x, size_t row) {
    const size_t n_padded = x->n_groups * PANEL_GROUP;
    const float *from = x->f32 + row * x->n_cols;
    bf16_bits *to = x->bf16 + row * n_padded;
    for (size_t k = 0; k < x->n_cols; k++) to[k] = quantize_bf16(from[k]);
    for (size_t k = x->n_cols; k < n_padded; k++) to[k] = 0;
}

/* ---- element by element ---- */

/* Up to four numbers of the n left, then zeros; and the other way. */
static inline float32x4_t load_part(const float *from, size_t n) {
    if (n >= 4) return vld1q_f32(from);
    float part[4] = {0};
    memcpy(part, from, n * sizeof *part);
    return vld1q_f32(part);
}
static inline void store_part(float *to, float32x4_t a, size_t n) {
    if (n >= 4) {
        vst1q_f32(to, a);
        return;
    }
    float part[4];
    vst1q_f32(part, a);
    memcpy(to, part, n * sizeof *part);
}

void rmsnorm_neon(float *out, const float *x, const float *weight, size_t n, float epsilon) {
    float32x4_t sums = vdupq_n_f32(0);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t a = load_part(x + i, n - i);
        sums = vfmaq_f32(sums, a, a);
    }
    const float factor = 1.0f / sqrtf(vaddvq_f32(sums) / (float)n + epsilon);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t a = vmulq_n_f32(load_part(x + i, n - i), factor);
        store_part(out + i, vmulq_f32(a, load_part(weight + i, n - i)), n - i);
    }
}

/* e^x: 2^n * e^r with |r| <= ln 2 / 2, and the Taylor polynomial of e^r to degree 7. Past +-87 it stays at
 * the smallest and largest normal results; NaN stays NaN. */
static inline float32x4_t exp_of(float32x4_t x) {
    x = vminq_f32(vdupq_n_f32(88.0f), vmaxq_f32(vdupq_n_f32(-87.0f), x));
    float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 0x1.715476p0f));
    float32x4_t r = vfmsq_n_f32(x, n, 0x1.62e4p-1f);
    r = vfmsq_n_f32(r, n, 0x1.7f7d1cp-20f);
    static const float coefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    float32x4_t p = vdupq_n_f32(1.0f / 5040);
#pragma GCC unroll 7
    for (int i = 0; i < 7; i++) p = vfmaq_f32(vdupq_n_f32(coefficients[i]), p, r);
    int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(p, vreinterpretq_f32_s32(exponent));
}

/* gate / (1 + e^argument) * up */
static inline float32x4_t gated(float32x4_t gate, float32x4_t argument, float32x4_t up) {
    return vmulq_f32(vdivq_f32(gate, vaddq_f32(vdupq_n_f32(1.0f), exp_of(argument))), up);
}

void silu_mul_neon(float *out, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t g = load_part(gate + i, n - i);
        store_part(out + i, gated(g, vnegq_f32(g), load_part(up + i, n - i)), n - i);
    }
}

/* gelu(x) = x / (1 + e^-2u) with the argument u of the tanh. */
void gelu_mul_neon(float *out, const float *gate, const float *up, size_t n) {
    const float32x4_t linear = vdupq_n_f32(-2 * 0.7978845608f);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t g = load_part(gate + i, n - i);
        float32x4_t slope = vfmaq_n_f32(linear, vmulq_f32(g, g), -2 * 0.7978845608f * 0.044715f);
        store_part(out + i, gated(g, vmulq_f32(g, slope), load_part(up + i, n - i)), n - i);
    }
}

/* cap * tanh(t) = cap - 2 cap / (e^2t + 1) */
void softcap_neon(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t e = exp_of(vmulq_n_f32(load_part(x + i, n - i), 2 / cap));
        float32x4_t rest = vdivq_f32(vdupq_n_f32(2 * cap), vaddq_f32(e, vdupq_n_f32(1.0f)));
        store_part(x + i, vsubq_f32(vdupq_n_f32(cap), rest), n - i);
    }
}

void add_neon(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i += 4)
        store_part(x + i, vaddq_f32(load_part(x + i, n - i), load_part(y + i, n - i)), n - i);
}

/* For sampling, once a step: the scalar ones. */
size_t largest_neon(const float *x, size_t n) { return largest_scalar(x, n); }
double soften_neon(float *out, const float *x, size_t n, float max, float temperature) {
    return soften_scalar(out, x, n, max, temperature);
}
