/* Matrix products over a team: several matrices that meet the same input rows in one call. */
#ifndef CABINET_KERNEL_MATMUL_H
#define CABINET_KERNEL_MATMUL_H

#include "base/team.h"
#include "kernel/kernel_set.h"

struct matmul_output {
    const struct panel_matrix *weight;
    float *out; /* (n_rows of x, out_stride) */
    size_t out_stride;
};

/* The form beside f32 that weights of a type want to meet, or 0. */
unsigned activations_forms_of(const struct kernel_set *kernels, enum weight_type type);
/* Fills row `row` of the forms that x->forms names from x->f32; and every row, on the team. */
void activations_prepare_row(const struct kernel_set *kernels, struct activations *x, size_t row);
void activations_prepare(const struct kernel_set *kernels, struct team *team, struct activations *x);

/* out_i = x * weight_i^T for each i. The forms that the weights want have been prepared. */
void matmul(const struct kernel_set *kernels, struct team *team, const struct activations *x,
            const struct matmul_output *outputs, size_t n_outputs);

/* How often the product of these weights, all of n_cols inputs, with n_rows rows goes through them: rows are
 * taken in blocks that stay in a core's cache. */
size_t matmul_n_passes(const struct panel_matrix *const *weights, size_t n_weights, size_t n_rows);

#endif
