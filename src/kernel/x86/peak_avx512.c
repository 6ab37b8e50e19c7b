#include <immintrin.h>

#include "kernel/x86/peak_body.h"

PEAK_LOOP_DEFINE(int8_ops, __m512i, "vpdpbusd %1, %1, %0", 128)
PEAK_LOOP_DEFINE(bf16_ops, __m512, "vdpbf16ps %1, %1, %0", 64)
PEAK_LOOP_DEFINE(f32_ops, __m512, "vfmadd231ps %1, %1, %0", 32)
PEAK_READ_DEFINE(__m512i, 64)

const struct peak_loops peak_loops_avx512 = {
    .int8_ops = int8_ops, .bf16_ops = bf16_ops, .f32_ops = f32_ops, .read = read_bytes};
