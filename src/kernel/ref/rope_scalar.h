/* Rotary position embedding (kernel_set.rope): the reference, and for pairs that fill no vector. */
#ifndef CABINET_KERNEL_REF_ROPE_SCALAR_H
#define CABINET_KERNEL_REF_ROPE_SCALAR_H

#include <stdbool.h>

/* One pair by the cosine and sine that stand at `table`. */
static inline void rope_turn_pair(float *first, float *second, const float *table) {
    const float a = *first, b = *second;
    *first = a * table[0] - b * table[1];
    *second = a * table[1] + b * table[0];
}

void rope_scalar(float *heads, unsigned n_heads, unsigned head_dim, const float *table, unsigned n_dims,
                 bool is_interleaved);

#endif
