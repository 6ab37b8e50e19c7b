/* Attention inner loops in plain C: the reference of the other sets (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_REF_ATTENTION_SCALAR_H
#define CABINET_KERNEL_REF_ATTENTION_SCALAR_H

#define KERNEL_SET scalar
#include "kernel/kernel_set_define.h"
#include "kernel/ref/attention_coded_scalar.h"
#include "kernel/ref/rope_scalar.h"

KERNEL_SET_DECLARE_ATTENTION;

#endif
