/* Matrix products with NEON: a vector is a quarter of a panel, four outputs. `sdot` multiplies four numbers
 * of each (s8) with four codes of a row (s8); numbers get their offset subtracted when they are decoded, so
 * all of them are signed. Up to four rows meet a decoded group. */
#include "kernel/arm/matmul_neon.h"

#include <arm_neon.h>

#include "kernel/panel_layout.h"

enum { TILE_ROWS = 4, QUARTER = 4, QUARTERS = PANEL_ROWS / QUARTER, PREFETCH_BYTES = 1024 };

/* ---- quantised: scales and numbers of a quarter ---- */

PANEL_INLINE float32x4_t load_f16(const uint8_t *numbers, unsigned quarter) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(numbers + quarter * QUARTER * 2)));
}
PANEL_INLINE uint32x4_t load_u8(const uint8_t *bytes, unsigned quarter) {
    uint32_t four;
    __builtin_memcpy(&four, bytes + quarter * QUARTER, sizeof four);
    return vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)))));
}
PANEL_INLINE float32x4_t load_i8(const uint8_t *bytes, unsigned quarter) {
    int32x4_t number = vreinterpretq_s32_u32(vshlq_n_u32(load_u8(bytes, quarter), 24));
    return vcvtq_f32_s32(vshrq_n_s32(number, 24));
}

/* weight_e8m0_to_f32 in four lanes. */
PANEL_INLINE float32x4_t e8m0_to_f32(uint32x4_t exponent) {
    uint32x4_t normal = vshlq_n_u32(vsubq_u32(exponent, vdupq_n_u32(1)), 23);
    uint32x4_t denormal = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(exponent));
    return vreinterpretq_f32_u32(vbslq_u32(vcgtq_u32(exponent, vdupq_n_u32(1)), normal, denormal));
}

PANEL_INLINE float32x4_t load_scale(enum weight_type type, const uint8_t *group, const uint8_t *common,
                                    unsigned share, unsigned quarter) {
    const uint8_t *scales = group + share * panel_scale_bytes(type);
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return load_f16(scales, quarter);
    case SCALE_E8M0: return e8m0_to_f32(load_u8(scales, quarter));
    case SCALE_FACTORS: return vmulq_f32(load_f16(common, quarter), load_i8(scales, quarter));
    default:
        return vmulq_f32(load_f16(common, quarter),
                         vcvtq_f32_u32(vandq_u32(load_u8(scales, quarter), vdupq_n_u32(15))));
    }
}

PANEL_INLINE float32x4_t load_minimum(enum weight_type type, const uint8_t *group, const uint8_t *common,
                                      unsigned share, unsigned quarter) {
    const uint8_t *minima = group + panel_minima_at(type) + share * panel_scale_bytes(type);
    const uint8_t *both = group + share * PANEL_ROWS; /* factors */
    common += 2 * PANEL_ROWS;
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return load_f16(minima, quarter);
    case SCALE_FACTORS: return vmulq_f32(load_f16(common, quarter), load_i8(minima, quarter));
    default:
        return vmulq_f32(load_f16(common, quarter), vcvtq_f32_u32(vshrq_n_u32(load_u8(both, quarter), 4)));
    }
}

/* A quarter of a code line of a plane, its bits moved to bit `to` of each byte and nothing else. */
PANEL_INLINE uint8x16_t load_plane(const uint8_t *plane, unsigned bits, unsigned to, unsigned i,
                                   unsigned quarter) {
    uint8x16_t line = vld1q_u8(plane + i % bits * PANEL_LINE + quarter * QUARTER * 4);
    const unsigned from = i / bits * bits;
    if (bits == 8) return line;
    line = vshlq_u8(line, vdupq_n_s8((int8_t)((int)to - (int)from)));
    return vandq_u8(line, vdupq_n_u8((uint8_t)(((1u << bits) - 1) << to)));
}

/* Numbers of a quarter of a code line, less the offset. */
PANEL_INLINE int8x16_t load_numbers(enum weight_type type, const uint8_t *group, unsigned i,
                                    unsigned quarter) {
    const struct weight_traits traits = weight_traits_of(type);
    uint8x16_t line = load_plane(group + panel_low_at(type), traits.low_bits, 0, i, quarter);
    if (traits.high_bits != 0) {
        const uint8_t *plane = group + panel_high_at(type);
        line = vorrq_u8(line, load_plane(plane, traits.high_bits, traits.low_bits, i, quarter));
    }
    if (traits.table != NULL) line = vqtbl1q_u8(vld1q_u8(traits.table), line);
    if (traits.offset != 0) line = vsubq_u8(line, vdupq_n_u8((uint8_t)traits.offset));
    return vreinterpretq_s8_u8(line);
}

/* The sum over code lines [begin, end) of number * code. */
PANEL_INLINE int32x4_t dot_lines(const int8x16_t line[PANEL_LINES], unsigned begin, unsigned end,
                                 const int8_t *codes) {
    const int8x16_t low = vld1q_s8(codes), high = vld1q_s8(codes + 16);
    int32x4_t dot = vdupq_n_s32(0);
/* A lane is named by a constant. */
#define ADD_LINE(i)                                                                                          \
    if (begin <= (i) && (i) < end) dot = vdotq_laneq_s32(dot, line[i], (i) < 4 ? low : high, (i) % 4)
    ADD_LINE(0);
    ADD_LINE(1);
    ADD_LINE(2);
    ADD_LINE(3);
    ADD_LINE(4);
    ADD_LINE(5);
    ADD_LINE(6);
    ADD_LINE(7);
#undef ADD_LINE
    return dot;
}

PANEL_INLINE void add_plane(enum weight_type type, unsigned n_rows, const int8x16_t line[PANEL_LINES],
                            const float32x4_t scale[2], const struct activation_plane *plane, size_t at,
                            size_t stride, float32x4_t acc[TILE_ROWS]) {
    const unsigned n_shares = weight_traits_of(type).n_shares, n_lines = PANEL_LINES / n_shares;
#pragma GCC unroll 2
    for (unsigned share = 0; share < n_shares; share++) {
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            const size_t x = at + r * stride;
            int32x4_t dot =
                dot_lines(line, share * n_lines, (share + 1) * n_lines, plane->codes + x * PANEL_GROUP);
            float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(dot), vdupq_n_f32(plane->scale[x]));
            acc[r] = vfmaq_f32(acc[r], scaled, scale[share]);
        }
    }
}

/* A group's part of a quarter's outputs. */
PANEL_INLINE void quantised_group(enum weight_type type, unsigned n_rows, const uint8_t *group,
                                  const uint8_t *common, unsigned quarter, bool has_fine,
                                  const struct activations *x, size_t at, float32x4_t acc[TILE_ROWS]) {
    const struct weight_traits traits = weight_traits_of(type);
    const size_t stride = x->n_groups;
    int8x16_t line[PANEL_LINES];
    float32x4_t scale[2];
#pragma GCC unroll 8
    for (unsigned i = 0; i < PANEL_LINES; i++) line[i] = load_numbers(type, group, i, quarter);
#pragma GCC unroll 2
    for (unsigned share = 0; share < traits.n_shares; share++)
        scale[share] = load_scale(type, group, common, share, quarter);
    add_plane(type, n_rows, line, scale, &x->planes[PLANE_COARSE], at, stride, acc);
    if (has_fine) add_plane(type, n_rows, line, scale, &x->planes[PLANE_FINE], at, stride, acc);
    if (!traits.has_minimum) return;
#pragma GCC unroll 2
    for (unsigned share = 0; share < traits.n_shares; share++) {
        float32x4_t minimum = load_minimum(type, group, common, share, quarter);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            acc[r] = vfmaq_f32(acc[r], vdupq_n_f32(panel_x_sum(type, x, at + r * stride, share)), minimum);
    }
}

typedef float32x4_t accumulators[QUARTERS][TILE_ROWS];

PANEL_INLINE void quantised_panel(enum weight_type type, unsigned n_rows, const uint8_t *panel,
                                  const struct activations *x, size_t row, accumulators acc) {
    for (size_t g = 0; g < x->n_groups; g++) {
        const uint8_t *group = panel + panel_group_at(type, g), *common = panel + panel_common_at(type, g);
        const size_t at = row * x->n_groups + g;
        float fine = 0;
#pragma GCC unroll 12
        for (size_t line = 0; line < panel_group_bytes(type); line += 64)
            __builtin_prefetch(group + PREFETCH_BYTES + line);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) fine += x->planes[PLANE_FINE].scale[at + r * x->n_groups];
#pragma GCC unroll 4
        for (unsigned quarter = 0; quarter < QUARTERS; quarter++)
            quantised_group(type, n_rows, group, common, quarter, fine != 0, x, at, acc[quarter]);
    }
}

/* ---- float ---- */

PANEL_INLINE float32x4_t load_weights(enum weight_type type, const uint8_t *panel, size_t element) {
    if (type == WEIGHT_F32) return vld1q_f32((const float *)(const void *)(panel + element * 4));
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(panel + element * 2)));
}

PANEL_INLINE void float_panel(enum weight_type type, unsigned n_rows, const uint8_t *panel,
                              const struct activations *x, size_t row, accumulators acc) {
    const float *from = x->f32 + row * x->n_cols;
    for (size_t k = 0; k < x->n_cols; k++) {
#pragma GCC unroll 4
        for (unsigned quarter = 0; quarter < QUARTERS; quarter++) {
            float32x4_t weights = load_weights(type, panel, k * PANEL_ROWS + quarter * QUARTER);
#pragma GCC unroll 4
            for (unsigned r = 0; r < n_rows; r++)
                acc[quarter][r] = vfmaq_n_f32(acc[quarter][r], weights, from[r * x->n_cols + k]);
        }
    }
}

/* The upper and the lower one of two BF16 numbers in each lane. */
PANEL_INLINE float32x4_t upper_bf16(uint32x4_t pairs) {
    return vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
}
PANEL_INLINE float32x4_t lower_bf16(uint32x4_t pairs) {
    return vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
}

PANEL_INLINE void bf16_panel(unsigned n_rows, const uint8_t *panel, const struct activations *x, size_t row,
                             accumulators acc) {
    const size_t stride = x->n_groups * PANEL_GROUP;
    const bf16_bits *from = x->bf16 + row * stride;
    for (size_t k = 0; k < stride; k += 2, panel += PANEL_ROWS * PANEL_PAIR_BYTES) {
#pragma GCC unroll 4
        for (unsigned quarter = 0; quarter < QUARTERS; quarter++) {
            uint32x4_t weights = vreinterpretq_u32_u8(vld1q_u8(panel + quarter * QUARTER * PANEL_PAIR_BYTES));
            float32x4_t upper = upper_bf16(weights), lower = lower_bf16(weights);
#pragma GCC unroll 4
            for (unsigned r = 0; r < n_rows; r++) {
                const bf16_bits *pair = from + r * stride + k;
                acc[quarter][r] = vfmaq_n_f32(acc[quarter][r], upper, bf16_to_f32(pair[1]));
                acc[quarter][r] = vfmaq_n_f32(acc[quarter][r], lower, bf16_to_f32(pair[0]));
            }
        }
    }
}

/* ---- tiles ---- */

PANEL_INLINE void store_outputs(float *out, float32x4_t values, size_t n) {
    if (n >= QUARTER) {
        vst1q_f32(out, values);
        return;
    }
    for (size_t i = 0; i < n; i++, values = vextq_f32(values, values, 1)) out[i] = vgetq_lane_f32(values, 0);
}

PANEL_INLINE void tile(enum weight_type type, unsigned n_rows, const struct panel_matrix *w, size_t panel,
                       const struct activations *x, size_t row, float *out, size_t out_stride) {
    const uint8_t *weights = w->data + panel * w->panel_bytes;
    accumulators acc;
#pragma GCC unroll 4
    for (unsigned quarter = 0; quarter < QUARTERS; quarter++) {
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) acc[quarter][r] = vdupq_n_f32(0);
    }
    if (weight_is_quantised(type))
        quantised_panel(type, n_rows, weights, x, row, acc);
    else if (type == WEIGHT_BF16)
        bf16_panel(n_rows, weights, x, row, acc);
    else
        float_panel(type, n_rows, weights, x, row, acc);
#pragma GCC unroll 4
    for (unsigned quarter = 0; quarter < QUARTERS; quarter++) {
        const size_t first = panel * PANEL_ROWS + quarter * QUARTER;
        if (first >= w->n_rows) return;
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            store_outputs(out + (row + r) * out_stride + first, acc[quarter][r], w->n_rows - first);
    }
}

PANEL_INLINE void matmul_panels(enum weight_type type, const struct panel_matrix *w, size_t begin, size_t end,
                                const struct activations *x, size_t row_begin, size_t row_end, float *out,
                                size_t out_stride) {
    for (size_t p = begin; p < end; p++)
        for (size_t row = row_begin; row < row_end; row += TILE_ROWS) switch (row_end - row) {
            case 1: tile(type, 1, w, p, x, row, out, out_stride); break;
            case 2: tile(type, 2, w, p, x, row, out, out_stride); break;
            case 3: tile(type, 3, w, p, x, row, out, out_stride); break;
            default: tile(type, 4, w, p, x, row, out, out_stride);
            }
}

WEIGHT_TYPE_LIST(KERNEL_SET_DEFINE_MATMUL)
