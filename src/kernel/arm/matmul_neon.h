#ifndef CABINET_KERNEL_MATMUL_NEON_H
#define CABINET_KERNEL_MATMUL_NEON_H

#define KERNEL_SET neon
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE;

#endif
