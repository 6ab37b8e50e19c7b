#include "kernel/x86/matmul_amx.h"
#include "kernel/x86/peak_body.h"

PEAK_LOOP_DEFINE(int8_ops, __m512i, "vpdpbusd %1, %1, %0", 128)
PEAK_LOOP_DEFINE(f32_ops, __m512, "vfmadd231ps %1, %1, %0", 32)
PEAK_READ_DEFINE(__m512i, 64)

static uint64_t bf16_ops(uint64_t n_turns) {
    const uint8_t n = TILE_LINES;
    tile_shapes_load((uint8_t[TILE_COUNT]){n, n, n, n, n, n, n, n});
    for (uint64_t turn = 0; turn < n_turns; turn++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return n_turns * 4 * 2 * 16 * 16 * 32;
}

const struct peak_loops peak_loops_amx = {
    .int8_ops = int8_ops, .bf16_ops = bf16_ops, .f32_ops = f32_ops, .read = read_bytes};
