/* Products of many rows with quantised panels: two panels are decoded once into a scratch that stays in the
 * first-level cache, then meet the rows in tiles of 6 rows x 2 panels, so that one broadcast serves two
 * products. */
#ifndef CABINET_KERNEL_TILE_AVX512_H
#define CABINET_KERNEL_TILE_AVX512_H

#include "kernel/x86/decode_avx512.h"

struct tile_format {
    unsigned n_shares;
    bool has_minimum;
    int offset; /* of numbers */
    decode_function *decode;
};

/* As a matmul_function. */
void tile_panels_avx512(const struct tile_format *format, const struct panel_matrix *w, size_t begin,
                        size_t end, const struct activations *x, size_t row_begin, size_t row_end, float *out,
                        size_t out_stride);

#endif
