/* Products with K and V in BF16 by AMX, for attention_body.h: q and probabilities are rounded to BF16, sums
 * are f32. An instruction takes 16 rows of 32 numbers, and 16 lines that have two numbers of each of 16
 * columns; so a tile's K and V are copied into such lines, K with pairs of dimensions of a slot, V with pairs
 * of slots of a dimension:
 *
 *   two rows  a0 a1 .. a31, b0 b1 .. b31   become the line   a0 b0 a1 b1 .. a31 b31
 *
 * A row's bits do not depend on the rows beside it: every element of a sum is one chain in order, and a key
 * that a row does not see adds 0 to it, since V that is not finite goes to those rows alone that see it. */

enum {
    BF16_STEP = 32, /* numbers of a row in one instruction */
    BF16_MAX_DIM = CODEC_MAX_DIM,
    BF16_ROW =
        BF16_MAX_DIM + BF16_STEP /* no power of two, for which rows would meet in a few sets of the cache */
};
_Static_assert((int)BF16_ROW >= (int)ATTENTION_TILE, "a row holds q or probabilities");

struct bf16_work {
    _Alignas(64) bf16_bits rows[ATTENTION_MAX_ROWS][BF16_ROW];
    _Alignas(64) bf16_bits lines[ATTENTION_TILE * BF16_MAX_DIM];
};

INLINE bool bf16_takes(unsigned head_dim) { return head_dim % BF16_STEP == 0 && head_dim <= BF16_MAX_DIM; }

/* The line of two rows of 32 numbers. */
INLINE void interleave(__m512i a, __m512i b, bf16_bits *line) {
    const __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0),
                  second = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
    _mm512_store_si512(line, _mm512_permutex2var_epi64(low, first, high));
    _mm512_store_si512(line + 32, _mm512_permutex2var_epi64(low, second, high));
}

/* 32 numbers rounded. */
INLINE void round_numbers(const float *from, bf16_bits *to) {
    const __m512bh numbers = _mm512_cvtne2ps_pbh(vec_load(from + VEC_WIDTH), vec_load(from));
    _mm512_store_si512(to, (__m512i)numbers);
}

/* Probabilities of keys that a row does not see become 0. */
INLINE void clear_unseen(float *scores, unsigned begin, unsigned end) {
    for (unsigned key = 0; key < ATTENTION_TILE; key += VEC_WIDTH)
        if (key < begin || key + VEC_WIDTH > end)
            vec_store(scores + key, vec_select_keys(vec_load(scores + key), vec_zero(), key, begin, end));
}

#include "kernel/x86/attention_bf16_few_body.h"

/* One step: adds to n_tiles tiles of sums of 16 rows. */
INLINE void multiply_bf16(const bf16_bits *rows, size_t row_bytes, const bf16_bits *lines, size_t line_bytes,
                          unsigned n_tiles) {
    const char *at = (const char *)lines;
    _tile_loadd(4, rows, row_bytes);
    _tile_loadd(5, at, line_bytes);
    _tile_dpbf16ps(0, 4, 5);
    if (n_tiles == 1) return;
    _tile_loadd(5, at + TILE_LINE_BYTES, line_bytes);
    _tile_dpbf16ps(1, 4, 5);
    if (n_tiles == 2) return;
    _tile_loadd(5, at + 2 * TILE_LINE_BYTES, line_bytes);
    _tile_dpbf16ps(2, 4, 5);
    if (n_tiles == 3) return;
    _tile_loadd(5, at + 3 * TILE_LINE_BYTES, line_bytes);
    _tile_dpbf16ps(3, 4, 5);
}

/* scores = q * K^T for the blocks that a row sees. */
static void score_bf16_tiles(struct tile_work *work, const struct attention_rows *rows,
                             const struct attention_tile *tile) {
    if (rows->n_rows <= BF16_FEW_ROWS) {
        score_bf16_few(work, rows, tile);
        return;
    }
    const unsigned head_dim = rows->head_dim;
    const size_t row_bytes = BF16_ROW * sizeof(bf16_bits),
                 line_bytes = ATTENTION_TILE * 2 * sizeof(bf16_bits);
    struct bf16_work bf16;
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (r % 16 == 0) STAY_AWAKE();
        for (unsigned d = 0; d < head_dim; d += BF16_STEP)
            round_numbers(rows->q + (size_t)r * head_dim + d, bf16.rows[r] + d);
    }
    for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
        const bf16_bits *k = tile->k[block], *v = tile->v[block];
        for (unsigned d = 0; d < head_dim; d += 2) {
            if (d % 64 == 0) STAY_AWAKE();
            __builtin_prefetch(v + (size_t)d * COLUMNS, 0, 2);
            __builtin_prefetch(v + (size_t)(d + 1) * COLUMNS, 0, 2);
            interleave(_mm512_loadu_si512(k + (size_t)d * COLUMNS),
                       _mm512_loadu_si512(k + (size_t)(d + 1) * COLUMNS),
                       bf16.lines + (size_t)d * ATTENTION_TILE + (size_t)block * COLUMNS * 2);
        }
    }
    MEMORY_BARRIER();
    for (unsigned key = work->begin / COLUMNS * COLUMNS; key < work->end; key += 4 * TILE_COLUMNS)
        for (unsigned first = 0; first < rows->n_rows; first += TILE_LINES) {
            const unsigned n_tiles = min_unsigned(4, (work->end - key + COLUMNS - 1) / COLUMNS * 2);
            float *to = work->scores[first] + key;
            clear_tiles();
            for (unsigned d = 0; d < head_dim; d += BF16_STEP)
                multiply_bf16(bf16.rows[first] + d, row_bytes,
                              bf16.lines + (size_t)d * ATTENTION_TILE + (size_t)key * 2, line_bytes, n_tiles);
            _tile_stored(0, to, sizeof work->scores[0]);
            _tile_stored(1, to + TILE_COLUMNS, sizeof work->scores[0]);
            if (n_tiles < 4) continue;
            _tile_stored(2, to + 2 * TILE_COLUMNS, sizeof work->scores[0]);
            _tile_stored(3, to + 3 * TILE_COLUMNS, sizeof work->scores[0]);
        }
    MEMORY_BARRIER();
}

/* V of keys begin .. end in lines, 0 beside them in their blocks; returns whether all of it is finite. */
static bool copy_v(const struct attention_tile *tile, unsigned begin, unsigned end, unsigned head_dim,
                   bf16_bits *lines) {
    const __m512i magnitude = _mm512_set1_epi16(0x7fff);
    __m512i largest = _mm512_setzero_si512();
    for (unsigned key = begin / COLUMNS * COLUMNS; key < (end + COLUMNS - 1) / COLUMNS * COLUMNS; key += 2) {
        const bf16_bits *v = (const bf16_bits *)tile->v[key / COLUMNS] + (size_t)(key % COLUMNS) * head_dim;
        const bf16_bits *next = tile->next_k[key / COLUMNS];
        if (key % 32 == 0) STAY_AWAKE();
        const __mmask32 sees_first = key >= begin && key < end ? 0xffffffffu : 0,
                        sees_second = key + 1 >= begin && key + 1 < end ? 0xffffffffu : 0;
        for (unsigned d = 0; d < head_dim; d += BF16_STEP) {
            const __m512i a = _mm512_maskz_loadu_epi16(sees_first, v + d),
                          b = _mm512_maskz_loadu_epi16(sees_second, v + head_dim + d);
            const size_t at = (size_t)(key % COLUMNS) * head_dim + d;
            if (next != NULL) {
                __builtin_prefetch(next + at, 0, 2);
                __builtin_prefetch(next + at + head_dim, 0, 2);
            }
            largest = _mm512_max_epu16(
                largest, _mm512_max_epu16(_mm512_and_si512(a, magnitude), _mm512_and_si512(b, magnitude)));
            interleave(a, b, lines + (size_t)key * head_dim + (size_t)d * 2);
        }
    }
    return _mm512_cmpge_epu16_mask(largest, _mm512_set1_epi16(0x7f80)) == 0;
}

/* out += probabilities * V of rows first_row .. end_row, which see keys of begin .. end only. */
static void weigh_bf16_rows(const struct bf16_work *bf16, struct attention_rows *rows,
                            const struct attention_tile *tile, unsigned first_row, unsigned end_row,
                            unsigned begin, unsigned end) {
    const unsigned head_dim = rows->head_dim;
    const size_t line_bytes = (size_t)head_dim * 2 * sizeof(bf16_bits);
    _Alignas(64) float sums[TILE_LINES][4 * TILE_COLUMNS];
    for (unsigned first = first_row / TILE_LINES * TILE_LINES; first < end_row; first += TILE_LINES)
        for (unsigned d = 0; d < head_dim; d += 4 * TILE_COLUMNS) {
            const unsigned n = min_unsigned(4 * TILE_COLUMNS, head_dim - d);
            MEMORY_BARRIER();
            clear_tiles();
            for (unsigned key = begin / COLUMNS * COLUMNS; key < end; key += BF16_STEP)
                multiply_bf16(bf16->rows[first] + key, sizeof bf16->rows[0],
                              bf16->lines + (size_t)key * head_dim + (size_t)d * 2, line_bytes,
                              n / TILE_COLUMNS);
            _tile_stored(0, sums[0], sizeof sums[0]);
            _tile_stored(1, sums[0] + TILE_COLUMNS, sizeof sums[0]);
            _tile_stored(2, sums[0] + 2 * TILE_COLUMNS, sizeof sums[0]);
            _tile_stored(3, sums[0] + 3 * TILE_COLUMNS, sizeof sums[0]);
            MEMORY_BARRIER();
            for (unsigned r = max_unsigned(first, first_row); r < first + TILE_LINES && r < end_row; r++) {
                float *out = rows->out + (size_t)r * head_dim + d;
                if (tile->begin[r] == tile->end[r]) continue;
                for (unsigned i = 0; i < n; i += VEC_WIDTH)
                    vec_store(out + i, vec_add(vec_load(out + i), vec_load(sums[r - first] + i)));
            }
        }
}

INLINE bool weighs_in_tiles(const struct attention_rows *rows, const struct attention_tile *tile) {
    return tile->v_codec == CODEC_bf16 && bf16_takes(rows->head_dim) && rows->n_rows > BF16_FEW_ROWS;
}

/* out += probabilities * V. */
static void weigh_bf16_tiles(struct tile_work *work, struct attention_rows *rows,
                             const struct attention_tile *tile) {
    if (rows->n_rows <= BF16_FEW_ROWS) {
        weigh_bf16_few(work, rows, tile);
        return;
    }
    struct bf16_work bf16;
    unsigned begin = ATTENTION_TILE;
    for (unsigned r = 0; r < rows->n_rows; r++) {
        float *scores = work->scores[r];
        if (r % 16 == 0) STAY_AWAKE();
        if (tile->begin[r] != tile->end[r]) begin = min_unsigned(begin, tile->begin[r]);
        clear_unseen(scores, tile->begin[r], tile->end[r]);
        for (unsigned key = work->begin / COLUMNS * COLUMNS; key < work->end; key += BF16_STEP)
            round_numbers(scores + key, bf16.rows[r] + key);
    }
    if (work->end == 0) return;
    if (copy_v(tile, begin, work->end, rows->head_dim, bf16.lines)) {
        weigh_bf16_rows(&bf16, rows, tile, 0, rows->n_rows, begin, work->end);
        return;
    }
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (tile->begin[r] == tile->end[r]) continue;
        (void)copy_v(tile, tile->begin[r], tile->end[r], rows->head_dim, bf16.lines);
        weigh_bf16_rows(&bf16, rows, tile, r, r + 1, tile->begin[r], tile->end[r]);
    }
}
