/* Matrix products with AVX-512 VNNI: `vpdpbusd` multiplies four numbers of 16 outputs (u8) with four codes of
 * a row, broadcast (s8). Two ways, of the same bits: for few rows a group is read and decoded in registers
 * and meets every row there, here, and memory is the limit; many rows meet decoded groups (tile_avx512.h). */
#include "kernel/x86/matmul_avx512.h"

#include "kernel/x86/tile_avx512.h"

enum {
    STREAM_ROWS = 4,  /* rows that a streamed panel meets at once */
    STREAM_MOST = 12, /* with more rows than this, tiles are faster */
    PREFETCH_BYTES = 2048,
};

/* Adds the products of one group of a plane; `at` is the group of the first row. */
PANEL_INLINE void stream_plane(enum weight_type type, unsigned n_rows, const __m512i line[PANEL_LINES],
                               const __m512 scale[2], const struct activation_plane *plane, size_t at,
                               size_t stride, __m512 *acc) {
    const struct weight_traits traits = weight_traits_of(type);
    const unsigned n_lines = PANEL_LINES / traits.n_shares;
    const int8_t *codes = plane->codes + at * PANEL_GROUP;
#pragma GCC unroll 2
    for (unsigned share = 0; share < traits.n_shares; share++) {
#pragma GCC unroll 4
        for (unsigned r = 0; r < n_rows; r++) {
            __m512i dot = _mm512_setzero_si512();
            if (traits.offset != 0) {
                const int32_t *halves = plane->half_sum + (at + r * stride) * 2;
                int32_t sum = traits.n_shares == 1 ? halves[0] + halves[1] : halves[share];
                dot = _mm512_set1_epi32(-traits.offset * sum);
            }
#pragma GCC unroll 8
            for (unsigned i = share * n_lines; i < (share + 1) * n_lines; i++)
                dot = _mm512_dpbusd_epi32(dot, line[i], broadcast4(codes + r * stride * PANEL_GROUP + 4 * i));
            __m512 x_scale = _mm512_set1_ps(plane->scale[at + r * stride]);
            acc[r] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), x_scale), scale[share], acc[r]);
        }
    }
}

PANEL_INLINE void stream_panel(enum weight_type type, unsigned n_rows, const uint8_t *panel,
                               const struct activations *x, size_t row, __m512 *acc) {
    const struct weight_traits traits = weight_traits_of(type);
    const size_t n_groups = x->n_groups;
    unsigned fine = 0;
    for (size_t g = 0; g < n_groups; g++, fine >>= 1) {
        const uint8_t *group = panel + panel_group_at(type, g), *common = panel + panel_common_at(type, g);
#pragma GCC unroll 16
        for (size_t at = 0; at < panel_group_bytes(type); at += 64)
            _mm_prefetch((const char *)group + PREFETCH_BYTES + at, _MM_HINT_T0);
        size_t at = row * n_groups + g;
        if (g % 16 == 0) fine = fine_groups_avx512(x, n_rows, at, n_groups - g);
        __m512i line[PANEL_LINES];
        __m512 scale[2];
        panel_load_numbers(type, group, line);
#pragma GCC unroll 2
        for (unsigned share = 0; share < traits.n_shares; share++)
            scale[share] = panel_load_scale(type, group, common, share);
        stream_plane(type, n_rows, line, scale, &x->planes[PLANE_COARSE], at, n_groups, acc);
        if (fine & 1) stream_plane(type, n_rows, line, scale, &x->planes[PLANE_FINE], at, n_groups, acc);
        if (!traits.has_minimum) continue;
#pragma GCC unroll 2
        for (unsigned share = 0; share < traits.n_shares; share++) {
            __m512 minimum = panel_load_minimum(type, group, common, share);
#pragma GCC unroll 4
            for (unsigned r = 0; r < n_rows; r++) {
                __m512 sum = _mm512_set1_ps(panel_x_sum(type, x, at + r * n_groups, share));
                acc[r] = _mm512_fmadd_ps(sum, minimum, acc[r]);
            }
        }
    }
}

PANEL_INLINE void stream_rows(enum weight_type type, unsigned n_rows, const struct panel_matrix *w, size_t p,
                              const struct activations *x, size_t row, float *out, size_t out_stride) {
    __m512 acc[STREAM_ROWS];
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++) acc[r] = _mm512_setzero_ps();
    stream_panel(type, n_rows, w->data + p * w->panel_bytes, x, row, acc);
#pragma GCC unroll 4
    for (unsigned r = 0; r < n_rows; r++)
        _mm512_mask_storeu_ps(out + (row + r) * out_stride + p * PANEL_ROWS, panel_lanes(w, p), acc[r]);
}

/* More than STREAM_ROWS rows read a panel again, out of the first-level cache. */
PANEL_INLINE void stream_panels(enum weight_type type, const struct panel_matrix *w, size_t begin, size_t end,
                                const struct activations *x, size_t row_begin, size_t row_end, float *out,
                                size_t out_stride) {
    const size_t n_rows = row_end - row_begin, n_parts = (n_rows + STREAM_ROWS - 1) / STREAM_ROWS;
    for (size_t p = begin; p < end; p++)
        for (size_t part = 0; part < n_parts; part++) {
            size_t row = row_begin + n_rows * part / n_parts,
                   row_after = row_begin + n_rows * (part + 1) / n_parts;
            switch (row_after - row) {
            case 1: stream_rows(type, 1, w, p, x, row, out, out_stride); break;
            case 2: stream_rows(type, 2, w, p, x, row, out, out_stride); break;
            case 3: stream_rows(type, 3, w, p, x, row, out, out_stride); break;
            case 4: stream_rows(type, 4, w, p, x, row, out, out_stride); break;
            default: __builtin_unreachable();
            }
        }
}

#define X(name, number, elements, bytes)                                                                     \
    static void decode_##name(const uint8_t *panel, size_t g, size_t n, struct decoded_group *out) {         \
        decode_groups(WEIGHT_##name, 0, panel, g, n, out);                                                   \
    }
WEIGHT_QUANTISED_LIST(X)
#undef X

static decode_function *const decoders[] = {
#define X(name, number, elements, bytes) [WEIGHT_##name] = decode_##name,
    WEIGHT_QUANTISED_LIST(X)
#undef X
};

PANEL_INLINE void matmul_panels(enum weight_type type, const struct panel_matrix *w, size_t begin, size_t end,
                                const struct activations *x, size_t row_begin, size_t row_end, float *out,
                                size_t out_stride) {
    const struct weight_traits traits = weight_traits_of(type);
    const struct tile_format format = {traits.n_shares, traits.has_minimum, traits.offset, decoders[type]};
    if (row_end - row_begin <= STREAM_MOST)
        stream_panels(type, w, begin, end, x, row_begin, row_end, out, out_stride);
    else
        tile_panels_avx512(&format, w, begin, end, x, row_begin, row_end, out, out_stride);
}

WEIGHT_QUANTISED_LIST(KERNEL_SET_DEFINE_MATMUL)
