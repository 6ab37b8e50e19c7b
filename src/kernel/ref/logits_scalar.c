#include "kernel/ref/logits_scalar.h"

#include <math.h>

size_t largest_scalar(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i]))) best = i;
    return best;
}

double soften_scalar(float *out, const float *x, size_t n, float max, float temperature) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const float t = (x[i] - max) / temperature;
        out[i] = t >= -87 ? expf(t) : 0;
        sum += (double)out[i];
    }
    return sum;
}
