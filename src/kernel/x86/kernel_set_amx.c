/* The AVX-512 set, but for products with BF16 and quantised weights and attention. */
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/x86/attention_amx.h"
#include "kernel/x86/attention_avx512.h"
#include "kernel/x86/matmul_amx.h"
#include "kernel/x86/matmul_avx512.h"

/* Linux lets a process use the tiles only after it has asked (Documentation/arch/x86/xstate.rst). */
static bool is_granted(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static bool is_supported(void) {
    enum { LEAF = 7, AMX_BF16 = 1 << 22, AVX512_FP16 = 1 << 23, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
    unsigned eax, ebx, ecx, edx;
    if (!kernel_set_avx512.is_supported() || !__get_cpuid_count(LEAF, 0, &eax, &ebx, &ecx, &edx))
        return false;
    unsigned wanted = AMX_BF16 | AVX512_FP16 | AMX_TILE | AMX_INT8;
    return (edx & wanted) == wanted && is_granted();
}

#define MATMUL_ENTRY(type, number, elements, bytes) [WEIGHT_##type] = matmul_##type##_amx,
KERNEL_SET_DEFINE_AS(amx, MATMUL_ENTRY, matmul_BF16_amx, .quantised_form = FORM_RAISED,
                     .raise_row = raise_row_amx, .attend_begin = attend_begin_amx,
                     .attend_end = attend_end_amx, .attend_tile = attend_tile_amx);
