/* Attention inner loops with AVX-512 and AMX (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_X86_ATTENTION_AMX_H
#define CABINET_KERNEL_X86_ATTENTION_AMX_H

#include "kernel/kernel_set.h"

void attend_begin_amx(unsigned head_dim);
void attend_end_amx(void);
void attend_tile_amx(struct attention_rows *rows, const struct attention_tile *tile);

#endif
