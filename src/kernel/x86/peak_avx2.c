#include <immintrin.h>

#include "kernel/x86/peak_body.h"

/* Without VNNI a product of bytes is a multiply-add of pairs; the widening that follows is left out: a limit.
 */
PEAK_LOOP_DEFINE(int8_ops, __m256i, "vpmaddubsw %1, %0, %0", 64)
PEAK_LOOP_DEFINE(f32_ops, __m256, "vfmadd231ps %1, %1, %0", 16)
PEAK_READ_DEFINE(__m256i, 32)

const struct peak_loops peak_loops_avx2 = {
    .int8_ops = int8_ops, .bf16_ops = f32_ops, .f32_ops = f32_ops, .read = read_bytes};
