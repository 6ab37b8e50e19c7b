/* Matrix products with AVX2: a vector is half a panel, eight outputs; the halves are two passes, of which the
 * second finds the panel in the first-level cache.
 *
 * Without VNNI, `maddubs` multiplies u8 by s8 and adds neighbours in s16, where it must not saturate: nibbles
 * cannot reach it (a whole group of them, 8 * 2 * 15 * 127, stays below 2^15); of 8-bit codes the signed
 * weight c - 128 is split into |c - 128| <= 128 and its sign, which is moved to the activation: 2 * 128 * 127
 * < 2^15. */
#include <immintrin.h>
#include <string.h>

#include "kernel/panel_layout.h"
#include "kernel/x86/matmul_avx2.h"

enum { LINES = 8, TILE_ROWS = 4, HALF = 8, PREFETCH_BYTES = 1024 };

PANEL_INLINE __m256i load(const void *bytes) { return _mm256_loadu_si256(bytes); }

PANEL_INLINE __m256i broadcast4(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Eight of a panel's 16 scales or minima. */
PANEL_INLINE __m256 load_scales(enum panel_format format, const uint8_t *scales, unsigned half) {
    if (panel_has_f16_scales(format))
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(scales + half * HALF * 2)));
    return _mm256_loadu_ps((const float *)(const void *)(scales + half * HALF * 4));
}

/* dot[r] = sum of codes of lines [begin, end), with the offset removed. */
PANEL_INLINE void dot_nibbles(enum panel_format format, unsigned n_rows, const uint8_t *nibbles,
                              const int8_t *x_codes, size_t x_stride, const int32_t *half_sum,
                              size_t half_stride, __m256i dot[TILE_ROWS]) {
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1);
    __m256i words[TILE_ROWS];
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++) words[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < LINES / 2; i++) {
        __m256i pair = load(nibbles + 64 * i);
        __m256i first = _mm256_and_si256(pair, low),
                second = _mm256_and_si256(_mm256_srli_epi16(pair, 4), low);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            const int8_t *x = x_codes + r * x_stride + 4 * i;
            words[r] = _mm256_add_epi16(words[r], _mm256_maddubs_epi16(first, broadcast4(x)));
            words[r] = _mm256_add_epi16(words[r], _mm256_maddubs_epi16(second, broadcast4(x + 16)));
        }
    }
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++) {
        dot[r] = _mm256_madd_epi16(words[r], one);
        const int32_t *halves = half_sum + r * half_stride;
        if (panel_offset(format) != 0)
            dot[r] =
                _mm256_sub_epi32(dot[r], _mm256_set1_epi32(panel_offset(format) * (halves[0] + halves[1])));
    }
}

PANEL_INLINE void dot_bytes(unsigned n_rows, unsigned begin, unsigned end, const uint8_t *codes,
                            const int8_t *x_codes, size_t x_stride, __m256i dot[TILE_ROWS]) {
    const __m256i one = _mm256_set1_epi16(1);
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (unsigned i = begin; i < end; i++) {
        __m256i weight = _mm256_xor_si256(load(codes + 64 * i), _mm256_set1_epi8(-128));
        __m256i magnitude = _mm256_abs_epi8(weight);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            __m256i x = _mm256_sign_epi8(broadcast4(x_codes + r * x_stride + 4 * i), weight);
            dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, x), one));
        }
    }
}

/* Adds the products of one group of a plane; `at` is the group of the first row. */
PANEL_INLINE void add_plane(enum panel_format format, unsigned n_rows, const uint8_t *group, unsigned half,
                            const struct activation_plane *plane, size_t at, size_t stride,
                            __m256 acc[TILE_ROWS]) {
    const unsigned n_scales = panel_n_scales(format), n_lines = LINES / n_scales;
    const uint8_t *codes = group + panel_codes_at(format) + half * HALF * 4;
    const int8_t *x_codes = plane->codes + at * PANEL_GROUP;
#pragma GCC unroll 2
    for (unsigned part = 0; part < n_scales; part++) {
        __m256i dot[TILE_ROWS];
        if (panel_has_nibbles(format))
            dot_nibbles(format, n_rows, codes, x_codes, stride * PANEL_GROUP, plane->half_sum + at * 2,
                        stride * 2, dot);
        else
            dot_bytes(n_rows, part * n_lines, (part + 1) * n_lines, codes, x_codes, stride * PANEL_GROUP,
                      dot);
        __m256 scale = load_scales(format, group + part * panel_scale_bytes(format), half);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            __m256 x_scale = _mm256_set1_ps(plane->scale[at + r * stride]);
            acc[r] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot[r]), x_scale), scale, acc[r]);
        }
    }
}

PANEL_INLINE void quantised_half(enum panel_format format, unsigned n_rows, const uint8_t *panel,
                                 unsigned half, const struct activations *x, size_t row,
                                 __m256 acc[TILE_ROWS]) {
    const size_t stride = x->n_groups;
    for (size_t g = 0; g < stride; g++, panel += panel_group_bytes(format)) {
        size_t at = row * stride + g;
        for (size_t line = 0; line < panel_group_bytes(format); line += 64)
            if (half == 0) _mm_prefetch((const char *)panel + PREFETCH_BYTES + line, _MM_HINT_T0);
        add_plane(format, n_rows, panel, half, &x->planes[PLANE_COARSE], at, stride, acc);
        float fine = 0;
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) fine += x->planes[PLANE_FINE].scale[at + r * stride];
        if (fine != 0) add_plane(format, n_rows, panel, half, &x->planes[PLANE_FINE], at, stride, acc);
        if (!panel_has_minimum(format)) continue;
        __m256 minimum = load_scales(format, panel + panel_scale_bytes(format), half);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            acc[r] = _mm256_fmadd_ps(_mm256_set1_ps(x->scaled_sum[at + r * stride]), minimum, acc[r]);
    }
}

PANEL_INLINE __m256 load_weights(enum panel_format format, const uint8_t *panel, size_t element) {
    if (format == PANEL_F32) return _mm256_loadu_ps((const float *)(const void *)(panel + element * 4));
    __m128i bits = _mm_loadu_si128((const __m128i *)(panel + element * 2));
    if (format == PANEL_F16) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

PANEL_INLINE void float_half(enum panel_format format, unsigned n_rows, const uint8_t *panel, unsigned half,
                             const struct activations *x, size_t row, __m256 acc[TILE_ROWS]) {
    const float *from = x->f32 + row * x->n_cols;
    for (size_t k = 0; k < x->n_cols; k++) {
        __m256 weights = load_weights(format, panel, k * PANEL_ROWS + half * HALF);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            acc[r] = _mm256_fmadd_ps(weights, _mm256_set1_ps(from[r * x->n_cols + k]), acc[r]);
    }
}

PANEL_INLINE void tile(enum panel_format format, unsigned n_rows, const struct panel_matrix *w, size_t panel,
                       const struct activations *x, size_t row, float *out, size_t out_stride) {
    const uint8_t *weights = w->data + panel * w->panel_bytes;
    for (unsigned half = 0; half < 2; half++) {
        size_t first = panel * PANEL_ROWS + half * HALF;
        if (first >= w->n_rows) return;
        __m256 acc[TILE_ROWS];
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) acc[r] = _mm256_setzero_ps();
        if (format < PANEL_F32)
            quantised_half(format, n_rows, weights, half, x, row, acc);
        else
            float_half(format, n_rows, weights, half, x, row, acc);
        size_t left = w->n_rows - first;
        __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left < HALF ? (int)left : HALF),
                                          _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            _mm256_maskstore_ps(out + (row + r) * out_stride + first, mask, acc[r]);
    }
}

PANEL_INLINE void matmul_panels(enum panel_format format, const struct panel_matrix *w, size_t begin,
                                size_t end, const struct activations *x, size_t row_begin, size_t row_end,
                                float *out, size_t out_stride) {
    for (size_t p = begin; p < end; p++)
        for (size_t row = row_begin; row < row_end; row += TILE_ROWS) switch (row_end - row) {
            case 1: tile(format, 1, w, p, x, row, out, out_stride); break;
            case 2: tile(format, 2, w, p, x, row, out, out_stride); break;
            case 3: tile(format, 3, w, p, x, row, out, out_stride); break;
            default: tile(format, 4, w, p, x, row, out, out_stride);
            }
}

KERNEL_SET_DEFINE_MATMUL_QUANTISED(avx2, matmul_panels)
KERNEL_SET_DEFINE_MATMUL_FLOAT(avx2, matmul_panels)
