/* The numbers behind kernel/panel.h's picture of a panel, for the kernels that read one. Every function folds
 * to a constant when `format` is one. */
#ifndef CABINET_KERNEL_PANEL_LAYOUT_H
#define CABINET_KERNEL_PANEL_LAYOUT_H

#include "kernel/panel.h"

#define PANEL_INLINE static inline __attribute__((always_inline))

PANEL_INLINE bool panel_has_minimum(enum panel_format format) {
    return format == PANEL_Q4_1 || format == PANEL_Q4_K;
}
PANEL_INLINE bool panel_has_nibbles(enum panel_format format) { return format <= PANEL_Q4_K; }
/* Whether scales (and minima) are f16 rather than f32. */
PANEL_INLINE bool panel_has_f16_scales(enum panel_format format) {
    return format == PANEL_Q4_0 || format == PANEL_Q4_1 || format == PANEL_Q8;
}
/* Scales of one output in a group: each belongs to an equal share of the inputs. */
PANEL_INLINE unsigned panel_n_scales(enum panel_format format) { return format == PANEL_Q6_K ? 2 : 1; }
/* What a code is too large by. */
PANEL_INLINE int panel_offset(enum panel_format format) {
    return panel_has_minimum(format) ? 0 : panel_has_nibbles(format) ? 8 : 128;
}
/* Bytes of the 16 outputs' scales, or of their minima. */
PANEL_INLINE size_t panel_scale_bytes(enum panel_format format) {
    return PANEL_ROWS * (panel_has_f16_scales(format) ? 2 : 4);
}
/* Where a group's codes begin. */
PANEL_INLINE size_t panel_codes_at(enum panel_format format) {
    return panel_scale_bytes(format) * (panel_n_scales(format) + panel_has_minimum(format));
}
PANEL_INLINE size_t panel_group_bytes(enum panel_format format) {
    return panel_codes_at(format) + PANEL_ROWS * PANEL_GROUP / (panel_has_nibbles(format) ? 2 : 1);
}
/* Bytes of one element of a float panel. */
PANEL_INLINE size_t panel_element_bytes(enum panel_format format) { return format == PANEL_F32 ? 4 : 2; }

#endif
