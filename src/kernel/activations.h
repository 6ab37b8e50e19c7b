/* Input rows of matrix products, in the forms that weights meet (kernel/panel.h says which do, and how). */
#ifndef CABINET_KERNEL_ACTIVATIONS_H
#define CABINET_KERNEL_ACTIVATIONS_H

#include "kernel/panel.h"

struct activation_plane {
    int8_t *codes;     /* (n_rows, n_groups * PANEL_GROUP), zero past n_cols */
    float *scale;      /* (n_rows, n_groups); in the fine plane 0 where a row has none, whatever the codes */
    int32_t *half_sum; /* (n_rows, n_groups, 2) sums of the codes of inputs 0..15 and 16..31 */
};

enum { PLANE_COARSE, PLANE_FINE, PLANE_COUNT };
/* What input rows are brought to for the weights that they meet. */
enum { FORM_INT8 = 1, FORM_BF16 = 2, FORM_RAISED = 4 };
/* Inputs up to 2^98 become finite BF16 numbers when they are raised. */
enum { PANEL_RAISE = 29 };
/* Rows lie by sixteens, [n_groups][16 rows][PANEL_GROUP]: where a row's group begins, and for how many rows
 * there must be memory. */
static inline size_t panel_raised_at(size_t n_groups, size_t row, size_t g) {
    return ((row / PANEL_ROWS * n_groups + g) * PANEL_ROWS + row % PANEL_ROWS) * PANEL_GROUP;
}
static inline size_t panel_raised_rows(size_t n_rows) {
    return (n_rows + PANEL_ROWS - 1) / PANEL_ROWS * PANEL_ROWS;
}
/* Of each four raised inputs the second and the third have changed places, as that is how codes come out of
 * panels: where input k of a row is, and which one is at k. */
static inline size_t panel_raised_place(size_t k) { return k % 4 == 1 ? k + 1 : k % 4 == 2 ? k - 1 : k; }

/* Input rows of a matrix product: always f32, and in the forms that the panels want which will meet them.
 * Memory of a form that is not among `forms` need not exist; that of the planes begins as zeros. */
struct activations {
    size_t n_rows, n_cols, n_groups; /* n_groups = ceil(n_cols / PANEL_GROUP) */
    unsigned forms;                  /* FORM_INT8 | FORM_BF16 | FORM_RAISED */
    const float *f32;                /* (n_rows, n_cols) */
    bf16_bits *bf16;                 /* (n_rows, n_groups * PANEL_GROUP), zero past n_cols */
    bf16_bits *raised;               /* the same of the numbers times 2^PANEL_RAISE, at panel_raised_at */
    struct activation_plane planes[PLANE_COUNT];
    float *scaled_sum; /* (n_rows, n_groups) scale * sum of codes, planes added up */
};

#endif
