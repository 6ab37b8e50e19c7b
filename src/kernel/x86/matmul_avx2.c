/* Matrix products with AVX2: a vector is half a panel, eight outputs; the halves are two passes, of which the
 * second finds the panel in the first-level cache.
 *
 * Without VNNI, `maddubs` multiplies u8 by s8 and adds neighbours in s16, where it must not saturate: codes
 * of a few bits are added up in s16 over as many lines as fit (of nibbles a whole group: 8 * 2 * 15 * 127 <
 * 2^15); of 8-bit numbers the signed weight, number - offset, is split into its magnitude (at most 128) and
 * its sign, which is moved to the activation: 2 * 128 * 127 < 2^15. */
#include <immintrin.h>
#include <string.h>

#include "kernel/panel_layout.h"
#include "kernel/x86/matmul_avx2.h"

enum { TILE_ROWS = 4, HALF = 8, PREFETCH_BYTES = 1024 };

PANEL_INLINE __m256i load(const void *bytes) { return _mm256_loadu_si256(bytes); }

PANEL_INLINE __m256i broadcast4(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, sizeof four);
    return _mm256_set1_epi32(four);
}

/* ---- quantised ---- */

/* Eight of 16 f16 numbers, and of 16 bytes. */
PANEL_INLINE __m256 load_f16(const uint8_t *numbers, unsigned half) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(numbers + half * HALF * 2)));
}
PANEL_INLINE __m256i load_i8(const uint8_t *bytes, unsigned half) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(bytes + half * HALF)));
}

/* weight_e8m0_to_f32 in eight lanes. */
PANEL_INLINE __m256 e8m0_to_f32(__m256i exponent) {
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponent, _mm256_set1_epi32(1)), 23);
    __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), exponent);
    __m256i is_normal = _mm256_cmpgt_epi32(exponent, _mm256_set1_epi32(1));
    return _mm256_castsi256_ps(_mm256_blendv_epi8(denormal, normal, is_normal));
}

PANEL_INLINE __m256 load_scale(enum weight_type type, const uint8_t *group, const uint8_t *common,
                               unsigned share, unsigned half) {
    const uint8_t *scales = group + share * panel_scale_bytes(type);
    const __m256i byte = _mm256_set1_epi32(255), nibble = _mm256_set1_epi32(15);
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return load_f16(scales, half);
    case SCALE_E8M0: return e8m0_to_f32(_mm256_and_si256(load_i8(scales, half), byte));
    case SCALE_FACTORS:
        return _mm256_mul_ps(load_f16(common, half), _mm256_cvtepi32_ps(load_i8(scales, half)));
    default:
        return _mm256_mul_ps(load_f16(common, half),
                             _mm256_cvtepi32_ps(_mm256_and_si256(load_i8(scales, half), nibble)));
    }
}

PANEL_INLINE __m256 load_minimum(enum weight_type type, const uint8_t *group, const uint8_t *common,
                                 unsigned share, unsigned half) {
    const uint8_t *minima = group + panel_minima_at(type) + share * panel_scale_bytes(type);
    const uint8_t *both = group + share * PANEL_ROWS; /* factors */
    common += 2 * PANEL_ROWS;
    switch (weight_traits_of(type).scale) {
    case SCALE_F16: return load_f16(minima, half);
    case SCALE_FACTORS:
        return _mm256_mul_ps(load_f16(common, half), _mm256_cvtepi32_ps(load_i8(minima, half)));
    default: {
        __m256i factor = _mm256_and_si256(_mm256_srli_epi32(load_i8(both, half), 4), _mm256_set1_epi32(15));
        return _mm256_mul_ps(load_f16(common, half), _mm256_cvtepi32_ps(factor));
    }
    }
}

/* Half a code line of a plane, its bits moved to bit `to` of each byte and nothing else. */
PANEL_INLINE __m256i load_plane(const uint8_t *plane, unsigned bits, unsigned to, unsigned i, unsigned half) {
    __m256i line = load(plane + i % bits * PANEL_LINE + half * HALF * 4);
    if (bits == 8) return line;
    unsigned from = i / bits * bits;
    line = from > to ? _mm256_srli_epi16(line, (int)(from - to)) : _mm256_slli_epi16(line, (int)(to - from));
    return _mm256_and_si256(line, _mm256_set1_epi8((char)(((1u << bits) - 1) << to)));
}

/* Numbers of half a code line. */
PANEL_INLINE __m256i load_numbers(enum weight_type type, const uint8_t *group, unsigned i, unsigned half) {
    const struct weight_traits traits = weight_traits_of(type);
    __m256i line = load_plane(group + panel_low_at(type), traits.low_bits, 0, i, half);
    if (traits.high_bits != 0) {
        const uint8_t *plane = group + panel_high_at(type);
        line = _mm256_or_si256(line, load_plane(plane, traits.high_bits, traits.low_bits, i, half));
    }
    if (traits.table == NULL) return line;
    __m128i table = _mm_loadu_si128((const __m128i *)traits.table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), line);
}

/* Lines whose products fit in s16 together, at most those of a share; 0 if not even one line's do. */
PANEL_INLINE unsigned lines_in_words(struct weight_traits traits) {
    unsigned n = 32767 / (2 * 127 * (unsigned)traits.largest), most = PANEL_LINES / traits.n_shares;
    return n >= most ? most : n >= 4 ? 4 : n >= 2 ? 2 : n;
}

/* dot[r] = sum of number * code over lines [begin, end): small numbers, whose offset stays in the sum. */
PANEL_INLINE void dot_small(enum weight_type type, unsigned n_rows, unsigned begin, unsigned end,
                            const uint8_t *group, unsigned half, const int8_t *x_codes, size_t x_stride,
                            __m256i dot[TILE_ROWS]) {
    const __m256i one = _mm256_set1_epi16(1);
    const unsigned n = lines_in_words(weight_traits_of(type));
    __m256i words[TILE_ROWS];
#pragma GCC unroll 8
    for (unsigned i = begin; i < end; i++) {
        __m256i line = load_numbers(type, group, i, half);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            __m256i product = _mm256_maddubs_epi16(line, broadcast4(x_codes + r * x_stride + 4 * i));
            words[r] = (i - begin) % n == 0 ? product : _mm256_add_epi16(words[r], product);
            if ((i - begin) % n != n - 1) continue;
            __m256i sum = _mm256_madd_epi16(words[r], one);
            dot[r] = i - begin < n ? sum : _mm256_add_epi32(dot[r], sum);
        }
    }
}

/* dot[r] = sum of (number - offset) * code over lines [begin, end). */
PANEL_INLINE void dot_signed(enum weight_type type, unsigned n_rows, unsigned begin, unsigned end,
                             const uint8_t *group, unsigned half, const int8_t *x_codes, size_t x_stride,
                             __m256i dot[TILE_ROWS]) {
    const __m256i one = _mm256_set1_epi16(1);
    const __m256i offset = _mm256_set1_epi8((char)weight_traits_of(type).offset);
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (unsigned i = begin; i < end; i++) {
        __m256i weight = _mm256_sub_epi8(load_numbers(type, group, i, half), offset);
        __m256i magnitude = _mm256_abs_epi8(weight);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            __m256i x = _mm256_sign_epi8(broadcast4(x_codes + r * x_stride + 4 * i), weight);
            dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, x), one));
        }
    }
}

/* dot[r] of one share, with the offset removed. */
PANEL_INLINE void dot_share(enum weight_type type, unsigned n_rows, unsigned share, const uint8_t *group,
                            unsigned half, const struct activation_plane *plane, size_t at, size_t stride,
                            __m256i dot[TILE_ROWS]) {
    const struct weight_traits traits = weight_traits_of(type);
    const unsigned n_lines = PANEL_LINES / traits.n_shares, begin = share * n_lines, end = begin + n_lines;
    const int8_t *codes = plane->codes + at * PANEL_GROUP;
    if (lines_in_words(traits) == 0) {
        dot_signed(type, n_rows, begin, end, group, half, codes, stride * PANEL_GROUP, dot);
        return;
    }
    dot_small(type, n_rows, begin, end, group, half, codes, stride * PANEL_GROUP, dot);
    if (traits.offset == 0) return;
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++) {
        const int32_t *halves = plane->half_sum + (at + r * stride) * 2;
        int32_t sum = traits.n_shares == 1 ? halves[0] + halves[1] : halves[share];
        dot[r] = _mm256_sub_epi32(dot[r], _mm256_set1_epi32(traits.offset * sum));
    }
}

/* Adds the products of one group of a plane; `at` is the group of the first row. */
PANEL_INLINE void add_plane(enum weight_type type, unsigned n_rows, const uint8_t *group,
                            const uint8_t *common, unsigned half, const struct activation_plane *plane,
                            size_t at, size_t stride, __m256 acc[TILE_ROWS]) {
#pragma GCC unroll 2
    for (unsigned share = 0; share < weight_traits_of(type).n_shares; share++) {
        __m256i dot[TILE_ROWS];
        dot_share(type, n_rows, share, group, half, plane, at, stride, dot);
        __m256 scale = load_scale(type, group, common, share, half);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            __m256 x_scale = _mm256_set1_ps(plane->scale[at + r * stride]);
            acc[r] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot[r]), x_scale), scale, acc[r]);
        }
    }
}

PANEL_INLINE void quantised_half(enum weight_type type, unsigned n_rows, const uint8_t *panel, unsigned half,
                                 const struct activations *x, size_t row, __m256 acc[TILE_ROWS]) {
    const size_t stride = x->n_groups;
    for (size_t g = 0; g < stride; g++) {
        const uint8_t *group = panel + panel_group_at(type, g), *common = panel + panel_common_at(type, g);
        size_t at = row * stride + g;
        for (size_t line = 0; line < panel_group_bytes(type); line += 64)
            if (half == 0) _mm_prefetch((const char *)group + PREFETCH_BYTES + line, _MM_HINT_T0);
        add_plane(type, n_rows, group, common, half, &x->planes[PLANE_COARSE], at, stride, acc);
        float fine = 0;
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) fine += x->planes[PLANE_FINE].scale[at + r * stride];
        if (fine != 0) {
            __asm__("" : "+r"(group)); /* read again: the compiler would keep it all, but not in registers */
            add_plane(type, n_rows, group, common, half, &x->planes[PLANE_FINE], at, stride, acc);
        }
        if (!weight_traits_of(type).has_minimum) continue;
#pragma GCC unroll 2
        for (unsigned share = 0; share < weight_traits_of(type).n_shares; share++) {
            __m256 minimum = load_minimum(type, group, common, share, half);
#pragma GCC unroll 4
            for (unsigned r = 0; r < n_rows; r++) {
                __m256 sum = _mm256_set1_ps(panel_x_sum(type, x, at + r * stride, share));
                acc[r] = _mm256_fmadd_ps(sum, minimum, acc[r]);
            }
        }
    }
}

/* ---- float ---- */

PANEL_INLINE __m256 load_weights(enum weight_type type, const uint8_t *panel, size_t element) {
    if (type == WEIGHT_F32) return _mm256_loadu_ps((const float *)(const void *)(panel + element * 4));
    __m128i bits = _mm_loadu_si128((const __m128i *)(panel + element * 2));
    return _mm256_cvtph_ps(bits);
}

PANEL_INLINE void float_half(enum weight_type type, unsigned n_rows, const uint8_t *panel, unsigned half,
                             const struct activations *x, size_t row, __m256 acc[TILE_ROWS]) {
    const float *from = x->f32 + row * x->n_cols;
    for (size_t k = 0; k < x->n_cols; k++) {
        __m256 weights = load_weights(type, panel, k * PANEL_ROWS + half * HALF);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            acc[r] = _mm256_fmadd_ps(weights, _mm256_set1_ps(from[r * x->n_cols + k]), acc[r]);
    }
}

/* The upper and the lower one of two BF16 numbers in each lane. */
PANEL_INLINE __m256 upper_bf16(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
}
PANEL_INLINE __m256 lower_bf16(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }

PANEL_INLINE void bf16_half(unsigned n_rows, const uint8_t *panel, unsigned half, const struct activations *x,
                            size_t row, __m256 acc[TILE_ROWS]) {
    const size_t stride = x->n_groups * PANEL_GROUP;
    const bf16_bits *from = x->bf16 + row * stride;
    panel += half * HALF * PANEL_PAIR_BYTES;
    for (size_t k = 0; k < stride; k += 2, panel += PANEL_ROWS * PANEL_PAIR_BYTES) {
        __m256i weights = load(panel);
        __m256 upper = upper_bf16(weights), lower = lower_bf16(weights);
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            int32_t pair;
            memcpy(&pair, from + r * stride + k, sizeof pair);
            __m256i input = _mm256_set1_epi32(pair);
            acc[r] = _mm256_fmadd_ps(upper, upper_bf16(input), acc[r]);
            acc[r] = _mm256_fmadd_ps(lower, lower_bf16(input), acc[r]);
        }
    }
}

PANEL_INLINE void tile(enum weight_type type, unsigned n_rows, const struct panel_matrix *w, size_t panel,
                       const struct activations *x, size_t row, float *out, size_t out_stride) {
    const uint8_t *weights = w->data + panel * w->panel_bytes;
    for (unsigned half = 0; half < 2; half++) {
        size_t first = panel * PANEL_ROWS + half * HALF;
        if (first >= w->n_rows) return;
        __m256 acc[TILE_ROWS];
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) acc[r] = _mm256_setzero_ps();
        if (weight_is_quantised(type))
            quantised_half(type, n_rows, weights, half, x, row, acc);
        else if (type == WEIGHT_BF16)
            bf16_half(n_rows, weights, half, x, row, acc);
        else
            float_half(type, n_rows, weights, half, x, row, acc);
        size_t left = w->n_rows - first;
        __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left < HALF ? (int)left : HALF),
                                          _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++)
            _mm256_maskstore_ps(out + (row + r) * out_stride + first, mask, acc[r]);
    }
}

PANEL_INLINE void matmul_panels(enum weight_type type, const struct panel_matrix *w, size_t begin, size_t end,
                                const struct activations *x, size_t row_begin, size_t row_end, float *out,
                                size_t out_stride) {
    for (size_t p = begin; p < end; p++)
        for (size_t row = row_begin; row < row_end; row += TILE_ROWS) switch (row_end - row) {
            case 1: tile(type, 1, w, p, x, row, out, out_stride); break;
            case 2: tile(type, 2, w, p, x, row, out, out_stride); break;
            case 3: tile(type, 3, w, p, x, row, out, out_stride); break;
            default: tile(type, 4, w, p, x, row, out, out_stride);
            }
}

WEIGHT_TYPE_LIST(KERNEL_SET_DEFINE_MATMUL)
