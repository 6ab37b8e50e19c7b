/* The limit is the vector ports, and what is not vpdpbusd counts. So the integer accumulators begin at MAGIC
 * = 1.5 * 2^23 (as bits of a float) minus the numbers' offset: after the products their bits *are* the float
 * MAGIC + dot, and fma(that, x_scale, -MAGIC * x_scale) is dot * x_scale, rounded once, without a conversion
 * (quantize.h sees to it that the last operand is exact). */
#include "kernel/x86/tile_avx512.h"

enum {
    TILE_ROWS = 6,    /* rows of a register tile */
    TILE_GROUPS = 16, /* groups decoded at once: two panels of them fit a 32 KB cache beside the rows */
};

static const float MAGIC = 0x1.8p23f;
static const int MAGIC_BITS = 0x4b400000;

/* ---- what a tile needs of a row, made once for up to TILE_GROUPS groups ---- */

/* Of one plane. */
struct tile_row {
    float correction[TILE_GROUPS]; /* -MAGIC * x_scale */
    int32_t start[2][TILE_GROUPS]; /* MAGIC_BITS - offset * sum of codes, for each share; if there is one */
};

PANEL_INLINE void prepare_row(unsigned n_shares, bool has_minimum, int offset,
                              const struct activation_plane *plane, size_t at, size_t n,
                              struct tile_row *out) {
    __m512 scale = _mm512_maskz_loadu_ps(lanes_of(n), plane->scale + at);
    _mm512_storeu_ps(out->correction, _mm512_mul_ps(scale, _mm512_set1_ps(-MAGIC)));
    if (has_minimum) return;
    __m512i sum[2];
    load_half_sums(plane, at, n, sum);
    if (n_shares == 1) sum[0] = _mm512_add_epi32(sum[0], sum[1]);
#pragma GCC unroll 2
    for (unsigned share = 0; share < n_shares; share++) {
        __m512i removed = _mm512_mullo_epi32(sum[share], _mm512_set1_epi32(offset));
        _mm512_storeu_si512(out->start[share], _mm512_sub_epi32(_mm512_set1_epi32(MAGIC_BITS), removed));
    }
}

/* ---- a tile ---- */

/* Where a register tile reads and writes: rows of x from `row`, groups from `group`, outputs of two panels.
 */
struct tile_place {
    const struct activations *x;
    size_t row, group, n_groups;
    int offset;
    const struct decoded_group *panel[2];
    const uint8_t *next[2]; /* what is decoded next of both panels, to prefetch; or NULL */
    size_t next_bytes;      /* of it, for each group of this tile */
    float *out;             /* output of the first row and the first panel */
    size_t out_stride;
    __mmask16 mask[2];
    bool is_first; /* group of the row */
};

/* Adds the products of group g of a plane; `first` is the first row's group at which the tile begins. */
PANEL_INLINE void tile_plane(unsigned n_shares, bool has_minimum, unsigned n_rows,
                             const struct activation_plane *plane, size_t first, size_t stride,
                             const struct tile_row *rows, size_t g, const struct decoded_group *a,
                             const struct decoded_group *b, __m512 acc[TILE_ROWS][2]) {
    const unsigned n_lines = PANEL_LINES / n_shares;
    const int8_t *codes = plane->codes + (first + g) * PANEL_GROUP;
    const float *x_scale = plane->scale + first + g;
#pragma GCC unroll 2
    for (unsigned share = 0; share < n_shares; share++) {
        __m512i dot[TILE_ROWS][2];
#pragma GCC unroll 6
        for (unsigned r = 0; r < n_rows; r++)
            dot[r][0] = dot[r][1] = _mm512_set1_epi32(has_minimum ? MAGIC_BITS : rows[r].start[share][g]);
#pragma GCC unroll 8
        for (unsigned i = share * n_lines; i < (share + 1) * n_lines; i++) {
            __m512i line_a = _mm512_load_si512(a->numbers[i]), line_b = _mm512_load_si512(b->numbers[i]);
#pragma GCC unroll 6
            for (unsigned r = 0; r < n_rows; r++) {
                __m512i four = broadcast4(codes + r * stride * PANEL_GROUP + 4 * i);
                dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], line_a, four);
                dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], line_b, four);
            }
        }
        __m512 scale_a = _mm512_load_ps(a->scale[share]), scale_b = _mm512_load_ps(b->scale[share]);
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

PANEL_INLINE void prefetch_next(const struct tile_place *place, size_t g) {
    if (place->next[0] == NULL) return;
    for (size_t at = 0; at < place->next_bytes; at += 64) {
        _mm_prefetch((const char *)place->next[0] + g * place->next_bytes + at, _MM_HINT_T0);
        _mm_prefetch((const char *)place->next[1] + g * place->next_bytes + at, _MM_HINT_T0);
    }
}

PANEL_INLINE void tile(unsigned n_shares, bool has_minimum, unsigned n_rows, const struct tile_place *place) {
    const struct activations *x = place->x;
    const size_t stride = x->n_groups, first = place->row * stride + place->group, n_groups = place->n_groups;
    const struct activation_plane *coarse = &x->planes[PLANE_COARSE], *fine = &x->planes[PLANE_FINE];
    const struct decoded_group *a = place->panel[0], *b = place->panel[1];
    struct tile_row coarse_rows[TILE_ROWS], fine_rows[TILE_ROWS];
    float sums[TILE_ROWS][2][TILE_GROUPS];
    __m512 acc[TILE_ROWS][2];
    unsigned is_fine = fine_groups_avx512(x, n_rows, first, n_groups);
#pragma GCC unroll 6
    for (unsigned r = 0; r < n_rows; r++) {
        size_t at = first + r * stride;
        prepare_row(n_shares, has_minimum, place->offset, coarse, at, n_groups, &coarse_rows[r]);
        if (is_fine != 0)
            prepare_row(n_shares, has_minimum, place->offset, fine, at, n_groups, &fine_rows[r]);
        if (has_minimum) {
            __m512 x_sums[2];
            load_sums(n_shares, x, at, n_groups, x_sums);
#pragma GCC unroll 2
            for (unsigned share = 0; share < n_shares; share++)
                _mm512_storeu_ps(sums[r][share], x_sums[share]);
        }
        const float *out = place->out + r * place->out_stride;
        acc[r][0] = place->is_first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(place->mask[0], out);
        acc[r][1] =
            place->is_first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(place->mask[1], out + PANEL_ROWS);
        __builtin_prefetch(out, 1);
        __builtin_prefetch(out + PANEL_ROWS, 1);
    }
    for (size_t g = 0; g < n_groups; g++, a++, b++, is_fine >>= 1) {
        prefetch_next(place, g);
        tile_plane(n_shares, has_minimum, n_rows, coarse, first, stride, coarse_rows, g, a, b, acc);
        if (is_fine & 1)
            tile_plane(n_shares, has_minimum, n_rows, fine, first, stride, fine_rows, g, a, b, acc);
        if (!has_minimum) continue;
#pragma GCC unroll 2
        for (unsigned share = 0; share < n_shares; share++) {
            __m512 minimum_a = _mm512_load_ps(a->minimum[share]),
                   minimum_b = _mm512_load_ps(b->minimum[share]);
#pragma GCC unroll 6
            for (unsigned r = 0; r < n_rows; r++) {
                __m512 sum = _mm512_set1_ps(sums[r][share][g]);
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

PANEL_INLINE void tile_of(unsigned n_shares, bool has_minimum, size_t n_rows,
                          const struct tile_place *place) {
    switch (n_rows) {
    case 1: tile(n_shares, has_minimum, 1, place); break;
    case 2: tile(n_shares, has_minimum, 2, place); break;
    case 3: tile(n_shares, has_minimum, 3, place); break;
    case 4: tile(n_shares, has_minimum, 4, place); break;
    case 5: tile(n_shares, has_minimum, 5, place); break;
    case 6: tile(n_shares, has_minimum, 6, place); break;
    default: __builtin_unreachable();
    }
}

static void run_tile(const struct tile_format *format, size_t n_rows, const struct tile_place *place) {
    if (format->n_shares == 1 && !format->has_minimum)
        tile_of(1, false, n_rows, place);
    else if (format->n_shares == 1)
        tile_of(1, true, n_rows, place);
    else if (!format->has_minimum)
        tile_of(2, false, n_rows, place);
    else
        tile_of(2, true, n_rows, place);
}

void tile_panels_avx512(const struct tile_format *format, const struct panel_matrix *w, size_t begin,
                        size_t end, const struct activations *x, size_t row_begin, size_t row_end, float *out,
                        size_t out_stride) {
    struct decoded_group scratch[2][TILE_GROUPS];
    const size_t n_rows = row_end - row_begin, n_tiles = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t n_chunks = (x->n_groups + TILE_GROUPS - 1) / TILE_GROUPS;
    const size_t group_bytes = w->panel_bytes / x->n_groups; /* about: of a chunk it is near enough */
    for (size_t p = begin; p < end; p += 2) {
        const uint8_t *panel = w->data + p * w->panel_bytes;
        size_t other = p + 1 < end ? w->panel_bytes : 0; /* an odd last panel is its own partner, unstored */
        for (size_t chunk = 0; chunk < n_chunks; chunk++) {
            size_t group = x->n_groups * chunk / n_chunks, n = x->n_groups * (chunk + 1) / n_chunks - group;
            format->decode(panel, group, n, scratch[0]);
            format->decode(panel + other, group, n, scratch[1]);
            const uint8_t *next =
                chunk + 1 < n_chunks ? panel + (group + n) * group_bytes : panel + 2 * w->panel_bytes;
            for (size_t t = 0; t < n_tiles; t++) {
                size_t row = row_begin + n_rows * t / n_tiles,
                       row_after = row_begin + n_rows * (t + 1) / n_tiles;
                struct tile_place place = {
                    .x = x,
                    .row = row,
                    .group = group,
                    .n_groups = n,
                    .offset = format->offset,
                    .panel = {scratch[0], scratch[1]},
                    .next = {t == 0 ? next : NULL, next + w->panel_bytes},
                    .next_bytes = group_bytes,
                    .out = out + row * out_stride + p * PANEL_ROWS,
                    .out_stride = out_stride,
                    .mask = {panel_lanes(w, p), p + 1 < end ? panel_lanes(w, p + 1) : 0},
                    .is_first = chunk == 0,
                };
                run_tile(format, row_after - row, &place);
            }
        }
    }
}
