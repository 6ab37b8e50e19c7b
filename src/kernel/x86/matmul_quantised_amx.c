/* Products of quantised panels: groups become BF16 tiles (decode_amx.h), which are multiplied as those of
 * BF16 panels are. Up to 32 rows meet a group as soon as it is decoded, some groups later, so that decoding
 * and products overlap; more rows meet many groups of two panels that were decoded before. Both give the same
 * bits. */
#include "kernel/x86/decode_amx.h"

enum {
    WIDE_ROWS = 2 * TILE_LINES,
    TILE_NUMBERS = TILE_LINES * PANEL_GROUP,
    AHEAD = 4, /* groups that are decoded before they are multiplied: tiles wait for what was just stored */
    RING = 8,  /* groups that are kept */
    CHUNK_GROUPS = 20, /* groups at most that many rows meet together: those of two panels stay in the
                          first-level cache */
    SIDE_PANELS = 2,
    PREFETCH_BYTES = 2048,
};

/* Rows, and where they and their outputs are. */
struct place {
    const struct panel_matrix *w;
    const struct activations *x;
    size_t row, n_rows;
    float *out; /* of row 0 */
    size_t out_stride;
    float factor;
};

PANEL_INLINE const bf16_bits *inputs_of(const struct place *place, size_t row, size_t g) {
    return place->x->raised + panel_raised_at(place->x->n_groups, row, g);
}

/* Stores lines of a tile, times the factor, as outputs of the rows from `row` on. */
static void store_lines(const struct place *place, float lines[TILE_LINES][PANEL_ROWS], size_t row,
                        size_t n_lines, size_t panel) {
    const __mmask16 exists = panel_lanes(place->w, panel);
    const __m512 factor = _mm512_set1_ps(place->factor);
    float *to = place->out + row * place->out_stride + panel * PANEL_ROWS;
    for (size_t line = 0; line < n_lines; line++, to += place->out_stride)
        _mm512_mask_storeu_ps(to, exists, _mm512_mul_ps(_mm512_load_ps(lines[line]), factor));
}

/* How many of the place's rows, 32 at most, are in the first and in the second tile of rows. */
static void count_lines(size_t n_rows, size_t n_lines[2]) {
    n_lines[0] = n_rows < TILE_LINES ? n_rows : TILE_LINES;
    n_lines[1] = n_rows - n_lines[0];
}

/* Shapes for n_rows, 32 at most. Where there is no second tile of rows, it is as the first. */
static void load_row_shapes(size_t n_rows) {
    size_t n_lines[2];
    count_lines(n_rows, n_lines);
    const uint8_t all = TILE_LINES, first = (uint8_t)n_lines[0],
                  second = (uint8_t)(n_lines[1] == 0 ? n_lines[0] : n_lines[1]);
    tile_shapes_load((uint8_t[TILE_COUNT]){first, first, second, second, first, second, all, all});
}

/* Outputs of the place's rows, 32 at most: tile 2 i + j has the sums of its rows from 16 i on with panel j.
 */
static void store_sums(const struct place *place, size_t panel, size_t n_panels) {
    _Alignas(64) float lines[4][TILE_LINES][PANEL_ROWS];
    size_t n_lines[2];
    count_lines(place->n_rows, n_lines);
    _tile_stored(0, lines[0], sizeof **lines);
    _tile_stored(1, lines[1], sizeof **lines);
    if (n_lines[1] > 0) {
        _tile_stored(2, lines[2], sizeof **lines);
        _tile_stored(3, lines[3], sizeof **lines);
    }
    MEMORY_BARRIER();
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < n_panels; j++)
            store_lines(place, lines[2 * i + j], place->row + i * TILE_LINES, n_lines[i], panel + j);
}

void raise_row_amx(struct activations *x, size_t row) {
    const float *from = x->f32 + row * x->n_cols;
    bf16_bits *to = x->raised + panel_raised_at(x->n_groups, row, 0);
    const __m512 raise = _mm512_set1_ps(1 << PANEL_RAISE);
    uint16_t lanes[PANEL_GROUP];
    for (int i = 0; i < PANEL_GROUP; i++) lanes[i] = (uint16_t)panel_raised_place((size_t)i);
    const __m512i order = _mm512_loadu_si512(lanes);
    for (size_t k = 0; k < x->n_groups * PANEL_GROUP; k += PANEL_GROUP, to += TILE_BYTES / sizeof *to) {
        const size_t left = x->n_cols - k; /* at least 1 */
        __m512 low = _mm512_maskz_loadu_ps(lanes_of(left), from + k);
        __m512 high =
            left <= 16 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(lanes_of(left - 16), from + k + 16);
        low = _mm512_mul_ps(low, raise), high = _mm512_mul_ps(high, raise);
        __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, rounded));
    }
}

/* ---- up to 32 rows ---- */

/* One tile of two panels in turn, so that a product need not wait for the sum of the one before it: tiles 0
 * and 1 have the first 16 rows' sums, 2 and 3 the others'. */
struct stream {
    const uint8_t *panels[SIDE_PANELS];
    size_t n_groups, n_panels, panel_bytes;
    const bf16_bits *first, *second; /* of group 0; second is NULL if there are no such rows */
};

/* Past a panel's end it asks for the panel that will take its place, behind the other one. */
PANEL_INLINE void decode_ahead(enum weight_type type, const struct tile_decoder *decoder,
                               const uint8_t *panel, size_t panel_bytes, size_t g, uint8_t tile[TILE_BYTES]) {
    const size_t at = panel_group_at(type, g) + PREFETCH_BYTES;
    const uint8_t *ahead = panel + at + (at < panel_bytes ? 0 : (SIDE_PANELS - 1) * panel_bytes);
    for (size_t line = 0; line < panel_group_bytes(type); line += PANEL_LINE)
        _mm_prefetch((const char *)ahead + line, _MM_HINT_T0);
    tile_decode(type, decoder, panel, g, tile);
}

PANEL_INLINE void multiply_stream(enum weight_type type, const struct tile_decoder *decoder,
                                  const struct stream *stream) {
    _Alignas(64) uint8_t ring[RING][SIDE_PANELS][TILE_BYTES];
    const bool has_other = stream->n_panels > 1;
    const uint8_t *a = stream->panels[0], *b = stream->panels[1];
    const size_t n = stream->n_groups;
    clear_tiles();
    for (size_t g = 0; g < n + AHEAD; g++) {
        if (g < n) {
            decode_ahead(type, decoder, a, stream->panel_bytes, g, ring[g % RING][0]);
            if (has_other) decode_ahead(type, decoder, b, stream->panel_bytes, g, ring[g % RING][1]);
        }
        if (g < AHEAD) continue;
        MEMORY_BARRIER();
        const size_t done = g - AHEAD;
        _tile_loadd(4, stream->first + done * TILE_NUMBERS, TILE_LINE_BYTES);
        _tile_loadd(6, ring[done % RING][0], TILE_LINE_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        if (has_other) {
            _tile_loadd(7, ring[done % RING][1], TILE_LINE_BYTES);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (stream->second == NULL) continue;
        _tile_loadd(5, stream->second + done * TILE_NUMBERS, TILE_LINE_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        if (has_other) _tile_dpbf16ps(3, 5, 7);
    }
}

PANEL_INLINE void few_panels(enum weight_type type, const struct place *place, size_t begin, size_t end) {
    const struct panel_matrix *w = place->w;
    const struct tile_decoder decoder = tile_decoder_of(type, tile_exponent(type, w->largest));
    const bool has_second = place->n_rows > TILE_LINES;
    struct stream stream = {.n_groups = place->x->n_groups,
                            .panel_bytes = w->panel_bytes,
                            .first = inputs_of(place, place->row, 0),
                            .second = has_second ? inputs_of(place, place->row + TILE_LINES, 0) : NULL};
    load_row_shapes(place->n_rows);
    for (size_t panel = begin; panel < end; panel += stream.n_panels) {
        stream.n_panels = end - panel < SIDE_PANELS ? end - panel : SIDE_PANELS;
        stream.panels[0] = w->data + panel * w->panel_bytes;
        stream.panels[1] = stream.panels[0] + w->panel_bytes;
        multiply_stream(type, &decoder, &stream);
        store_sums(place, panel, stream.n_panels);
    }
}

/* ---- more rows ---- */

/* Some groups of one or two panels, decoded. */
struct decoded_panels {
    _Alignas(64) uint8_t tiles[SIDE_PANELS][CHUNK_GROUPS][TILE_BYTES];
    size_t first_panel, n_panels, first_group, n_groups;
};

/* Sums that are not whole yet wait in the outputs, without the factor. */
static void load_lines(const struct place *place, float lines[TILE_LINES][PANEL_ROWS], size_t row,
                       size_t n_lines, size_t panel) {
    const __mmask16 exists = panel_lanes(place->w, panel);
    const float *from = place->out + row * place->out_stride + panel * PANEL_ROWS;
    for (size_t line = 0; line < n_lines; line++, from += place->out_stride)
        _mm512_store_ps(lines[line], _mm512_maskz_loadu_ps(exists, from));
}

/* Tile 2 i + j has the sums of rows 16 i to 16 i + 15 with panel j. An absent one is a copy of its neighbour,
 * and not stored. */
static void multiply_block(const struct place *place, const struct decoded_panels *panels) {
    _Alignas(64) float lines[4][TILE_LINES][PANEL_ROWS];
    size_t n_lines[2];
    count_lines(place->n_rows, n_lines);
    const bf16_bits *first = inputs_of(place, place->row, panels->first_group);
    const bf16_bits *second = n_lines[1] == 0 ? first : first + place->x->n_groups * TILE_NUMBERS;
    const uint8_t *a = panels->tiles[0][0], *b = panels->n_panels > 1 ? panels->tiles[1][0] : a;
    if (panels->first_group == 0) {
        clear_tiles();
    } else {
        for (size_t i = 0; i < 2; i++)
            for (size_t j = 0; j < panels->n_panels; j++)
                load_lines(place, lines[2 * i + j], place->row + i * TILE_LINES, n_lines[i],
                           panels->first_panel + j);
        MEMORY_BARRIER();
        _tile_loadd(0, lines[0], sizeof **lines);
        _tile_loadd(1, lines[1], sizeof **lines);
        _tile_loadd(2, lines[2], sizeof **lines);
        _tile_loadd(3, lines[3], sizeof **lines);
    }
    for (size_t g = 0; g < panels->n_groups; g++, a += TILE_BYTES, b += TILE_BYTES) {
        _tile_stream_loadd(4, first + g * TILE_NUMBERS, TILE_LINE_BYTES);
        _tile_loadd(6, a, TILE_LINE_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b, TILE_LINE_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_stream_loadd(5, second + g * TILE_NUMBERS, TILE_LINE_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    store_sums(place, panels->first_panel, panels->n_panels);
}

/* All rows of `place` with the decoded groups. */
static void multiply_blocks(const struct place *place, const struct decoded_panels *panels) {
    struct place block = *place;
    const size_t end = place->row + place->n_rows;
    bool ends = panels->first_group + panels->n_groups == place->x->n_groups;
    size_t n_shaped = 0;
    if (!ends) block.factor = 1;
    for (; block.row < end; block.row += block.n_rows) {
        block.n_rows = end - block.row < WIDE_ROWS ? end - block.row : WIDE_ROWS;
        if (block.n_rows != n_shaped) load_row_shapes(n_shaped = block.n_rows);
        multiply_block(&block, panels);
    }
}

/* What is decoded next, into the second-level cache while these groups are multiplied. */
static void prefetch_panel(const uint8_t *panel, size_t from, size_t to) {
    for (; from < to; from += PANEL_LINE) _mm_prefetch((const char *)panel + from, _MM_HINT_T1);
}

PANEL_INLINE void many_panels(enum weight_type type, const struct place *place, size_t begin, size_t end) {
    const struct panel_matrix *w = place->w;
    const struct tile_decoder decoder = tile_decoder_of(type, tile_exponent(type, w->largest));
    const size_t n_groups = place->x->n_groups;
    struct decoded_panels panels;
    load_row_shapes(WIDE_ROWS);
    for (panels.first_panel = begin; panels.first_panel < end; panels.first_panel += panels.n_panels) {
        panels.n_panels = end - panels.first_panel < SIDE_PANELS ? end - panels.first_panel : SIDE_PANELS;
        for (panels.first_group = 0; panels.first_group < n_groups; panels.first_group += panels.n_groups) {
            const size_t left = n_groups - panels.first_group;
            panels.n_groups = left / ((left + CHUNK_GROUPS - 1) / CHUNK_GROUPS);
            for (size_t i = 0; i < panels.n_panels; i++) {
                const uint8_t *panel = w->data + (panels.first_panel + i) * w->panel_bytes;
                for (size_t g = 0; g < panels.n_groups; g++) {
                    /* Half a microsecond without a product sends the tile unit to sleep; this one nobody
                     * reads. */
                    if (g % 8 == 0) _tile_dpbf16ps(0, 4, 6);
                    tile_decode(type, &decoder, panel, panels.first_group + g, panels.tiles[i][g]);
                }
                prefetch_panel(panel + SIDE_PANELS * w->panel_bytes,
                               panel_common_at(type, panels.first_group),
                               panel_group_at(type, panels.first_group + panels.n_groups));
            }
            multiply_blocks(place, &panels);
        }
    }
}

/* Rows from `row` on that are computed together: all, unless they begin within a tile of inputs. */
static size_t rows_together(size_t row, size_t end) {
    const size_t border = (row / TILE_LINES + 1) * TILE_LINES;
    return row % TILE_LINES == 0 || border > end ? end - row : border - row;
}

#define X(type, number, elements, bytes)                                                                     \
    void matmul_##type##_amx(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,             \
                             const struct activations *x, size_t row_begin, size_t row_end, float *out,      \
                             size_t out_stride) {                                                            \
        struct place place = {.w = w,                                                                        \
                              .x = x,                                                                        \
                              .row = row_begin,                                                              \
                              .out = out,                                                                    \
                              .out_stride = out_stride,                                                      \
                              .factor = tile_factor(tile_exponent(WEIGHT_##type, w->largest), w->largest)};  \
        for (; place.row < row_end; place.row += place.n_rows) {                                             \
            place.n_rows = rows_together(place.row, row_end);                                                \
            if (place.n_rows <= WIDE_ROWS)                                                                   \
                few_panels(WEIGHT_##type, &place, panel_begin, panel_end);                                   \
            else                                                                                             \
                many_panels(WEIGHT_##type, &place, panel_begin, panel_end);                                  \
        }                                                                                                    \
        _tile_release();                                                                                     \
    }
WEIGHT_QUANTISED_LIST(X)
#undef X
