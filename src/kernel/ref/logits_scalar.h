/* What sampling asks of logits (kernel_set.largest, kernel_set.soften): the reference. */
#ifndef CABINET_KERNEL_REF_LOGITS_SCALAR_H
#define CABINET_KERNEL_REF_LOGITS_SCALAR_H

#include <stddef.h>

size_t largest_scalar(const float *x, size_t n);
double soften_scalar(float *out, const float *x, size_t n, float max, float temperature);

#endif
