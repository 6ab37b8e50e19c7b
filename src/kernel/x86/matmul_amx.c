/* A group of a BF16 panel is a tile as it lies there: 16 lines, each with two inputs of 16 outputs; so is a
 * group of 16 rows of activations. Tiles 0 to 3 add up outputs: of two panels and up to 32 rows, where a tile
 * that was read serves two products, or of up to four panels and up to 16 rows, where memory is the limit and
 * more streams hide more of its latency. Both are the same sequence for each output. */
#include "kernel/x86/matmul_amx.h"

#include "kernel/panel_layout.h"

enum { WIDE_ROWS = 2 * TILE_LINES, STREAM_PANELS = 4, PREFETCH_BYTES = 2 * TILE_BYTES };

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

PANEL_INLINE void prefetch_tile(const uint8_t *tile) {
#pragma GCC unroll 16
    for (int line = 0; line < TILE_LINES; line++)
        _mm_prefetch((const char *)tile + line * TILE_LINE_BYTES, _MM_HINT_T0);
}

/* Up to 16 rows with one panel, or with STREAM_PANELS that all exist. */
PANEL_INLINE void multiply_narrow(const struct place *place, size_t panel, unsigned n_panels) {
    const size_t panel_bytes = place->w->panel_bytes, stride = place->input_bytes;
    const uint8_t *weights = panel_at(place, panel);
    const bf16_bits *inputs = place->inputs;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t g = 0; g < place->n_groups; g++, weights += TILE_BYTES, inputs += PANEL_GROUP) {
        /* past a panel's end: the beginning of the panel that its place in the loop takes next */
        bool is_near_end = (g + 1) * TILE_BYTES + PREFETCH_BYTES > panel_bytes;
        size_t ahead = PREFETCH_BYTES + (is_near_end ? (n_panels - 1) * panel_bytes : 0);
#pragma GCC unroll 4
        for (unsigned i = 0; i < n_panels; i++) prefetch_tile(weights + i * panel_bytes + ahead);
        _tile_loadd(4, inputs, stride);
        _tile_loadd(5, weights, TILE_LINE_BYTES);
        _tile_dpbf16ps(0, 4, 5);
        if (n_panels == 1) continue;
        _tile_loadd(6, weights + panel_bytes, TILE_LINE_BYTES);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(7, weights + 2 * panel_bytes, TILE_LINE_BYTES);
        _tile_dpbf16ps(2, 4, 7);
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
    for (; begin + STREAM_PANELS <= end; begin += STREAM_PANELS) multiply_narrow(place, begin, STREAM_PANELS);
    for (; begin < end; begin++) multiply_narrow(place, begin, 1);
}

/* 17 to 32 rows with two panels; an odd last panel is its own partner, unstored. */
PANEL_INLINE void multiply_wide(const struct place *place, size_t panel, bool has_other) {
    const size_t stride = place->input_bytes, n_second = place->n_rows - TILE_LINES;
    const uint8_t *a = panel_at(place, panel), *b = has_other ? panel_at(place, panel + 1) : a;
    const bf16_bits *first = place->inputs, *second = first + TILE_LINES * place->n_groups * PANEL_GROUP;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
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
        if (place.n_rows <= TILE_LINES)
            narrow_panels(&place, panel_begin, panel_end);
        else
            wide_panels(&place, panel_begin, panel_end);
    }
    _tile_release();
}
