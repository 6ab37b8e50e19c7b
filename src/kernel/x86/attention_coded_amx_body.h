/* Attention over coded K and V (codec/coded.h, kernel/attention_coded.h) by AMX, for attention_body.h.
 *
 * An instruction multiplies 16 lines of 64 bytes of factors by 16 lines (quads) of codes of 16 columns. A row
 * has two planes of factors, which lie one after the other (codes_avx512.h), so that 8 rows are 16 lines:
 *
 *   factors                     codes                          sums
 *   row 0 high | 64 bytes |     quad 0  | 16 columns x 4 |     row 0 high | 16 columns |
 *   row 0 low  |          |  x  quad 1  |                |  =  row 0 low  |            |
 *   row 1 high |          |     ...                            row 1 high |            |
 *   ...                         quad 15                        ...
 *
 * K of q8 is read as it lies in its blocks, all else from a copy of a tile's codes as bytes. What the lines
 * of rows that there are not hold does not matter. Sums are integers, hence exact, as everywhere. */

enum {
    TILE_QUERIES = TILE_LINES / 2,
    SUM_TILES =
        4, /* tiles of sums side by side: 0 .. 3; 4 factors, 5 codes; 6 and 7 the same, of what is left */
    SUM_COLUMNS = SUM_TILES * TILE_COLUMNS,
    TILE_KEYS = TILE_LINE_BYTES
};

struct tile_sums {
    _Alignas(64) int32_t sums[TILE_LINES][SUM_COLUMNS];
};

INLINE void store_tiles(struct tile_sums *to) {
    _tile_stored(0, to->sums[0], sizeof to->sums[0]);
    _tile_stored(1, to->sums[0] + TILE_COLUMNS, sizeof to->sums[0]);
    _tile_stored(2, to->sums[0] + 2 * TILE_COLUMNS, sizeof to->sums[0]);
    _tile_stored(3, to->sums[0] + 3 * TILE_COLUMNS, sizeof to->sums[0]);
    MEMORY_BARRIER();
}

/* Column vector v of a row's sums. */
INLINE vec sum_of(bool is_k, const struct tile_sums *sums, unsigned row, unsigned v) {
    const int32_t *high = sums->sums[2 * row] + v * TILE_COLUMNS,
                  *low = sums->sums[2 * row + 1] + v * TILE_COLUMNS;
    return int_to_vec(dots_total(is_k, (struct dots){_mm512_load_si512(high), _mm512_load_si512(low)}));
}

/* Codes of n_quads lines as bytes, line after line. */
INLINE void unpack_lines(enum codec_id codec, const void *area, unsigned n_quads, unsigned n_columns,
                         uint8_t *to) {
    const __m512i table = codec == CODEC_q8 ? int_zero() : level_table(codec, false);
    const struct code_lines lines = lines_at(codec, area, n_quads, n_columns, 0);
    for (unsigned v = 0; v < n_columns / TILE_COLUMNS; v++)
        for (unsigned quad = 0; quad < n_quads; quad += lines_together(codec)) {
            UNROLL for (unsigned j = 0; j < lines_together(codec); j++) {
                _mm512_store_si512(
                    to + (quad + j) * lines.line + (size_t)v * CODES_BYTES,
                    codes_of(codec, false, table, lines.low, lines.high, lines.line, quad, j, v));
            }
        }
}

/* ---- scores ---- */

/* Sums of 8 rows and four tiles of columns, of two blocks. */
INLINE void score_pair(const uint8_t *first, const uint8_t *second, const uint8_t *factors, size_t plane,
                       unsigned head_dim, struct tile_sums *sums) {
    enum { LINE = BLOCK_TOKENS * 4, STEP = TILE_LINES * LINE };
    const unsigned n_steps = head_dim / TILE_LINE_BYTES;
    MEMORY_BARRIER();
    clear_tiles();
    for (unsigned i = 0; i < n_steps; i++, first += STEP, second += STEP, factors += TILE_LINE_BYTES) {
        _tile_loadd(4, factors, plane);
        _tile_loadd(5, first, LINE);
        _tile_dpbssd(0, 4, 5);
        _tile_loadd(5, first + TILE_LINE_BYTES, LINE);
        _tile_dpbssd(1, 4, 5);
        _tile_loadd(5, second, LINE);
        _tile_dpbssd(2, 4, 5);
        _tile_loadd(5, second + TILE_LINE_BYTES, LINE);
        _tile_dpbssd(3, 4, 5);
    }
    if (rest_of(head_dim) > 0) {
        _tile_loadd(6, factors, plane);
        _tile_loadd(7, first, LINE);
        _tile_dpbssd(0, 6, 7);
        _tile_loadd(7, first + TILE_LINE_BYTES, LINE);
        _tile_dpbssd(1, 6, 7);
        _tile_loadd(7, second, LINE);
        _tile_dpbssd(2, 6, 7);
        _tile_loadd(7, second + TILE_LINE_BYTES, LINE);
        _tile_dpbssd(3, 6, 7);
    }
    store_tiles(sums);
}

/* Scores of the blocks' means for 8 rows, one block a column. */
INLINE void score_means(const struct mean_lines *lines, const struct attention_rows *rows, unsigned first,
                        float (*means)[TILE_COLUMNS]) {
    const size_t plane = attention_code_row_bytes(rows->head_dim) / 2;
    const uint8_t *factors = rows->codes->codes + first * 2 * plane;
    struct tile_sums sums;
    unsigned i = 0;
    MEMORY_BARRIER();
    _tile_zero(0);
    for (; i < rows->head_dim / TILE_LINE_BYTES; i++) {
        _tile_loadd(4, factors + (size_t)i * TILE_LINE_BYTES, plane);
        _tile_loadd(5, lines->codes[i * TILE_LINES], sizeof lines->codes[0]);
        _tile_dpbssd(0, 4, 5);
    }
    if (rest_of(rows->head_dim) > 0) {
        _tile_loadd(6, factors + (size_t)i * TILE_LINE_BYTES, plane);
        _tile_loadd(7, lines->codes[i * TILE_LINES], sizeof lines->codes[0]);
        _tile_dpbssd(0, 6, 7);
    }
    _tile_stored(0, sums.sums[0], sizeof sums.sums[0]);
    MEMORY_BARRIER();
    for (unsigned r = 0; r < TILE_QUERIES && first + r < rows->n_rows; r++)
        vec_store(means[first + r], vec_mul(vec_mul(sum_of(true, &sums, r, 0), vec_load(lines->scales)),
                                            vec_set(rows->codes->scale[first + r])));
}

/* scores = q * K^T for the blocks that a row sees. */
INLINE void score_coded(enum codec_id codec, struct tile_work *work, const struct attention_rows *rows,
                        const struct attention_tile *tile) {
    const unsigned head_dim = rows->head_dim, n_blocks = (work->end + COLUMNS - 1) / COLUMNS;
    const size_t v_bytes = codec_get(tile->v_codec)->v_bytes(head_dim),
                 plane = attention_code_row_bytes(head_dim) / 2;
    _Alignas(64) uint8_t bytes[ATTENTION_TILE_BLOCKS][CODEC_MAX_DIM * BLOCK_TOKENS]; /* not of q8 */
    _Alignas(64) float key_scales[ATTENTION_TILE], means[ATTENTION_MAX_ROWS][TILE_COLUMNS];
    const uint8_t *k[ATTENTION_TILE_BLOCKS + 1];
    struct tile_sums sums;
    if (work->end == 0) return;
    for (unsigned block = work->begin / COLUMNS; block < n_blocks; block++) {
        k[block] = tile->k[block];
        prefetch_bytes(tile->v[block], 0, v_bytes);
        load_scales(codec, k[block] + coded_k_scales(codec, head_dim), key_scales + block * COLUMNS);
        if (codec == CODEC_q8) continue;
        unpack_lines(codec, k[block], head_dim / 4, BLOCK_TOKENS, bytes[block]);
        k[block] = bytes[block];
    }
    k[n_blocks] = k[n_blocks - 1];
    if (codec != CODEC_q8) {
        struct mean_lines lines;
        gather_means(codec, work, tile, head_dim, &lines);
        for (unsigned first = 0; first < rows->n_rows; first += TILE_QUERIES)
            score_means(&lines, rows, first, means);
    }
    for (unsigned block = work->begin / COLUMNS; block < n_blocks; block += 2)
        for (unsigned first = 0; first < rows->n_rows; first += TILE_QUERIES) {
            const unsigned n_vecs = block + 1 < n_blocks ? SUM_TILES : SUM_TILES / 2;
            score_pair(k[block], k[block + 1], rows->codes->codes + first * 2 * plane, plane, head_dim,
                       &sums);
            for (unsigned r = 0; r < TILE_QUERIES && first + r < rows->n_rows; r++) {
                const vec scale = vec_set(rows->codes->scale[first + r]);
                for (unsigned v = 0; v < n_vecs; v++) {
                    const unsigned key = block * COLUMNS + v * TILE_COLUMNS;
                    vec score =
                        vec_mul(vec_mul(sum_of(true, &sums, r, v), vec_load(key_scales + key)), scale);
                    if (codec != CODEC_q8) score = vec_add(score, vec_set(means[first + r][key / COLUMNS]));
                    vec_store(work->scores[first + r] + key, score);
                }
            }
        }
}

/* ---- weights times V ---- */

/* Sums of 8 rows and n_tiles tiles of columns. */
INLINE void weigh_columns(const uint8_t *codes, size_t line, unsigned n_tiles, const uint8_t *weights,
                          unsigned begin, unsigned end, struct tile_sums *sums) {
    MEMORY_BARRIER();
    clear_tiles();
    for (unsigned key = begin / TILE_KEYS * TILE_KEYS; key < end; key += TILE_KEYS) {
        const uint8_t *at = codes + key / 4 * line;
        _tile_loadd(4, weights + key, ATTENTION_TILE);
        _tile_loadd(5, at, line);
        _tile_dpbusd(0, 4, 5);
        if (n_tiles == 1) continue;
        _tile_loadd(5, at + TILE_LINE_BYTES, line);
        _tile_dpbusd(1, 4, 5);
        if (n_tiles == 2) continue;
        _tile_loadd(5, at + 2 * TILE_LINE_BYTES, line);
        _tile_dpbusd(2, 4, 5);
        if (n_tiles == 3) continue;
        _tile_loadd(5, at + 3 * TILE_LINE_BYTES, line);
        _tile_dpbusd(3, 4, 5);
    }
    store_tiles(sums);
}

/* out[d ..] += sums * scale of n columns. */
INLINE void add_sums(const struct tile_sums *sums, unsigned row, unsigned n, float scale, float *out) {
    unsigned i = 0;
    for (; i + VEC_WIDTH <= n; i += VEC_WIDTH)
        vec_store(out + i,
                  vec_fma(sum_of(false, sums, row, i / VEC_WIDTH), vec_set(scale), vec_load(out + i)));
    if (i == n) return;
    const __mmask16 is_left = (__mmask16)((1u << (n - i)) - 1);
    const vec total = vec_fma(sum_of(false, sums, row, i / VEC_WIDTH), vec_set(scale),
                              _mm512_maskz_loadu_ps(is_left, out + i));
    _mm512_mask_storeu_ps(out + i, is_left, total);
}

/* out += weights * V. */
INLINE void weigh_coded(enum codec_id codec, struct tile_work *work, struct attention_rows *rows,
                        const struct attention_tile *tile) {
    const unsigned head_dim = rows->head_dim, n_columns = coded_v_columns(head_dim);
    const size_t line = (size_t)n_columns * 4, k_bytes = codec_get(tile->k_codec)->k_bytes(head_dim);
    _Alignas(64) uint8_t codes[CODEC_MAX_DIM * ATTENTION_TILE];
    struct tile_sums sums;
    for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
        if (tile->next_k[block] != NULL) prefetch_bytes(tile->next_k[block], 0, k_bytes);
        unpack_lines(codec, tile->v[block], CODED_V_QUADS, n_columns, codes + block * CODED_V_QUADS * line);
    }
    for (unsigned d = 0; d < n_columns; d += SUM_COLUMNS) {
        const unsigned n_tiles = min_unsigned(SUM_TILES, (n_columns - d) / TILE_COLUMNS);
        for (unsigned first = 0; first < rows->n_rows; first += TILE_QUERIES) {
            weigh_columns(codes + (size_t)d * 4, line, n_tiles, work->weights[first], work->begin, work->end,
                          &sums);
            for (unsigned r = 0; r < TILE_QUERIES && first + r < rows->n_rows; r++) {
                const unsigned row = first + r;
                if (tile->begin[row] == tile->end[row]) continue;
                add_sums(&sums, r, min_unsigned(SUM_COLUMNS, head_dim - d), work->weight_scales[row],
                         rows->out + (size_t)row * head_dim + d);
            }
        }
    }
}

#define X(codec)                                                                                             \
    static void score_##codec(struct tile_work *work, const struct attention_rows *rows,                     \
                              const struct attention_tile *tile) {                                           \
        score_coded(CODEC_##codec, work, rows, tile);                                                        \
    }                                                                                                        \
    static void weigh_##codec(struct tile_work *work, struct attention_rows *rows,                           \
                              const struct attention_tile *tile) {                                           \
        weigh_coded(CODEC_##codec, work, rows, tile);                                                        \
    }
X(q8)
X(q4)
X(q3)
#undef X
