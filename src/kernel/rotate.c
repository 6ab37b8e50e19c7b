#include "kernel/rotate.h"

#include <math.h>

void rotate(float *head, unsigned head_dim) {
    const unsigned length = head_dim & -head_dim;
    const float factor = 1 / sqrtf((float)length);
    for (float *x = head; x < head + head_dim; x += length) {
        for (unsigned half = 1; half < length; half *= 2)
            for (unsigned i = 0; i < length; i += 2 * half)
                for (unsigned j = i; j < i + half; j++) {
                    float a = x[j], b = x[j + half];
                    x[j] = a + b;
                    x[j + half] = a - b;
                }
        for (unsigned i = 0; i < length; i++) x[i] *= factor;
    }
}
