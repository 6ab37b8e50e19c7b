#include "kernel/ref/attention_scalar.h"
#include "kernel/ref/matmul_scalar.h"

static bool is_supported(void) { return true; }

KERNEL_SET_DEFINE;
