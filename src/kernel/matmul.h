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

/* Fills codes, scale and sums of every row of x from x->f32, on the team. */
void activations_quantize(const struct kernel_set *kernels, struct team *team, struct activations *x);

/* out_i = x * weight_i^T for each i. If any weight is quantised, x has been quantised. */
void matmul(const struct kernel_set *kernels, struct team *team, const struct activations *x,
            const struct matmul_output *outputs, size_t n_outputs);

#endif
