#include "kernel/ref/rotate_scalar.h"

void rotate_scalar(float *x, unsigned n) {
    const unsigned block = n & -n;
    const float factor = rotate_factor(block);
    for (unsigned half = 1; half < block; half *= 2)
        for (unsigned i = 0; i < n; i++) {
            if (i & half) continue;
            const float a = x[i], b = x[i + half];
            x[i] = a + b;
            x[i + half] = a - b;
        }
    for (unsigned i = 0; i < n; i++) x[i] *= factor;
}
