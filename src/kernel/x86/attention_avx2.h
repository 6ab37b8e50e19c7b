/* Attention inner loops with AVX2, FMA and F16C (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_X86_ATTENTION_AVX2_H
#define CABINET_KERNEL_X86_ATTENTION_AVX2_H

#define KERNEL_SET avx2
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE_ATTENTION;

#endif
