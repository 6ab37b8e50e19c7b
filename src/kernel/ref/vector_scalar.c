#include <math.h>

#include "kernel/quantize.h"
#include "kernel/ref/matmul_scalar.h"

static void sum_codes(struct activations *x, const struct activation_plane *plane, size_t at) {
    int32_t *sums = plane->half_sum + at * 2;
    sums[0] = sums[1] = 0;
    for (size_t k = 0; k < PANEL_GROUP; k++) sums[k / 16] += plane->codes[at * PANEL_GROUP + k];
    x->scaled_sum[at] += plane->scale[at] * (float)(sums[0] + sums[1]);
}

/* A group's numbers, of which n exist. */
static void quantize_group(struct activations *x, size_t at, const float *source, size_t n) {
    uint32_t largest = 0;
    for (size_t k = 0; k < n && k < PANEL_GROUP; k++) {
        uint32_t magnitude = bits_of_float(source[k]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
    }
    struct quantize_scale q = quantize_scale_of(largest);
    const struct activation_plane *plane = &x->planes[PLANE_COARSE];
    for (size_t k = 0; k < PANEL_GROUP; k++)
        plane->codes[at * PANEL_GROUP + k] =
            k < n && q.inverse != 0 ? (int8_t)lrintf(source[k] * q.inverse) : 0;
    plane->scale[at] = q.scale;
    x->scaled_sum[at] = 0;
    sum_codes(x, plane, at);
}

/* What the coarse plane of a group left over. */
static void quantize_rest(struct activations *x, size_t at, const float *source, size_t n) {
    const struct activation_plane *coarse = &x->planes[PLANE_COARSE], *fine = &x->planes[PLANE_FINE];
    float scale = coarse->scale[at], inverse = 1.0f / scale;
    for (size_t k = 0; k < PANEL_GROUP; k++) {
        float rest = k < n ? fmaf(-(float)coarse->codes[at * PANEL_GROUP + k], scale, source[k]) : 0;
        long code = lrintf(rest * inverse * FINE_STEPS);
        fine->codes[at * PANEL_GROUP + k] = (int8_t)(code > 127 ? 127 : code < -127 ? -127 : code);
    }
    fine->scale[at] = scale / FINE_STEPS;
    sum_codes(x, fine, at);
}

void quantize_row_scalar(struct activations *x, size_t row) {
    const float *source = x->f32 + row * x->n_cols;
    for (size_t g = 0; g < x->n_groups; g++)
        quantize_group(x, row * x->n_groups + g, source + g * PANEL_GROUP, x->n_cols - g * PANEL_GROUP);
    const float *scale = x->planes[PLANE_COARSE].scale + row * x->n_groups;
    float limit = quantize_fine_above(scale, x->n_groups);
    for (size_t g = 0; g < x->n_groups; g++) {
        x->planes[PLANE_FINE].scale[row * x->n_groups + g] = 0;
        if (scale[g] > limit)
            quantize_rest(x, row * x->n_groups + g, source + g * PANEL_GROUP, x->n_cols - g * PANEL_GROUP);
    }
}

void round_row_scalar(struct activations *x, size_t row) {
    const size_t n_padded = x->n_groups * PANEL_GROUP;
    const float *from = x->f32 + row * x->n_cols;
    bf16_bits *to = x->bf16 + row * n_padded;
    for (size_t k = 0; k < x->n_cols; k++) to[k] = quantize_bf16(from[k]);
    for (size_t k = x->n_cols; k < n_padded; k++) to[k] = 0;
}

void rmsnorm_scalar(float *out, const float *x, const float *weight, size_t n, float epsilon) {
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    float factor = 1.0f / sqrtf(sum / (float)n + epsilon);
    for (size_t i = 0; i < n; i++) out[i] = x[i] * factor * weight[i];
}

void silu_mul_scalar(float *out, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

void gelu_mul_scalar(float *out, const float *gate, const float *up, size_t n) {
    const float root_2_by_pi = 0.7978845608f;
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        out[i] = 0.5f * x * (1.0f + tanhf(root_2_by_pi * (x + 0.044715f * x * x * x))) * up[i];
    }
}

void softcap_scalar(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i++) x[i] = cap * tanhf(x[i] / cap);
}

void add_scalar(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}
