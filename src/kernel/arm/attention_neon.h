/* Attention inner loops with NEON and its dot products (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_ARM_ATTENTION_NEON_H
#define CABINET_KERNEL_ARM_ATTENTION_NEON_H

#define KERNEL_SET neon
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE_ATTENTION;

#endif
