#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "kernel/arm/attention_neon.h"
#include "kernel/arm/matmul_neon.h"

/* NEON is part of every aarch64; its dot products are not. */
static bool is_supported(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

KERNEL_SET_DEFINE;
