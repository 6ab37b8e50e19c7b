/* Rotary position embedding (Su et al. 2021), with the scalings that llama files name.
 *
 * A head's leading n_dims numbers are taken as pairs; pair i is turned by position * frequency(i), with
 * frequency(i) = base^(-2i / n_dims), changed by
 *   linear   frequency / factor                                        (position interpolation, Chen et al.
 * 2023) yarn     a blend of frequency / factor and frequency by wavelength (Peng et al. 2023), and a
 * magnitude factors  frequency / factors[i], listed in the file                (Llama 3.1 and later) */
#ifndef CABINET_MODEL_ROPE_H
#define CABINET_MODEL_ROPE_H

#include <stddef.h>

#include "kernel/kernel_set.h"
#include "model/description.h"

struct rope {
    uint32_t n_dims;
    bool is_interleaved;
    float magnitude;
    float *frequency; /* (n_dims / 2) radians per position; owned */
};

/* factors: (n_dims / 2) divisors or NULL. */
int rope_open(struct rope *rope, const struct rope_description *description, const float *factors);
void rope_close(struct rope *rope);

/* table: (n_dims) cosine and sine of each pair at `position`, side by side, times the magnitude. */
void rope_table(const struct rope *rope, uint32_t position, float *table);
/* Turns n_heads heads of head_dim numbers each, in place. */
void rope_apply(const struct rope *rope, const struct kernel_set *kernels, const float *table, float *heads,
                unsigned n_heads, unsigned head_dim);

#endif
