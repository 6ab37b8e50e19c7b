#include "kernel/peak.h"

const struct peak_loops *peak_loops_of(const struct kernel_set *kernels) {
#if defined(__x86_64__)
    if (kernels == &kernel_set_amx) return &peak_loops_amx;
    if (kernels == &kernel_set_avx512) return &peak_loops_avx512;
    if (kernels == &kernel_set_avx2) return &peak_loops_avx2;
#elif defined(__aarch64__)
    if (kernels == &kernel_set_neon) return &peak_loops_neon;
#endif
    (void)kernels;
    return &peak_loops_scalar;
}
