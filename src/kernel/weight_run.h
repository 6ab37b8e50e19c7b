/* The quantised weight types brought to one form. A *run* is 32 consecutive inputs of a row, whatever the
 * size of the type's group; dequantize.c and panel.c both read weights as runs. In the words of
 * weight_traits.h:
 *
 *   scale[share]   = scale * scale_factor[share]          (scale is an f16, or an E8M0 exponent)
 *   minimum[share] = f16(minimum) * minimum_factor[share] (if the type has minima) */
#ifndef CABINET_KERNEL_WEIGHT_RUN_H
#define CABINET_KERNEL_WEIGHT_RUN_H

#include "kernel/weight_traits.h"

enum { WEIGHT_RUN = 32, WEIGHT_SHARES = 2 };

struct weight_run {
    uint8_t code[WEIGHT_RUN];
    uint16_t scale;
    f16_bits minimum; /* K types subtract theirs: it has the other sign here */
    int8_t scale_factor[WEIGHT_SHARES], minimum_factor[WEIGHT_SHARES];
};

/* Run number `index` of a row that begins at `row`. Minima of types without any are not set. */
void weight_unpack_run(enum weight_type type, struct weight_run *run, const uint8_t *row, size_t index);

#endif
