#ifndef CABINET_KERNEL_MATMUL_AVX2_H
#define CABINET_KERNEL_MATMUL_AVX2_H

#define KERNEL_SET avx2
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE;

#endif
