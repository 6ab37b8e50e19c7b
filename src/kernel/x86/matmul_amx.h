/* Products by AMX, 16 rows x 16 outputs x 32 inputs an instruction: of BF16 weights, and of quantised ones.
 */
#ifndef CABINET_KERNEL_X86_MATMUL_AMX_H
#define CABINET_KERNEL_X86_MATMUL_AMX_H

#include <immintrin.h>
#include <string.h>

#include "kernel/kernel_set.h"

/* What ldtilecfg reads. Afterwards all tiles are zero; a thread gives them back with _tile_release. */
struct tile_shapes {
    _Alignas(64) uint8_t palette;
    uint8_t start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t n_rows[16];
};

enum { TILE_COUNT = 8, TILE_LINES = 16, TILE_LINE_BYTES = 64, TILE_BYTES = TILE_LINES * TILE_LINE_BYTES };

static inline void tile_shapes_use(const struct tile_shapes *shapes) {
    __asm__ volatile("" : : "r"(shapes) : "memory"); /* the intrinsic says that it reads but 8 bytes */
    _tile_loadconfig(shapes);
}

/* Gives this thread eight tiles of so many lines of 64 bytes. */
static inline void tile_shapes_load(const uint8_t n_rows[TILE_COUNT]) {
    struct tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < TILE_COUNT; i++) shapes.row_bytes[i] = TILE_LINE_BYTES;
    memcpy(shapes.n_rows, n_rows, TILE_COUNT);
    tile_shapes_use(&shapes);
}

/* The intrinsics do not say that they read or write memory. */
#define MEMORY_BARRIER() __asm__ volatile("" : : : "memory")

/* Tiles 0 to 3 are sums, everywhere. */
static inline void clear_tiles(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

void raise_row_amx(struct activations *x, size_t row);
matmul_function matmul_BF16_amx;
#define X(type, number, elements, bytes) matmul_function matmul_##type##_amx;
WEIGHT_QUANTISED_LIST(X)
#undef X

#endif
