/* Where things are in a quantised panel. Every function folds to a constant, or to little, when `type` is
 * one.
 *
 * A group holds, of 16 outputs ("rows"), one after the other and little-endian:
 *
 *   scales[n_shares][16]     SCALE_F16: f16; SCALE_E8M0: u8; SCALE_FACTORS: i8; SCALE_NIBBLE_FACTORS: u8
 * whose low nibble is the scale's factor and whose high nibble the minimum's minima[n_shares][16]     of
 * types that have them, as the scales; none of SCALE_NIBBLE_FACTORS low plane, high plane    of the codes:
 * low_bits and high_bits of each
 *
 * A plane of b bits has b lines of 64 bytes, [row][4 bytes]. Its 8 * b bits for 4 inputs of each row are
 * eight *code lines*, line i with inputs 4i .. 4i+3, as VNNI's dot products want them: code line i is in the
 * plane's line i % b, shifted left by b * (i / b). So in nibbles a byte's low half belongs to input k, its
 * high half to input k + 16.
 *
 * Types with factors have the f16 that they multiply, scale[16] and then minimum[16] if there is one, before
 * each 8 groups. */
#ifndef CABINET_KERNEL_PANEL_LAYOUT_H
#define CABINET_KERNEL_PANEL_LAYOUT_H

#include "kernel/activations.h"
#include "kernel/weight_traits.h"

#define PANEL_INLINE static inline __attribute__((always_inline))

enum { PANEL_LINE = 64, PANEL_LINES = 8, PANEL_FACTOR_GROUPS = 8 };

PANEL_INLINE bool panel_has_factors(enum weight_type type) {
    return weight_traits_of(type).scale >= SCALE_FACTORS;
}
/* Bytes of 16 rows' scales of one share, or minima where they are apart. */
PANEL_INLINE size_t panel_scale_bytes(enum weight_type type) {
    return weight_traits_of(type).scale == SCALE_F16 ? 2 * PANEL_ROWS : PANEL_ROWS;
}
PANEL_INLINE size_t panel_minima_at(enum weight_type type) {
    return panel_scale_bytes(type) * weight_traits_of(type).n_shares;
}
/* Where a group's low plane begins, and its high plane. */
PANEL_INLINE size_t panel_low_at(enum weight_type type) {
    const struct weight_traits traits = weight_traits_of(type);
    bool has_minima = traits.has_minimum && traits.scale != SCALE_NIBBLE_FACTORS;
    return panel_minima_at(type) * (has_minima ? 2 : 1);
}
PANEL_INLINE size_t panel_high_at(enum weight_type type) {
    return panel_low_at(type) + weight_traits_of(type).low_bits * PANEL_LINE;
}
PANEL_INLINE size_t panel_group_bytes(enum weight_type type) {
    return panel_high_at(type) + weight_traits_of(type).high_bits * PANEL_LINE;
}
/* Bytes of what factors multiply. */
PANEL_INLINE size_t panel_common_bytes(enum weight_type type) {
    return !panel_has_factors(type) ? 0 : 2 * PANEL_ROWS * (weight_traits_of(type).has_minimum ? 2 : 1);
}
/* Where group g begins, and what its factors multiply. */
PANEL_INLINE size_t panel_group_at(enum weight_type type, size_t g) {
    return g * panel_group_bytes(type) + (g / PANEL_FACTOR_GROUPS + 1) * panel_common_bytes(type);
}
PANEL_INLINE size_t panel_common_at(enum weight_type type, size_t g) {
    size_t n = g / PANEL_FACTOR_GROUPS;
    return n * (PANEL_FACTOR_GROUPS * panel_group_bytes(type) + panel_common_bytes(type));
}
/* Bytes of one element of a float panel. */
PANEL_INLINE size_t panel_element_bytes(enum weight_type type) { return type == WEIGHT_F32 ? 4 : 2; }

/* A line of a BF16 panel has two inputs of each row, so a group has 16 of them. */
enum { PANEL_PAIRS = PANEL_GROUP / 2, PANEL_PAIR_BYTES = 2 * (int)sizeof(bf16_bits) };

/* x_sum of kernel/panel.h for one of two shares of a group. */
PANEL_INLINE float panel_half_sum(const struct activations *x, size_t at, unsigned share) {
    const struct activation_plane *coarse = &x->planes[PLANE_COARSE], *fine = &x->planes[PLANE_FINE];
    float sum = coarse->scale[at] * (float)coarse->half_sum[2 * at + share];
    if (fine->scale[at] != 0) sum += fine->scale[at] * (float)fine->half_sum[2 * at + share];
    return sum;
}
PANEL_INLINE float panel_x_sum(enum weight_type type, const struct activations *x, size_t at,
                               unsigned share) {
    return weight_traits_of(type).n_shares == 1 ? x->scaled_sum[at] : panel_half_sum(x, at, share);
}

#endif
