/* Attention over codecs that kernel sets have nothing for: controls (codec.h). */
#ifndef CABINET_KERNEL_ATTEND_CONTROL_H
#define CABINET_KERNEL_ATTEND_CONTROL_H

#include "kernel/kernel_set.h"

/* As kernel_set.attend_tile, for any codecs, by way of f32 areas and the set's kernel for them. */
void attend_control(const struct kernel_set *kernels, struct attention_rows *rows,
                    const struct attention_tile *tile);

#endif
