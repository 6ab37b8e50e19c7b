#ifndef CABINET_KERNEL_MATMUL_SCALAR_H
#define CABINET_KERNEL_MATMUL_SCALAR_H

#define KERNEL_SET scalar
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE;

#endif
