/* The reference: the sequence of kernel/panel.h, one output at a time. */
#include "kernel/ref/matmul_scalar.h"

#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "kernel/panel_layout.h"

static float scale_at(enum panel_format format, const uint8_t *scales, size_t output) {
    if (panel_has_f16_scales(format)) {
        f16_bits bits;
        memcpy(&bits, scales + output * sizeof bits, sizeof bits);
        return f16_to_f32(bits);
    }
    float scale;
    memcpy(&scale, scales + output * sizeof scale, sizeof scale);
    return scale;
}

static int code_at(enum panel_format format, const uint8_t *codes, size_t output, size_t k) {
    if (!panel_has_nibbles(format)) return codes[(k / 4 * PANEL_ROWS + output) * 4 + k % 4];
    size_t low = k % 16;
    uint8_t pair = codes[(low / 4 * PANEL_ROWS + output) * 4 + low % 4];
    return k < 16 ? pair & 15 : pair >> 4;
}

/* acc with the products of one group of a plane added. */
PANEL_INLINE float add_plane(enum panel_format format, const uint8_t *group,
                             const struct activation_plane *plane, size_t at, size_t output, float acc) {
    const unsigned n_scales = panel_n_scales(format), share = PANEL_GROUP / n_scales;
    const int8_t *codes = plane->codes + at * PANEL_GROUP;
    for (unsigned part = 0; part < n_scales; part++) {
        int32_t dot = 0;
        for (size_t k = part * share; k < (part + 1) * share; k++)
            dot += (code_at(format, group + panel_codes_at(format), output, k) - panel_offset(format)) *
                   codes[k];
        float scale = scale_at(format, group + part * panel_scale_bytes(format), output);
        acc = fmaf((float)dot * plane->scale[at], scale, acc);
    }
    return acc;
}

PANEL_INLINE float output_of_quantised(enum panel_format format, const uint8_t *panel,
                                       const struct activations *x, size_t row, size_t output) {
    float acc = 0;
    for (size_t g = 0; g < x->n_groups; g++, panel += panel_group_bytes(format)) {
        size_t at = row * x->n_groups + g;
        acc = add_plane(format, panel, &x->planes[PLANE_COARSE], at, output, acc);
        if (x->planes[PLANE_FINE].scale[at] != 0)
            acc = add_plane(format, panel, &x->planes[PLANE_FINE], at, output, acc);
        if (panel_has_minimum(format))
            acc = fmaf(x->scaled_sum[at], scale_at(format, panel + panel_scale_bytes(format), output), acc);
    }
    return acc;
}

static float weight_at(enum panel_format format, const uint8_t *panel, size_t element) {
    if (format == PANEL_F32) {
        float w;
        memcpy(&w, panel + element * sizeof w, sizeof w);
        return w;
    }
    uint16_t bits;
    memcpy(&bits, panel + element * sizeof bits, sizeof bits);
    return format == PANEL_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

PANEL_INLINE float output_of_float(enum panel_format format, const uint8_t *panel,
                                   const struct activations *x, size_t row, size_t output) {
    float acc = 0;
    for (size_t k = 0; k < x->n_cols; k++) {
        float w = weight_at(format, panel, k * PANEL_ROWS + output);
        acc = fmaf(w, x->f32[row * x->n_cols + k], acc);
    }
    return acc;
}

PANEL_INLINE void matmul_panels(enum panel_format format, const struct panel_matrix *w, size_t panel_begin,
                                size_t panel_end, const struct activations *x, size_t row_begin,
                                size_t row_end, float *out, size_t out_stride) {
    for (size_t o = panel_begin * PANEL_ROWS; o < panel_end * PANEL_ROWS && o < w->n_rows; o++) {
        const uint8_t *panel = w->data + o / PANEL_ROWS * w->panel_bytes;
        for (size_t row = row_begin; row < row_end; row++)
            out[row * out_stride + o] = format < PANEL_F32
                                            ? output_of_quantised(format, panel, x, row, o % PANEL_ROWS)
                                            : output_of_float(format, panel, x, row, o % PANEL_ROWS);
    }
}

KERNEL_SET_DEFINE_MATMUL_QUANTISED(scalar, matmul_panels)
KERNEL_SET_DEFINE_MATMUL_FLOAT(scalar, matmul_panels)
