#ifndef CABINET_KERNEL_MATMUL_AVX2_H
#define CABINET_KERNEL_MATMUL_AVX2_H

#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE_MATMUL(avx2);
KERNEL_SET_DECLARE_VECTOR(avx2);

#endif
