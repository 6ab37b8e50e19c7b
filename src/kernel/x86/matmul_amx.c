/* A group of a BF16 panel is a tile as it lies there: 16 lines, each with two inputs of 16 outputs; so is a
 * group of 16 rows of activations. Tiles 0 to 3 add up outputs: of two panels and up to 32 rows, where a tile
 * that was read serves two products, or of four panels and up to 16 rows. One row alone, for which memory is
 * the limit, goes through AVX-512 in the order that Intel defines for tdpbf16ps (SDM volume 2): it reads 10 %
 * faster without tiles. All three give the same bits. */
#include "kernel/x86/matmul_amx.h"

#include "kernel/x86/panel_avx512.h"

enum { WIDE_ROWS = 2 * TILE_LINES, SIDE_PANELS = 4, PREFETCH_BYTES = TILE_BYTES };

/* Some rows, and where they and their outputs are. */
struct place {
    const struct panel_matrix *w;
    const bf16_bits *inputs;
    size_t n_groups, input_bytes; /* of a row */
    size_t n_rows;
    float *out; /* of the first row and the first output of all */
    size_t out_stride;
};

PANEL_INLINE const uint8_t *panel_at(const struct place *place, size_t panel) {
    return place->w->data + panel * place->w->panel_bytes;
}

/* Stores `tile` (a literal) as n_lines rows of a panel, from the place's row first_line on; only outputs that
 * exist. */
#define STORE(tile, first_line, n_lines, panel_index)                                                        \
    do {                                                                                                     \
        float whole[TILE_LINES][PANEL_ROWS];                                                                 \
        float *to = place->out + (first_line) * place->out_stride + (panel_index) * PANEL_ROWS;              \
        size_t left = place->w->n_rows - (panel_index) * PANEL_ROWS;                                         \
        if (left >= PANEL_ROWS) {                                                                            \
            _tile_stored(tile, to, place->out_stride * sizeof *to);                                          \
            break;                                                                                           \
        }                                                                                                    \
        _tile_stored(tile, whole, sizeof *whole);                                                            \
        for (size_t line = 0; line < (n_lines); line++)                                                      \
            memcpy(to + line * place->out_stride, whole[line], left * sizeof *to);                           \
    } while (0)

/* How far ahead of group g to prefetch: past a panel's end it is the beginning of the panel that its place in
 * the loop takes next. */
PANEL_INLINE size_t ahead_of(const struct place *place, size_t g, unsigned n_panels) {
    bool is_near_end = (g + 1) * TILE_BYTES + PREFETCH_BYTES > place->w->panel_bytes;
    return PREFETCH_BYTES + (is_near_end ? (n_panels - 1) * place->w->panel_bytes : 0);
}

PANEL_INLINE void prefetch_tile(const uint8_t *tile) {
#pragma GCC unroll 16
    for (int line = 0; line < TILE_LINES; line++)
        _mm_prefetch((const char *)tile + line * TILE_LINE_BYTES, _MM_HINT_T0);
}

/* ---- tiles ---- */

/* Up to 16 rows with one panel, or with SIDE_PANELS that all exist. */
PANEL_INLINE void multiply_narrow(const struct place *place, size_t panel, unsigned n_panels) {
    const size_t panel_bytes = place->w->panel_bytes, stride = place->input_bytes;
    const uint8_t *weights = panel_at(place, panel);
    const bf16_bits *inputs = place->inputs;
    clear_tiles();
    for (size_t g = 0; g < place->n_groups; g++, weights += TILE_BYTES, inputs += PANEL_GROUP) {
        const size_t ahead = ahead_of(place, g, n_panels);
        prefetch_tile(weights + ahead);
        _tile_loadd(4, inputs, stride);
        _tile_loadd(5, weights, TILE_LINE_BYTES);
        _tile_dpbf16ps(0, 4, 5);
        if (n_panels == 1) continue;
        prefetch_tile(weights + panel_bytes + ahead);
        _tile_loadd(6, weights + panel_bytes, TILE_LINE_BYTES);
        _tile_dpbf16ps(1, 4, 6);
        prefetch_tile(weights + 2 * panel_bytes + ahead);
        _tile_loadd(7, weights + 2 * panel_bytes, TILE_LINE_BYTES);
        _tile_dpbf16ps(2, 4, 7);
        prefetch_tile(weights + 3 * panel_bytes + ahead);
        _tile_loadd(5, weights + 3 * panel_bytes, TILE_LINE_BYTES);
        _tile_dpbf16ps(3, 4, 5);
    }
    STORE(0, 0, place->n_rows, panel);
    if (n_panels == 1) return;
    STORE(1, 0, place->n_rows, panel + 1);
    STORE(2, 0, place->n_rows, panel + 2);
    STORE(3, 0, place->n_rows, panel + 3);
}

static void narrow_panels(const struct place *place, size_t begin, size_t end) {
    const uint8_t n = (uint8_t)place->n_rows;
    tile_shapes_load((uint8_t[TILE_COUNT]){n, n, n, n, n, TILE_LINES, TILE_LINES, TILE_LINES});
    for (; begin + SIDE_PANELS <= end; begin += SIDE_PANELS) multiply_narrow(place, begin, SIDE_PANELS);
    for (; begin < end; begin++) multiply_narrow(place, begin, 1);
}

/* 17 to 32 rows with two panels; an odd last panel is its own partner, unstored. */
PANEL_INLINE void multiply_wide(const struct place *place, size_t panel, bool has_other) {
    const size_t stride = place->input_bytes, n_second = place->n_rows - TILE_LINES;
    const uint8_t *a = panel_at(place, panel), *b = has_other ? panel_at(place, panel + 1) : a;
    const bf16_bits *first = place->inputs, *second = first + TILE_LINES * place->n_groups * PANEL_GROUP;
    clear_tiles();
    for (size_t g = 0; g < place->n_groups; g++, a += TILE_BYTES, b += TILE_BYTES) {
        _tile_loadd(4, first + g * PANEL_GROUP, stride);
        _tile_loadd(6, a, TILE_LINE_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b, TILE_LINE_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, second + g * PANEL_GROUP, stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    STORE(0, 0, TILE_LINES, panel);
    STORE(2, TILE_LINES, n_second, panel);
    if (!has_other) return;
    STORE(1, 0, TILE_LINES, panel + 1);
    STORE(3, TILE_LINES, n_second, panel + 1);
}

static void wide_panels(const struct place *place, size_t begin, size_t end) {
    const uint8_t n = (uint8_t)(place->n_rows - TILE_LINES), all = TILE_LINES;
    tile_shapes_load((uint8_t[TILE_COUNT]){all, all, n, n, all, n, all, all});
    for (size_t panel = begin; panel < end; panel += 2) multiply_wide(place, panel, panel + 1 < end);
}

/* ---- one row ---- */

/* The first and the second of two BF16 numbers in each lane. */
PANEL_INLINE __m512 even_of(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
PANEL_INLINE __m512 odd_of(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

PANEL_INLINE int pair_at(const bf16_bits *inputs) {
    int pair;
    memcpy(&pair, inputs, sizeof pair);
    return pair;
}

PANEL_INLINE void multiply_row(const struct place *place, size_t panel, unsigned n_panels) {
    const size_t panel_bytes = place->w->panel_bytes;
    const uint8_t *weights = panel_at(place, panel);
    const bf16_bits *inputs = place->inputs;
    __m512 acc[SIDE_PANELS], even[SIDE_PANELS], odd[SIDE_PANELS];
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_panels; i++) acc[i] = _mm512_setzero_ps();
    for (size_t g = 0; g < place->n_groups; g++) {
        size_t ahead = ahead_of(place, g, n_panels);
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_panels; i++) even[i] = odd[i] = _mm512_setzero_ps();
        for (size_t pair = 0; pair < PANEL_PAIRS; pair++, weights += TILE_LINE_BYTES, inputs += 2) {
            __m512i input = _mm512_set1_epi32(pair_at(inputs));
#pragma GCC unroll 4
            for (unsigned i = 0; i < n_panels; i++) {
                const uint8_t *of_panel = weights + i * panel_bytes;
                _mm_prefetch((const char *)of_panel + ahead, _MM_HINT_T0);
                __m512i line = _mm512_loadu_si512(of_panel);
                even[i] = _mm512_fmadd_ps(even_of(line), even_of(input), even[i]);
                odd[i] = _mm512_fmadd_ps(odd_of(line), odd_of(input), odd[i]);
            }
        }
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_panels; i++)
            acc[i] = _mm512_add_ps(acc[i], _mm512_add_ps(even[i], odd[i]));
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < n_panels; i++)
        _mm512_mask_storeu_ps(place->out + (panel + i) * PANEL_ROWS, panel_lanes(place->w, panel + i),
                              acc[i]);
}

static __attribute__((noinline)) void row_panels(const struct place *place, size_t begin, size_t end) {
    for (; begin + SIDE_PANELS <= end; begin += SIDE_PANELS) multiply_row(place, begin, SIDE_PANELS);
    for (; begin < end; begin++) multiply_row(place, begin, 1);
}

/* Tiles take denormal numbers as 0 whatever the thread's mode is. The compiler does not know that the mode
 * matters to arithmetic, therefore the call. */
static void row_panels_without_denormals(const struct place *place, size_t begin, size_t end) {
    enum { DENORMALS_ARE_ZEROS = 1 << 6, FLUSH_TO_ZERO = 1 << 15 };
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | DENORMALS_ARE_ZEROS | FLUSH_TO_ZERO);
    row_panels(place, begin, end);
    _mm_setcsr(mode);
}

void matmul_BF16_amx(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,
                     const struct activations *x, size_t row_begin, size_t row_end, float *out,
                     size_t out_stride) {
    struct place place = {.w = w,
                          .n_groups = x->n_groups,
                          .input_bytes = x->n_groups * PANEL_GROUP * sizeof(bf16_bits),
                          .out_stride = out_stride};
    for (size_t row = row_begin; row < row_end; row += place.n_rows) {
        place.n_rows = row_end - row < WIDE_ROWS ? row_end - row : WIDE_ROWS;
        place.inputs = x->bf16 + row * x->n_groups * PANEL_GROUP;
        place.out = out + row * out_stride;
        if (place.n_rows == 1)
            row_panels_without_denormals(&place, panel_begin, panel_end);
        else if (place.n_rows <= TILE_LINES)
            narrow_panels(&place, panel_begin, panel_end);
        else
            wide_panels(&place, panel_begin, panel_end);
    }
    _tile_release();
}
