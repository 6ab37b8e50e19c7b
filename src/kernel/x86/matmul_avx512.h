#ifndef CABINET_KERNEL_MATMUL_AVX512_H
#define CABINET_KERNEL_MATMUL_AVX512_H

#define KERNEL_SET avx512
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE;

#endif
