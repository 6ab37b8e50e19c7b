#include <math.h>

#include "kernel/quantize.h"
#include "kernel/ref/matmul_scalar.h"

static void quantize_group(struct activations *x, size_t at, const float *source, size_t n) {
    uint32_t largest = 0;
    for (size_t k = 0; k < n; k++) {
        uint32_t magnitude = bits_of_float(source[k]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
    }
    struct quantize_scale q = quantize_scale_of(largest);
    int8_t *codes = x->codes + at * PANEL_GROUP;
    int32_t sums[2] = {0, 0};
    for (size_t k = 0; k < PANEL_GROUP; k++) {
        int code = k < n && q.inverse != 0 ? (int)lrintf(source[k] * q.inverse) : 0;
        codes[k] = (int8_t)code;
        sums[k / 16] += code;
    }
    x->scale[at] = q.scale;
    x->scaled_sum[at] = q.scale * (float)(sums[0] + sums[1]);
    x->half_sum[at * 2] = sums[0];
    x->half_sum[at * 2 + 1] = sums[1];
}

void quantize_row_scalar(struct activations *x, size_t row) {
    const float *source = x->f32 + row * x->n_cols;
    for (size_t g = 0; g < x->n_groups; g++) {
        size_t left = x->n_cols - g * PANEL_GROUP;
        quantize_group(x, row * x->n_groups + g, source + g * PANEL_GROUP, left < PANEL_GROUP ? left : PANEL_GROUP);
    }
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

void add_scalar(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}
