/* Matrix products with AVX-512 VNNI.
 *
 * One vector lane is one output of a panel. `vpdpbusd` multiplies four codes of 16 outputs (u8) with four
 * codes of a row, broadcast (s8). Two ways, of the same bits:
 *
 *   stream   few rows: a group is read and decoded in registers and meets every row there. Memory is the
 *            limit.
 *   tile     many rows: two panels are decoded once into a scratch that stays in the first-level cache,
 *            then meet the rows in tiles of 6 x 2 panels, so that one broadcast serves two products. The
 * limit is the two vector ports, and what is not vpdpbusd counts. So the integer accumulators begin at 1.5 *
 * 2^23 (as bits of a float) minus the codes' offset: after the products their bits *are* the float 1.5 * 2^23
 * + dot, and fma(that, x_scale, -1.5 * 2^23 * x_scale) is dot * x_scale, rounded once, without a conversion
 * (quantize.h sees to it that the last operand is exact). */
#include <immintrin.h>
#include <string.h>

#include "kernel/panel_layout.h"
#include "kernel/x86/matmul_avx512.h"

enum {
    LINES = 8,        /* cache lines of codes in a group, four inputs each */
    STREAM_ROWS = 12, /* rows that a streamed panel meets at once */
    STREAM_MOST = 16, /* with more rows than this, tiles are faster */
    TILE_ROWS = 6,    /* rows of a register tile */
    TILE_GROUPS = 18, /* groups decoded at once: two panels of them fit a 32 KB cache beside the rows */
    PREFETCH_BYTES = 2048,
};

static const float MAGIC = 0x1.8p23f;
static const int MAGIC_BITS = 0x4b400000;

/* A group of a panel, decoded. */
struct tile_group {
    _Alignas(64) uint8_t codes[LINES][64];
    float scale[2][PANEL_ROWS];
    float minimum[PANEL_ROWS];
};

PANEL_INLINE __m512i broadcast4(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, sizeof four);
    return _mm512_set1_epi32(four);
}

PANEL_INLINE void load_codes(enum panel_format format, const uint8_t *codes, __m512i line[LINES]) {
    if (!panel_has_nibbles(format)) {
#pragma GCC unroll 8
        for (int i = 0; i < LINES; i++) line[i] = _mm512_loadu_si512(codes + 64 * i);
        return;
    }
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int i = 0; i < LINES / 2; i++) {
        __m512i pair = _mm512_loadu_si512(codes + 64 * i);
        line[i] = _mm512_and_si512(pair, low);
        line[i + LINES / 2] = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
    }
}

PANEL_INLINE __m512 load_scales(enum panel_format format, const uint8_t *scales) {
    if (panel_has_f16_scales(format)) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)scales));
    return _mm512_loadu_ps(scales);
}

PANEL_INLINE __mmask16 panel_mask(const struct panel_matrix *w, size_t panel) {
    if (panel >= w->n_panels) return 0;
    size_t left = w->n_rows - panel * PANEL_ROWS;
    return left >= PANEL_ROWS ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

/* ---- stream ---- */

/* Adds the products of one group of a plane; `at` is the group of the first row. */
PANEL_INLINE void stream_plane(enum panel_format format, unsigned n_rows, const uint8_t *group,
                               const __m512i line[LINES], const struct activation_plane *plane, size_t at,
                               size_t stride, __m512 *acc) {
    const unsigned n_scales = panel_n_scales(format), n_lines = LINES / n_scales;
    const int8_t *codes = plane->codes + at * PANEL_GROUP;
#pragma GCC unroll 2
    for (unsigned part = 0; part < n_scales; part++) {
        __m512 scale = load_scales(format, group + part * panel_scale_bytes(format));
#pragma GCC unroll 12
        for (unsigned r = 0; r < n_rows; r++) {
            __m512i dot = _mm512_setzero_si512();
            if (panel_offset(format) != 0) {
                const int32_t *halves = plane->half_sum + (at + r * stride) * 2;
                int32_t sum = n_scales == 1 ? halves[0] + halves[1] : halves[part];
                dot = _mm512_set1_epi32(-panel_offset(format) * sum);
            }
#pragma GCC unroll 8
            for (unsigned i = 0; i < n_lines; i++)
                dot = _mm512_dpbusd_epi32(
                    dot, line[part * n_lines + i],
                    broadcast4(codes + r * stride * PANEL_GROUP + 4 * (part * n_lines + i)));
            __m512 x_scale = _mm512_set1_ps(plane->scale[at + r * stride]);
            acc[r] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), x_scale), scale, acc[r]);
        }
    }
}

/* Which of up to 16 groups from `at` on have a fine plane in any of the rows. */
PANEL_INLINE unsigned fine_groups(const struct activations *x, unsigned n_rows, size_t at, size_t n) {
    __mmask16 exists = (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1), any = 0;
    for (unsigned r = 0; r < n_rows; r++)
        any |= _mm512_mask_cmpneq_ps_mask(
            exists, _mm512_maskz_loadu_ps(exists, x->planes[PLANE_FINE].scale + at + r * x->n_groups),
            _mm512_setzero_ps());
    return any;
}

PANEL_INLINE void stream_panel(enum panel_format format, unsigned n_rows, const uint8_t *panel,
                               const struct activations *x, size_t row, __m512 *acc) {
    const size_t n_groups = x->n_groups;
    const float *x_sum = x->scaled_sum + row * n_groups;
    unsigned fine = 0;
    for (size_t g = 0; g < n_groups; g++, panel += panel_group_bytes(format), fine >>= 1) {
#pragma GCC unroll 16
        for (size_t at = 0; at < panel_group_bytes(format); at += 64)
            _mm_prefetch((const char *)panel + PREFETCH_BYTES + at, _MM_HINT_T0);
        size_t at = row * n_groups + g;
        if (g % 16 == 0) fine = fine_groups(x, n_rows, at, n_groups - g);
        __m512i line[LINES];
        load_codes(format, panel + panel_codes_at(format), line);
        stream_plane(format, n_rows, panel, line, &x->planes[PLANE_COARSE], at, n_groups, acc);
        if (fine & 1) stream_plane(format, n_rows, panel, line, &x->planes[PLANE_FINE], at, n_groups, acc);
        if (panel_has_minimum(format)) {
            __m512 minimum = load_scales(format, panel + panel_scale_bytes(format));
#pragma GCC unroll 12
            for (unsigned r = 0; r < n_rows; r++)
                acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(x_sum[r * n_groups + g]), minimum, acc[r]);
        }
    }
}

PANEL_INLINE void stream_rows(enum panel_format format, unsigned n_rows, const struct panel_matrix *w,
                              size_t p, const struct activations *x, size_t row, float *out,
                              size_t out_stride) {
    __m512 acc[STREAM_ROWS];
#pragma GCC unroll 12
    for (unsigned r = 0; r < n_rows; r++) acc[r] = _mm512_setzero_ps();
    stream_panel(format, n_rows, w->data + p * w->panel_bytes, x, row, acc);
#pragma GCC unroll 12
    for (unsigned r = 0; r < n_rows; r++)
        _mm512_mask_storeu_ps(out + (row + r) * out_stride + p * PANEL_ROWS, panel_mask(w, p), acc[r]);
}

PANEL_INLINE void stream_panels(enum panel_format format, const struct panel_matrix *w, size_t begin,
                                size_t end, const struct activations *x, size_t row_begin, size_t row_end,
                                float *out, size_t out_stride) {
    const size_t n_rows = row_end - row_begin, n_parts = (n_rows + STREAM_ROWS - 1) / STREAM_ROWS;
    for (size_t p = begin; p < end; p++)
        for (size_t part = 0; part < n_parts; part++) {
            size_t row = row_begin + n_rows * part / n_parts,
                   row_after = row_begin + n_rows * (part + 1) / n_parts;
            /* clang-format off */
            switch (row_after - row) {
#define X(n) case n: stream_rows(format, n, w, p, x, row, out, out_stride); break;
                X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#undef X
            default: __builtin_unreachable();
            }
            /* clang-format on */
        }
}

/* ---- tile ---- */

PANEL_INLINE void decode_groups(enum panel_format format, const uint8_t *panel, size_t n,
                                struct tile_group *out) {
    for (size_t g = 0; g < n; g++, panel += panel_group_bytes(format), out++) {
        __m512i line[LINES];
        load_codes(format, panel + panel_codes_at(format), line);
#pragma GCC unroll 8
        for (int i = 0; i < LINES; i++) _mm512_store_si512(out->codes[i], line[i]);
#pragma GCC unroll 2
        for (unsigned part = 0; part < panel_n_scales(format); part++)
            _mm512_store_ps(out->scale[part], load_scales(format, panel + part * panel_scale_bytes(format)));
        if (panel_has_minimum(format))
            _mm512_store_ps(out->minimum, load_scales(format, panel + panel_scale_bytes(format)));
    }
}

/* What the tile adds to a row's own numbers in one plane, for up to TILE_GROUPS groups. */
struct tile_row {
    float correction[32]; /* -MAGIC * x_scale */
    int32_t start[2][32]; /* MAGIC_BITS - offset * sum of codes, for each scale of a group */
};

PANEL_INLINE void prepare_row(enum panel_format format, const struct activation_plane *plane, size_t at,
                              size_t n, struct tile_row *out) {
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512i shift = _mm512_set1_epi32(panel_offset(format) == 8 ? 3 : 7),
                  magic = _mm512_set1_epi32(MAGIC_BITS);
    for (size_t g = 0; g < n; g += 16) {
        size_t left = n - g < 16 ? n - g : 16;
        __mmask16 mask = (__mmask16)((1u << left) - 1);
        __m512 scale = _mm512_maskz_loadu_ps(mask, plane->scale + at + g);
        _mm512_storeu_ps(out->correction + g, _mm512_mul_ps(scale, _mm512_set1_ps(-MAGIC)));
        if (panel_offset(format) == 0) continue;
        __mmask16 low_mask = (__mmask16)(left >= 8 ? 0xffff : (1u << 2 * left) - 1);
        __mmask16 high_mask = (__mmask16)(left <= 8 ? 0 : (1u << 2 * (left - 8)) - 1);
        const int32_t *sums = plane->half_sum + (at + g) * 2;
        __m512i low = _mm512_maskz_loadu_epi32(low_mask, sums),
                high = _mm512_maskz_loadu_epi32(high_mask, sums + 16);
        __m512i first = _mm512_permutex2var_epi32(low, even, high),
                second = _mm512_permutex2var_epi32(low, odd, high);
        if (panel_n_scales(format) == 1) {
            first = _mm512_add_epi32(first, second);
        } else {
            _mm512_storeu_si512(out->start[1] + g, _mm512_sub_epi32(magic, _mm512_sllv_epi32(second, shift)));
        }
        _mm512_storeu_si512(out->start[0] + g, _mm512_sub_epi32(magic, _mm512_sllv_epi32(first, shift)));
    }
}

/* Where a register tile reads and writes: rows of x from `row`, groups from `group`, outputs of two panels.
 */
struct tile_place {
    const struct activations *x;
    size_t row, group, n_groups;
    const uint8_t *next[2]; /* groups of both panels that are decoded next, to prefetch; or NULL */
    float *out;             /* output of the first row and the first panel */
    size_t out_stride;
    __mmask16 mask[2];
    bool is_first; /* group of the row */
};

/* Adds the products of group g of a plane; `first` is the first row's group at which the tile begins. */
PANEL_INLINE void tile_plane(enum panel_format format, unsigned n_rows, const struct activation_plane *plane,
                             size_t first, size_t stride, const struct tile_row *rows, size_t g,
                             const struct tile_group *a, const struct tile_group *b,
                             __m512 acc[TILE_ROWS][2]) {
    const unsigned n_scales = panel_n_scales(format), n_lines = LINES / n_scales;
    const int8_t *codes = plane->codes + (first + g) * PANEL_GROUP;
    const float *x_scale = plane->scale + first + g;
#pragma GCC unroll 2
    for (unsigned part = 0; part < n_scales; part++) {
        __m512i dot[TILE_ROWS][2];
#pragma GCC unroll 6
        for (unsigned r = 0; r < n_rows; r++)
            dot[r][0] = dot[r][1] =
                _mm512_set1_epi32(panel_offset(format) == 0 ? MAGIC_BITS : rows[r].start[part][g]);
#pragma GCC unroll 8
        for (unsigned i = part * n_lines; i < (part + 1) * n_lines; i++) {
            __m512i line_a = _mm512_load_si512(a->codes[i]), line_b = _mm512_load_si512(b->codes[i]);
#pragma GCC unroll 6
            for (unsigned r = 0; r < n_rows; r++) {
                __m512i four = broadcast4(codes + r * stride * PANEL_GROUP + 4 * i);
                dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], line_a, four);
                dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], line_b, four);
            }
        }
        __m512 scale_a = _mm512_load_ps(a->scale[part]), scale_b = _mm512_load_ps(b->scale[part]);
#pragma GCC unroll 6
        for (unsigned r = 0; r < n_rows; r++) {
            __m512 scale = _mm512_set1_ps(x_scale[r * stride]);
            __m512 correction = _mm512_set1_ps(rows[r].correction[g]);
            __m512 scaled_a = _mm512_fmadd_ps(_mm512_castsi512_ps(dot[r][0]), scale, correction);
            __m512 scaled_b = _mm512_fmadd_ps(_mm512_castsi512_ps(dot[r][1]), scale, correction);
            acc[r][0] = _mm512_fmadd_ps(scaled_a, scale_a, acc[r][0]);
            acc[r][1] = _mm512_fmadd_ps(scaled_b, scale_b, acc[r][1]);
        }
    }
}

PANEL_INLINE void tile(enum panel_format format, unsigned n_rows, const struct tile_place *place,
                       const struct tile_group *a, const struct tile_group *b) {
    const struct activations *x = place->x;
    const size_t stride = x->n_groups, first = place->row * stride + place->group, n_groups = place->n_groups;
    const struct activation_plane *coarse = &x->planes[PLANE_COARSE], *fine = &x->planes[PLANE_FINE];
    const float *x_sum = x->scaled_sum + first;
    struct tile_row coarse_rows[TILE_ROWS], fine_rows[TILE_ROWS];
    __m512 acc[TILE_ROWS][2];
    unsigned is_fine = fine_groups(x, n_rows, first, n_groups);
    if (n_groups > 16) is_fine |= fine_groups(x, n_rows, first + 16, n_groups - 16) << 16;
#pragma GCC unroll 6
    for (unsigned r = 0; r < n_rows; r++) {
        prepare_row(format, coarse, first + r * stride, n_groups, &coarse_rows[r]);
        if (is_fine != 0) prepare_row(format, fine, first + r * stride, n_groups, &fine_rows[r]);
        const float *out = place->out + r * place->out_stride;
        acc[r][0] = place->is_first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(place->mask[0], out);
        acc[r][1] =
            place->is_first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(place->mask[1], out + PANEL_ROWS);
        __builtin_prefetch(out, 1);
        __builtin_prefetch(out + PANEL_ROWS, 1);
    }
    for (size_t g = 0; g < n_groups; g++, a++, b++, is_fine >>= 1) {
        if (place->next[0] != NULL)
            for (size_t at = 0; at < panel_group_bytes(format); at += 64) {
                _mm_prefetch((const char *)place->next[0] + g * panel_group_bytes(format) + at, _MM_HINT_T0);
                _mm_prefetch((const char *)place->next[1] + g * panel_group_bytes(format) + at, _MM_HINT_T0);
            }
        tile_plane(format, n_rows, coarse, first, stride, coarse_rows, g, a, b, acc);
        if (is_fine & 1) tile_plane(format, n_rows, fine, first, stride, fine_rows, g, a, b, acc);
        if (panel_has_minimum(format)) {
            __m512 minimum_a = _mm512_load_ps(a->minimum), minimum_b = _mm512_load_ps(b->minimum);
#pragma GCC unroll 6
            for (unsigned r = 0; r < n_rows; r++) {
                __m512 sum = _mm512_set1_ps(x_sum[r * stride + g]);
                acc[r][0] = _mm512_fmadd_ps(sum, minimum_a, acc[r][0]);
                acc[r][1] = _mm512_fmadd_ps(sum, minimum_b, acc[r][1]);
            }
        }
    }
#pragma GCC unroll 6
    for (unsigned r = 0; r < n_rows; r++) {
        float *out = place->out + r * place->out_stride;
        _mm512_mask_storeu_ps(out, place->mask[0], acc[r][0]);
        _mm512_mask_storeu_ps(out + PANEL_ROWS, place->mask[1], acc[r][1]);
    }
}

PANEL_INLINE void tile_panels(enum panel_format format, const struct panel_matrix *w, size_t begin,
                              size_t end, const struct activations *x, size_t row_begin, size_t row_end,
                              float *out, size_t out_stride) {
    struct tile_group scratch[2][TILE_GROUPS];
    const size_t n_rows = row_end - row_begin, n_tiles = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t n_chunks = (x->n_groups + TILE_GROUPS - 1) / TILE_GROUPS;
    for (size_t p = begin; p < end; p += 2) {
        const uint8_t *panel = w->data + p * w->panel_bytes;
        size_t other = p + 1 < end ? w->panel_bytes : 0; /* an odd last panel is its own partner, unstored */
        __mmask16 other_mask = p + 1 < end ? panel_mask(w, p + 1) : 0;
        for (size_t chunk = 0; chunk < n_chunks; chunk++) {
            size_t group = x->n_groups * chunk / n_chunks, n = x->n_groups * (chunk + 1) / n_chunks - group;
            const uint8_t *from = panel + group * panel_group_bytes(format);
            decode_groups(format, from, n, scratch[0]);
            decode_groups(format, from + other, n, scratch[1]);
            const uint8_t *next =
                chunk + 1 < n_chunks ? from + n * panel_group_bytes(format) : panel + 2 * w->panel_bytes;
            for (size_t t = 0; t < n_tiles; t++) {
                size_t row = row_begin + n_rows * t / n_tiles,
                       row_after = row_begin + n_rows * (t + 1) / n_tiles;
                struct tile_place place = {
                    .x = x,
                    .row = row,
                    .group = group,
                    .n_groups = n,
                    .next = {t == 0 ? next : NULL, next + w->panel_bytes},
                    .out = out + row * out_stride + p * PANEL_ROWS,
                    .out_stride = out_stride,
                    .mask = {panel_mask(w, p), other_mask},
                    .is_first = chunk == 0,
                };
                switch (row_after - row) {
                case 1: tile(format, 1, &place, scratch[0], scratch[1]); break;
                case 2: tile(format, 2, &place, scratch[0], scratch[1]); break;
                case 3: tile(format, 3, &place, scratch[0], scratch[1]); break;
                case 4: tile(format, 4, &place, scratch[0], scratch[1]); break;
                case 5: tile(format, 5, &place, scratch[0], scratch[1]); break;
                case 6: tile(format, 6, &place, scratch[0], scratch[1]); break;
                default: __builtin_unreachable();
                }
            }
        }
    }
}

PANEL_INLINE void matmul_panels(enum panel_format format, const struct panel_matrix *w, size_t begin,
                                size_t end, const struct activations *x, size_t row_begin, size_t row_end,
                                float *out, size_t out_stride) {
    if (row_end - row_begin <= STREAM_MOST)
        stream_panels(format, w, begin, end, x, row_begin, row_end, out, out_stride);
    else
        tile_panels(format, w, begin, end, x, row_begin, row_end, out, out_stride);
}

KERNEL_SET_DEFINE_MATMUL_QUANTISED(avx512, matmul_panels)
