/* The AVX-512 set's attention, but for products with codes and with BF16, which AMX does. */
#include "kernel/x86/attention_amx.h"

#define SET(name) name##_amx
#define TILE_ROWS 6
#define FOR_TILE_ROWS X(1) X(2) X(3) X(4) X(5) X(6)
#define TILE_STRIPS 2

#include "kernel/x86/codes_avx512.h"
#include "kernel/x86/tiles_amx.h"
#include "kernel/x86/vec_avx512.h"

#define BF16_PRODUCTS "kernel/x86/attention_bf16_amx_body.h"
#define CODED_PRODUCTS "kernel/x86/attention_coded_amx_body.h"
#include "kernel/x86/attention_body.h"

void attend_begin_amx(unsigned head_dim) {
    struct tile_shapes shapes = {.palette = 1};
    const unsigned rest = rest_of(head_dim) == 0 ? TILE_LINE_BYTES : rest_of(head_dim);
    for (unsigned i = 0; i < TILE_COUNT; i++) {
        shapes.row_bytes[i] = i == 6 ? (uint16_t)rest : TILE_LINE_BYTES;
        shapes.n_rows[i] = i == 7 ? (uint8_t)(rest / 4) : TILE_LINES;
    }
    __asm__ volatile("" : : "r"(&shapes) : "memory"); /* the intrinsic says that it reads but 8 bytes */
    _tile_loadconfig(&shapes);
}

void attend_end_amx(void) { _tile_release(); }
