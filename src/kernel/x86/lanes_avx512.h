/* Vectors of 16 f32 whose lanes change places: for rope_body.h and store_body.h. */
#ifndef CABINET_KERNEL_X86_LANES_AVX512_H
#define CABINET_KERNEL_X86_LANES_AVX512_H

#include "kernel/x86/vec_avx512.h"

#define vec_even_twice(a) _mm512_moveldup_ps(a)
#define vec_odd_twice(a) _mm512_movehdup_ps(a)
static inline vec vec_sub_add(vec a, vec b) { return _mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b); }
static inline vec vec_evens(vec a, vec b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, even, b);
}
static inline vec vec_odds(vec a, vec b) {
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, odd, b);
}

/* Lane j of rows[i] goes to lane i of rows[j]. */
static inline void vec_transpose(vec rows[VEC_WIDTH]) {
    vec pairs[VEC_WIDTH], quads[VEC_WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < VEC_WIDTH; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < VEC_WIDTH;
         i += 4) /* quads[i + c]: columns c, c + 4, c + 8, c + 12 of rows i .. i + 3 */
        for (int c = 0; c < 4; c++) {
            const __m512d low = _mm512_castps_pd(pairs[i + c / 2]),
                          high = _mm512_castps_pd(pairs[i + c / 2 + 2]);
            quads[i + c] =
                _mm512_castpd_ps(c % 2 == 0 ? _mm512_unpacklo_pd(low, high) : _mm512_unpackhi_pd(low, high));
        }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const vec even_top = _mm512_shuffle_f32x4(quads[c], quads[c + 4], 0x88),
                  odd_top = _mm512_shuffle_f32x4(quads[c], quads[c + 4], 0xdd),
                  even_bottom = _mm512_shuffle_f32x4(quads[c + 8], quads[c + 12], 0x88),
                  odd_bottom = _mm512_shuffle_f32x4(quads[c + 8], quads[c + 12], 0xdd);
        rows[c] = _mm512_shuffle_f32x4(even_top, even_bottom, 0x88);
        rows[c + 8] = _mm512_shuffle_f32x4(even_top, even_bottom, 0xdd);
        rows[c + 4] = _mm512_shuffle_f32x4(odd_top, odd_bottom, 0x88);
        rows[c + 12] = _mm512_shuffle_f32x4(odd_top, odd_bottom, 0xdd);
    }
}

#endif
