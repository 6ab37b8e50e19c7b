/* Products of many rows with quantised panels: two panels are decoded once into a scratch that stays in the
 * first-level cache, then meet the rows in tiles of 6 rows x 2 panels, so that one broadcast serves two
 * products. Decoded groups look alike whatever their type: only the number of shares, and whether there are
 * minima, make a difference. */
#ifndef CABINET_KERNEL_TILE_AVX512_H
#define CABINET_KERNEL_TILE_AVX512_H

#include "kernel/panel_layout.h"

/* A group of a panel, decoded. */
struct tile_group {
    _Alignas(64) uint8_t numbers[PANEL_LINES][PANEL_LINE];
    float scale[2][PANEL_ROWS], minimum[2][PANEL_ROWS]; /* of each share */
};

struct tile_format {
    unsigned n_shares;
    bool has_minimum;
    int offset; /* of numbers */
    /* Decodes n groups from group g of a panel on. */
    void (*decode)(const uint8_t *panel, size_t g, size_t n, struct tile_group *out);
};

/* As a matmul_function. */
void tile_panels_avx512(const struct tile_format *format, const struct panel_matrix *w, size_t begin,
                        size_t end, const struct activations *x, size_t row_begin, size_t row_end, float *out,
                        size_t out_stride);

/* Which of up to 16 groups from `at` on have a fine plane in any of the rows, as bits. */
unsigned tile_fine_groups_avx512(const struct activations *x, unsigned n_rows, size_t at, size_t n);

#endif
