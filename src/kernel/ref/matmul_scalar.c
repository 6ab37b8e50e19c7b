/* The reference: the sequence of kernel/panel.h, one output at a time. */
#include "kernel/ref/matmul_scalar.h"

#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "kernel/panel_layout.h"

/* ---- quantised ---- */

static float f16_at(const uint8_t *numbers, size_t i) {
    f16_bits bits;
    memcpy(&bits, numbers + i * sizeof bits, sizeof bits);
    return f16_to_f32(bits);
}

/* What a scale or minimum factor of a group is multiplied with; `offset` is where the 16 numbers begin. */
PANEL_INLINE float common_at(enum weight_type type, const uint8_t *panel, size_t g, size_t offset,
                             size_t row) {
    return f16_at(panel + panel_common_at(type, g) + offset, row);
}

PANEL_INLINE float scale_at(enum weight_type type, const uint8_t *panel, size_t g, unsigned share,
                            size_t row) {
    const uint8_t *scales = panel + panel_group_at(type, g) + share * panel_scale_bytes(type);
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return f16_at(scales, row);
    case SCALE_E8M0: return weight_e8m0_to_f32(scales[row]);
    case SCALE_FACTORS: return common_at(type, panel, g, 0, row) * (float)(int8_t)scales[row];
    default: return common_at(type, panel, g, 0, row) * (float)(scales[row] & 15);
    }
}

PANEL_INLINE float minimum_at(enum weight_type type, const uint8_t *panel, size_t g, unsigned share,
                              size_t row) {
    const uint8_t *group = panel + panel_group_at(type, g);
    const uint8_t *minima = group + panel_minima_at(type) + share * panel_scale_bytes(type);
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return f16_at(minima, row);
    case SCALE_FACTORS: return common_at(type, panel, g, 2 * PANEL_ROWS, row) * (float)(int8_t)minima[row];
    default:
        return common_at(type, panel, g, 2 * PANEL_ROWS, row) * (float)(group[share * PANEL_ROWS + row] >> 4);
    }
}

/* The bits that a plane has of a row's input k. */
PANEL_INLINE unsigned plane_bits_at(const uint8_t *plane, unsigned bits, size_t row, size_t k) {
    size_t line = k / 4;
    uint8_t byte = plane[line % bits * PANEL_LINE + row * 4 + k % 4];
    return byte >> line / bits * bits & ((1u << bits) - 1);
}

PANEL_INLINE int number_at(enum weight_type type, const uint8_t *group, size_t row, size_t k) {
    const struct weight_traits traits = weight_traits_of(type);
    unsigned code = plane_bits_at(group + panel_low_at(type), traits.low_bits, row, k);
    if (traits.high_bits != 0)
        code |= plane_bits_at(group + panel_high_at(type), traits.high_bits, row, k) << traits.low_bits;
    return weight_number(traits, (uint8_t)code);
}

/* acc with the products of group g of a plane added; `at` is the group of the row of x. */
PANEL_INLINE float add_plane(enum weight_type type, const uint8_t *panel, size_t g,
                             const struct activation_plane *plane, size_t at, size_t row, float acc) {
    const unsigned n_shares = weight_traits_of(type).n_shares, n = PANEL_GROUP / n_shares;
    const int8_t *codes = plane->codes + at * PANEL_GROUP;
    for (unsigned share = 0; share < n_shares; share++) {
        int32_t dot = 0;
        for (size_t k = share * n; k < (share + 1) * n; k++)
            dot += number_at(type, panel + panel_group_at(type, g), row, k) * codes[k];
        acc = fmaf((float)dot * plane->scale[at], scale_at(type, panel, g, share, row), acc);
    }
    return acc;
}

PANEL_INLINE float output_of_quantised(enum weight_type type, const uint8_t *panel,
                                       const struct activations *x, size_t x_row, size_t row) {
    const struct weight_traits traits = weight_traits_of(type);
    float acc = 0;
    for (size_t g = 0; g < x->n_groups; g++) {
        size_t at = x_row * x->n_groups + g;
        acc = add_plane(type, panel, g, &x->planes[PLANE_COARSE], at, row, acc);
        if (x->planes[PLANE_FINE].scale[at] != 0)
            acc = add_plane(type, panel, g, &x->planes[PLANE_FINE], at, row, acc);
        for (unsigned share = 0; traits.has_minimum && share < traits.n_shares; share++)
            acc = fmaf(panel_x_sum(type, x, at, share), minimum_at(type, panel, g, share, row), acc);
    }
    return acc;
}

/* ---- float ---- */

static float weight_at(enum weight_type type, const uint8_t *panel, size_t element) {
    if (type == WEIGHT_F32) {
        float w;
        memcpy(&w, panel + element * sizeof w, sizeof w);
        return w;
    }
    uint16_t bits;
    memcpy(&bits, panel + element * sizeof bits, sizeof bits);
    return f16_to_f32(bits);
}

PANEL_INLINE float output_of_float(enum weight_type type, const uint8_t *panel, const struct activations *x,
                                   size_t row, size_t output) {
    float acc = 0;
    for (size_t k = 0; k < x->n_cols; k++) {
        float w = weight_at(type, panel, k * PANEL_ROWS + output);
        acc = fmaf(w, x->f32[row * x->n_cols + k], acc);
    }
    return acc;
}

static float bf16_at(const bf16_bits *numbers, size_t i) { return bf16_to_f32(numbers[i]); }

static float output_of_bf16(const uint8_t *panel, const struct activations *x, size_t row, size_t output) {
    const bf16_bits *inputs = x->bf16 + row * x->n_groups * PANEL_GROUP;
    float acc = 0;
    for (size_t pair = 0; pair < x->n_groups * PANEL_PAIRS; pair++) {
        bf16_bits w[2];
        memcpy(w, panel + (pair * PANEL_ROWS + output) * sizeof w, sizeof w);
        acc = fmaf(bf16_at(w, 1), bf16_at(inputs, 2 * pair + 1), acc);
        acc = fmaf(bf16_at(w, 0), bf16_at(inputs, 2 * pair), acc);
    }
    return acc;
}

PANEL_INLINE float output_of(enum weight_type type, const uint8_t *panel, const struct activations *x,
                             size_t row, size_t output) {
    if (weight_is_quantised(type)) return output_of_quantised(type, panel, x, row, output);
    if (type == WEIGHT_BF16) return output_of_bf16(panel, x, row, output);
    return output_of_float(type, panel, x, row, output);
}

PANEL_INLINE void matmul_panels(enum weight_type type, const struct panel_matrix *w, size_t panel_begin,
                                size_t panel_end, const struct activations *x, size_t row_begin,
                                size_t row_end, float *out, size_t out_stride) {
    for (size_t o = panel_begin * PANEL_ROWS; o < panel_end * PANEL_ROWS && o < w->n_rows; o++) {
        const uint8_t *panel = w->data + o / PANEL_ROWS * w->panel_bytes;
        for (size_t row = row_begin; row < row_end; row++)
            out[row * out_stride + o] = output_of(type, panel, x, row, o % PANEL_ROWS);
    }
}

WEIGHT_TYPE_LIST(KERNEL_SET_DEFINE_MATMUL)
