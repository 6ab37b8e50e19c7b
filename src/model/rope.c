#include "model/rope.h"

#include <math.h>

#include "base/err.h"
#include "base/mem.h"

/* The pair index whose wavelength makes `rotations` turns over the original context. */
static double yarn_dimension(const struct rope_description *d, double rotations) {
    const double two_pi = 6.283185307179586;
    return d->n_dims * log(d->original_context / (rotations * two_pi)) / (2 * log((double)d->base));
}

/* Share of the unscaled frequency in pair i: 1 for short wavelengths, 0 for long ones. */
static double yarn_extrapolation(const struct rope_description *d, unsigned i) {
    double low = floor(yarn_dimension(d, (double)d->beta_fast)),
           high = ceil(yarn_dimension(d, (double)d->beta_slow));
    if (low < 0) low = 0;
    if (high > d->n_dims - 1) high = d->n_dims - 1;
    double width = high - low > 0.001 ? high - low : 0.001;
    double ramp = (i - low) / width;
    return 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
}

int rope_open(struct rope *rope, const struct rope_description *d, const float *factors) {
    *rope = (struct rope){
        .n_dims = d->n_dims, .is_interleaved = d->is_interleaved, .magnitude = d->attention_factor};
    rope->frequency = mem_alloc(d->n_dims / 2, sizeof *rope->frequency);
    if (rope->frequency == NULL) return ERR_NO_MEMORY;
    double factor = (double)d->factor;
    for (unsigned i = 0; i < d->n_dims / 2; i++) {
        double frequency = pow((double)d->base, -2.0 * i / d->n_dims);
        if (factors != NULL) frequency /= (double)factors[i];
        if (d->scaling == ROPE_SCALING_LINEAR) frequency /= factor;
        if (d->scaling == ROPE_SCALING_YARN) {
            double extrapolated = yarn_extrapolation(d, i);
            frequency = frequency / factor * (1 - extrapolated) + frequency * extrapolated;
        }
        rope->frequency[i] = (float)frequency;
    }
    if (d->scaling == ROPE_SCALING_YARN && factor > 1) rope->magnitude *= (float)(1 + 0.1 * log(factor));
    return 0;
}

void rope_close(struct rope *rope) {
    mem_free(rope->frequency);
    rope->frequency = NULL;
}

void rope_table(const struct rope *rope, uint32_t position, float *table) {
    for (unsigned i = 0; i < rope->n_dims / 2; i++) {
        float angle = (float)position * rope->frequency[i];
        table[2 * i] = cosf(angle) * rope->magnitude;
        table[2 * i + 1] = sinf(angle) * rope->magnitude;
    }
}

void rope_apply(const struct rope *rope, const struct kernel_set *kernels, const float *table, float *heads,
                unsigned n_heads, unsigned head_dim) {
    kernels->rope(heads, n_heads, head_dim, table, rope->n_dims, rope->is_interleaved);
}
