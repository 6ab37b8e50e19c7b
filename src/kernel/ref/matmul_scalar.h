#ifndef CABINET_KERNEL_MATMUL_SCALAR_H
#define CABINET_KERNEL_MATMUL_SCALAR_H

#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE_MATMUL(scalar);
KERNEL_SET_DECLARE_VECTOR(scalar);

#endif
