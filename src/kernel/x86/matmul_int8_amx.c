/* Products of quantised panels with AMX: `tdpbssd` multiplies 16 rows with a group of 16 outputs at once, as
 * exact integers; what is done to them in f32 is the sequence of kernel/panel.h. Sums go from tiles to
 * vectors through the first-level cache, in bursts: a tile that is read back at once stalls.
 *
 * Numbers lose their offset when they are decoded, so that they are signed and no sum of codes is needed. */
#include "kernel/x86/decode_avx512.h"
#include "kernel/x86/matmul_amx.h"
#include "kernel/x86/matmul_avx512.h"

enum {
    CHUNK_GROUPS = 16, /* groups decoded at once */
    SIDE_PANELS = 2,   /* panels decoded at once: what rows bring is loaded once for them */
    BURST = 16,        /* products before their vector work */
    FEWER_ROWS = 48,   /* below this many rows AVX-512 is as fast or faster */
    PRODUCT_INTS = TILE_LINES * PANEL_ROWS,
    MOST_PRODUCTS = CHUNK_GROUPS * PLANE_COUNT * 2,
};

/* What up to 16 rows bring to a chunk of groups. */
struct tile_rows {
    size_t n_rows;
    const int8_t *codes[PLANE_COUNT]; /* of the first row */
    size_t stride;                    /* bytes between rows of codes */
    unsigned is_fine;                 /* groups in which any of the rows has a fine plane, as bits */
    float scale[PLANE_COUNT][TILE_LINES][CHUNK_GROUPS];
    float sum[2][TILE_LINES][CHUNK_GROUPS]; /* x_sum of each share */
};

/* A product of 16 rows with a share of a group, and what becomes of it. */
struct product {
    const int8_t *codes;
    const uint8_t *numbers;
    const float *x_scale, *w_scale;     /* of the first row; of the first output */
    const struct decoded_group *closes; /* the group whose last product this is, or NULL */
    size_t group;
};

/* Rows that do not exist are copies of the last. */
PANEL_INLINE void load_rows(unsigned n_shares, bool has_minimum, const struct activations *x, size_t row,
                            size_t n_rows, size_t group, size_t n_groups, struct tile_rows *out) {
    const size_t first = row * x->n_groups + group;
    const __mmask16 exists = lanes_of(n_groups);
    out->n_rows = n_rows;
    out->stride = x->n_groups * PANEL_GROUP;
    out->is_fine = fine_groups_avx512(x, n_rows, first, n_groups);
    for (int p = 0; p < PLANE_COUNT; p++) out->codes[p] = x->planes[p].codes + first * PANEL_GROUP;
    for (size_t r = 0; r < TILE_LINES; r++) {
        const size_t at = first + (r < n_rows ? r : n_rows - 1) * x->n_groups;
        for (int p = 0; p < PLANE_COUNT; p++)
            if (p == PLANE_COARSE || out->is_fine != 0)
                _mm512_storeu_ps(out->scale[p][r], _mm512_maskz_loadu_ps(exists, x->planes[p].scale + at));
        if (!has_minimum) continue;
        __m512 sums[2];
        load_sums(n_shares, x, at, n_groups, sums);
#pragma GCC unroll 2
        for (unsigned share = 0; share < n_shares; share++) _mm512_storeu_ps(out->sum[share][r], sums[share]);
    }
}

/* Lists the products of a panel with the rows, in the order of kernel/panel.h. */
PANEL_INLINE size_t list_products(unsigned n_shares, const struct tile_rows *rows,
                                  const struct decoded_group *panel, size_t n_groups,
                                  struct product products[MOST_PRODUCTS]) {
    const unsigned n_lines = PANEL_LINES / n_shares;
    size_t n = 0;
    for (size_t g = 0; g < n_groups; g++) {
        for (unsigned p = 0; p < 1 + (rows->is_fine >> g & 1); p++)
            for (unsigned share = 0; share < n_shares; share++)
                products[n++] =
                    (struct product){.codes = rows->codes[p] + g * PANEL_GROUP + share * n_lines * 4,
                                     .numbers = panel[g].numbers[share * n_lines],
                                     .x_scale = &rows->scale[p][0][g],
                                     .w_scale = panel[g].scale[share]};
        products[n - 1].closes = &panel[g];
        products[n - 1].group = g;
    }
    return n;
}

/* dots[i] = the sums of product i (16 rows, 16 outputs). Four tiles in turn, so that they overlap. */
static inline void multiply_tiles(const struct product *products, size_t n, size_t stride,
                                  int32_t dots[][PRODUCT_INTS]) {
#define MULTIPLY(sum, left, right, i)                                                                        \
    do {                                                                                                     \
        _tile_loadd(left, products[i].codes, stride);                                                        \
        _tile_loadd(right, products[i].numbers, PANEL_LINE);                                                 \
        _tile_zero(sum);                                                                                     \
        _tile_dpbssd(sum, left, right);                                                                      \
        _tile_stored(sum, dots[i], PANEL_LINE);                                                              \
    } while (0)
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        MULTIPLY(0, 4, 6, i);
        MULTIPLY(1, 5, 7, i + 1);
        MULTIPLY(2, 4, 6, i + 2);
        MULTIPLY(3, 5, 7, i + 3);
    }
    for (; i < n; i++) MULTIPLY(0, 4, 6, i);
#undef MULTIPLY
}

/* acc[r] = fma((float)dots[r] * x_scale[r], w_scale, acc[r]), and a group's minima behind its last product.
 */
PANEL_INLINE void add_product(unsigned n_shares, bool has_minimum, const struct product *product,
                              const int32_t *dots, const struct tile_rows *rows, __m512 acc[TILE_LINES]) {
    const __m512 w_scale = _mm512_load_ps(product->w_scale);
#pragma GCC unroll 16
    for (unsigned r = 0; r < TILE_LINES; r++) {
        __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots + r * PANEL_ROWS));
        __m512 scaled = _mm512_mul_ps(dot, _mm512_set1_ps(product->x_scale[r * CHUNK_GROUPS]));
        acc[r] = _mm512_fmadd_ps(scaled, w_scale, acc[r]);
    }
    if (!has_minimum || product->closes == NULL) return;
#pragma GCC unroll 2
    for (unsigned share = 0; share < n_shares; share++) {
        const __m512 minimum = _mm512_load_ps(product->closes->minimum[share]);
        const float *sum = &rows->sum[share][0][product->group];
#pragma GCC unroll 16
        for (unsigned r = 0; r < TILE_LINES; r++)
            acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(sum[r * CHUNK_GROUPS]), minimum, acc[r]);
    }
}

/* Where a panel's outputs of a tile of rows go. */
struct tile_outputs {
    float *out; /* of the first row */
    size_t stride;
    __mmask16 mask;
    bool begin; /* from 0: these are the first groups */
};

/* Multiplies the rows with n_groups groups of a panel and adds that to the outputs, or begins them. */
PANEL_INLINE void multiply_panel(unsigned n_shares, bool has_minimum, const struct tile_rows *rows,
                                 const struct decoded_group *panel, size_t n_groups,
                                 const struct tile_outputs *to) {
    _Alignas(64) int32_t dots[BURST][PRODUCT_INTS];
    struct product products[MOST_PRODUCTS];
    const size_t n = list_products(n_shares, rows, panel, n_groups, products);
    __m512 acc[TILE_LINES];
#pragma GCC unroll 16
    for (unsigned r = 0; r < TILE_LINES; r++)
        acc[r] =
            _mm512_maskz_loadu_ps(to->begin || r >= rows->n_rows ? 0 : to->mask, to->out + r * to->stride);
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = begin + BURST < n ? begin + BURST : n;
        multiply_tiles(products + begin, end - begin, rows->stride, dots);
        for (size_t i = begin; i < end; i++)
            add_product(n_shares, has_minimum, &products[i], dots[i - begin], rows, acc);
    }
#pragma GCC unroll 16
    for (unsigned r = 0; r < TILE_LINES; r++)
        _mm512_mask_storeu_ps(to->out + r * to->stride, r < rows->n_rows ? to->mask : 0, acc[r]);
}

/* One for every kind of type. */
typedef void multiply_function(const struct tile_rows *rows, const struct decoded_group *panel,
                               size_t n_groups, const struct tile_outputs *to);
#define DEFINE_MULTIPLY(n_shares, has_minimum)                                                               \
    static void multiply_##n_shares##_##has_minimum(const struct tile_rows *rows,                            \
                                                    const struct decoded_group *panel, size_t n_groups,      \
                                                    const struct tile_outputs *to) {                         \
        multiply_panel(n_shares, has_minimum, rows, panel, n_groups, to);                                    \
    }                                                                                                        \
    static multiply_function multiply_##n_shares##_##has_minimum
DEFINE_MULTIPLY(1, 0);
DEFINE_MULTIPLY(1, 1);
DEFINE_MULTIPLY(2, 0);
DEFINE_MULTIPLY(2, 1);
static multiply_function *const multiply[2][2] = {{multiply_1_0, multiply_1_1}, {multiply_2_0, multiply_2_1}};

/* Tiles of n rows and of a share of a group. */
static void load_shapes(unsigned n_shares, size_t n_rows) {
    struct tile_shapes shapes = {.palette = 1};
    const uint16_t k_bytes = (uint16_t)(PANEL_GROUP / n_shares);
    for (int i = 0; i < TILE_COUNT; i++) {
        bool is_codes = i == 4 || i == 5, is_numbers = i == 6 || i == 7;
        shapes.row_bytes[i] = is_codes ? k_bytes : TILE_LINE_BYTES;
        shapes.n_rows[i] = (uint8_t)(is_numbers ? k_bytes / 4 : n_rows);
    }
    tile_shapes_use(&shapes);
}

static void prefetch_panel(const uint8_t *panel, size_t from, size_t to) {
    for (; from < to; from += PANEL_LINE) _mm_prefetch((const char *)panel + from, _MM_HINT_T1);
}

PANEL_INLINE void tile_panels(enum weight_type type, const struct panel_matrix *w, size_t begin, size_t end,
                              const struct activations *x, size_t row_begin, size_t row_end, float *out,
                              size_t out_stride) {
    const struct weight_traits traits = weight_traits_of(type);
    struct decoded_group scratch[SIDE_PANELS][CHUNK_GROUPS];
    const size_t n_rows = row_end - row_begin, n_tiles = (n_rows + TILE_LINES - 1) / TILE_LINES;
    const size_t n_chunks = (x->n_groups + CHUNK_GROUPS - 1) / CHUNK_GROUPS;
    size_t n_shaped = 0, n_panels;
    for (size_t p = begin; p < end; p += n_panels) {
        n_panels = end - p < SIDE_PANELS ? end - p : SIDE_PANELS;
        for (size_t chunk = 0; chunk < n_chunks; chunk++) {
            size_t group = x->n_groups * chunk / n_chunks, n = x->n_groups * (chunk + 1) / n_chunks - group;
            for (size_t i = 0; i < n_panels; i++) {
                const uint8_t *panel = w->data + (p + i) * w->panel_bytes;
                decode_groups(type, traits.offset, panel, group, n, scratch[i]);
                prefetch_panel(panel + SIDE_PANELS * w->panel_bytes, panel_common_at(type, group),
                               panel_group_at(type, group + n));
            }
            for (size_t t = 0; t < n_tiles; t++) {
                size_t row = n_rows * t / n_tiles, n_here = n_rows * (t + 1) / n_tiles - row;
                if (n_here != n_shaped) load_shapes(traits.n_shares, n_shaped = n_here);
                struct tile_rows rows;
                row += row_begin;
                load_rows(traits.n_shares, traits.has_minimum, x, row, n_here, group, n, &rows);
                for (size_t i = 0; i < n_panels; i++) {
                    const struct tile_outputs to = {.out = out + row * out_stride + (p + i) * PANEL_ROWS,
                                                    .stride = out_stride,
                                                    .mask = panel_lanes(w, p + i),
                                                    .begin = chunk == 0};
                    multiply[traits.n_shares - 1][traits.has_minimum](&rows, scratch[i], n, &to);
                }
            }
        }
    }
    _tile_release();
}

#define X(type, number, elements, bytes)                                                                     \
    void matmul_##type##_amx(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,             \
                             const struct activations *x, size_t row_begin, size_t row_end, float *out,      \
                             size_t out_stride) {                                                            \
        if (row_end - row_begin < FEWER_ROWS)                                                                \
            matmul_##type##_avx512(w, panel_begin, panel_end, x, row_begin, row_end, out, out_stride);       \
        else                                                                                                 \
            tile_panels(WEIGHT_##type, w, panel_begin, panel_end, x, row_begin, row_end, out, out_stride);   \
    }
WEIGHT_QUANTISED_LIST(X)
#undef X
