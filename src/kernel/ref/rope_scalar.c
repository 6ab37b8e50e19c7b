#include "kernel/ref/rope_scalar.h"

void rope_scalar(float *heads, unsigned n_heads, unsigned head_dim, const float *table, unsigned n_dims,
                 bool is_interleaved) {
    const unsigned apart = is_interleaved ? 1 : n_dims / 2, step = is_interleaved ? 2 : 1;
    for (float *head = heads; head < heads + (unsigned long)n_heads * head_dim; head += head_dim)
        for (unsigned i = 0; i < n_dims / 2; i++)
            rope_turn_pair(head + i * step, head + i * step + apart, table + 2 * i);
}
