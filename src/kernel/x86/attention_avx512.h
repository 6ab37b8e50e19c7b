/* Attention inner loops with AVX-512 F, BW, DQ, VL and VNNI (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_X86_ATTENTION_AVX512_H
#define CABINET_KERNEL_X86_ATTENTION_AVX512_H

#define KERNEL_SET avx512
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE_ATTENTION;

#endif
