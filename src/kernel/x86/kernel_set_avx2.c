#include "kernel/x86/attention_avx2.h"
#include "kernel/x86/matmul_avx2.h"

static bool is_supported(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

KERNEL_SET_DEFINE;
