/* The Walsh-Hadamard transform (kernel_set.rotate): the reference, and for sizes that are no whole vectors.
 */
#ifndef CABINET_KERNEL_REF_ROTATE_SCALAR_H
#define CABINET_KERNEL_REF_ROTATE_SCALAR_H

#include <math.h>

/* n is at least 1. */
void rotate_scalar(float *x, unsigned n);

/* What makes the transform of a block of `block` numbers orthonormal. */
static inline float rotate_factor(unsigned block) { return 1 / sqrtf((float)block); }

#endif
