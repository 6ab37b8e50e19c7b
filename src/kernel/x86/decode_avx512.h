/* Decodes groups of quantised panels for those who meet them with many rows: once into a scratch that stays
 * in the first-level cache. Decoded groups look alike whatever their type: only the number of shares, and
 * whether there are minima, make a difference. */
#ifndef CABINET_KERNEL_DECODE_AVX512_H
#define CABINET_KERNEL_DECODE_AVX512_H

#include "kernel/x86/panel_avx512.h"

/* A group of a panel, decoded. */
struct decoded_group {
    _Alignas(64) uint8_t numbers[PANEL_LINES][PANEL_LINE];
    float scale[2][PANEL_ROWS], minimum[2][PANEL_ROWS]; /* of each share */
};

/* Decodes n groups from group g of a panel on. */
typedef void decode_function(const uint8_t *panel, size_t g, size_t n, struct decoded_group *out);

/* Numbers become what they are above `offset`, modulo 256. */
PANEL_INLINE void decode_groups(enum weight_type type, int offset, const uint8_t *panel, size_t g, size_t n,
                                struct decoded_group *out) {
    const struct weight_traits traits = weight_traits_of(type);
    for (size_t end = g + n; g < end; g++, out++) {
        const uint8_t *group = panel + panel_group_at(type, g), *common = panel + panel_common_at(type, g);
        __m512i line[PANEL_LINES];
        panel_load_numbers(type, group, line);
#pragma GCC unroll 8
        for (int i = 0; i < PANEL_LINES; i++) {
            if (offset != 0) line[i] = _mm512_sub_epi8(line[i], _mm512_set1_epi8((char)offset));
            _mm512_store_si512(out->numbers[i], line[i]);
        }
#pragma GCC unroll 2
        for (unsigned share = 0; share < traits.n_shares; share++) {
            _mm512_store_ps(out->scale[share], panel_load_scale(type, group, common, share));
            if (traits.has_minimum)
                _mm512_store_ps(out->minimum[share], panel_load_minimum(type, group, common, share));
        }
    }
}

/* Which of up to 16 groups from `at` on have a fine plane in any of the rows, as bits. */
PANEL_INLINE unsigned fine_groups_avx512(const struct activations *x, size_t n_rows, size_t at, size_t n) {
    __mmask16 exists = lanes_of(n), any = 0;
    for (size_t r = 0; r < n_rows; r++)
        any |= _mm512_mask_cmpneq_ps_mask(
            exists, _mm512_maskz_loadu_ps(exists, x->planes[PLANE_FINE].scale + at + r * x->n_groups),
            _mm512_setzero_ps());
    return any;
}

/* The sums of codes of up to 16 groups, by halves. */
PANEL_INLINE void load_half_sums(const struct activation_plane *plane, size_t at, size_t n, __m512i sum[2]) {
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const int32_t *sums = plane->half_sum + at * 2;
    __m512i low = _mm512_maskz_loadu_epi32(lanes_of(2 * n), sums);
    __m512i high = _mm512_maskz_loadu_epi32(n > 8 ? lanes_of(2 * n - 16) : 0, sums + 16);
    sum[0] = _mm512_permutex2var_epi32(low, even, high);
    sum[1] = _mm512_permutex2var_epi32(low, odd, high);
}

/* x_sum of kernel/panel.h of up to 16 groups, for each share. */
PANEL_INLINE void load_sums(unsigned n_shares, const struct activations *x, size_t at, size_t n,
                            __m512 out[2]) {
    const __mmask16 exists = lanes_of(n);
    if (n_shares == 1) {
        out[0] = _mm512_maskz_loadu_ps(exists, x->scaled_sum + at);
        return;
    }
    __m512i coarse[2], fine[2];
    load_half_sums(&x->planes[PLANE_COARSE], at, n, coarse);
    load_half_sums(&x->planes[PLANE_FINE], at, n, fine);
    __m512 scale = _mm512_maskz_loadu_ps(exists, x->planes[PLANE_COARSE].scale + at);
    __m512 fine_scale = _mm512_maskz_loadu_ps(exists, x->planes[PLANE_FINE].scale + at);
    __mmask16 is_fine = _mm512_cmpneq_ps_mask(fine_scale, _mm512_setzero_ps());
#pragma GCC unroll 2
    for (unsigned share = 0; share < 2; share++) {
        __m512 sum = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(coarse[share]));
        __m512 rest = _mm512_mul_ps(fine_scale, _mm512_cvtepi32_ps(fine[share]));
        out[share] = _mm512_mask_add_ps(sum, is_fine, sum, rest);
    }
}

#endif
