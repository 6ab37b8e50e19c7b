/* Attention over coded K and V (codec/coded.h, kernel/attention_coded.h) in the x86 sets, over the integer
 * vectors of codes_<set>.h. attention_body.h includes this.
 *
 * Scores and weighted sums are one product again: sums[rows][columns] += factors[rows][quads] * codes[quads]
 * [columns], columns being slots or dimensions. Sums are integers, hence exact: codes that a row does not see
 * have factor 0, and rows side by side cannot matter. */
enum {
    PRODUCT_VECS = 2, /* column vectors of one register tile */
    PRODUCT_COLUMNS = PRODUCT_VECS * VEC_WIDTH
};

/* sums += factors * codes of n_quads lines, the first of which meets factors first_quad .. of the rows. All
 * but lines, factors and numbers of quads are constants. */
INLINE void add_product(enum codec_id codec, bool is_k, unsigned n_rows, unsigned n_vecs,
                        const struct code_lines *lines, unsigned n_quads, unsigned first_quad,
                        const uint8_t *factors, size_t row_bytes, size_t plane,
                        struct dots (*sums)[PRODUCT_VECS]) {
    const int_vec table = codec == CODEC_q8 ? int_zero() : level_table(codec, is_k);
    const unsigned step = lines_together(codec);
    for (unsigned quad = 0; quad < n_quads; quad += step) {
        UNROLL for (unsigned j = 0; j < step; j++) {
            codes_vec codes[PRODUCT_VECS];
            UNROLL for (unsigned v = 0; v < n_vecs; v++) {
                codes[v] = codes_of(codec, is_k, table, lines->low, lines->high, lines->line, quad, j, v);
            }
            UNROLL for (unsigned r = 0; r < n_rows; r++) {
                const struct factor factor =
                    factor_load(factors + r * row_bytes, plane, first_quad + quad + j);
                UNROLL for (unsigned v = 0; v < n_vecs; v++) {
                    sums[r][v] = dots_add(is_k, sums[r][v], codes[v], factor);
                }
            }
        }
    }
}

INLINE void clear_sums(unsigned n_rows, struct dots (*sums)[PRODUCT_VECS]) {
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        UNROLL for (unsigned v = 0; v < PRODUCT_VECS; v++) sums[r][v] = dots_zero();
    }
}

/* What products read of the rows of a group. */
struct score_block {
    struct code_lines lines;
    unsigned n_quads;
    const uint8_t *factors; /* of the group's first row */
    size_t row_bytes;
    const float *key_scales; /* of the columns */
    const float *q_scales;   /* of the rows */
    const int32_t *biases;
    const float *means; /* of the rows, VEC_WIDTH apart; not of q8 */
    float *scores;      /* of the rows, ATTENTION_TILE apart */
};

INLINE void score_columns(enum codec_id codec, unsigned n_rows, const struct score_block *b) {
    struct dots sums[TILE_ROWS][PRODUCT_VECS];
    clear_sums(n_rows, sums);
    add_product(codec, true, n_rows, PRODUCT_VECS, &b->lines, b->n_quads, 0, b->factors, b->row_bytes,
                b->row_bytes / 2, sums);
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        const vec scale = vec_set(b->q_scales[r]);
        UNROLL for (unsigned v = 0; v < PRODUCT_VECS; v++) {
            vec sum = int_to_vec(int_sub(dots_total(true, sums[r][v]), int_set(b->biases[r])));
            sum = vec_mul(vec_mul(sum, vec_load(b->key_scales + v * VEC_WIDTH)), scale);
            if (codec != CODEC_q8) sum = vec_add(sum, vec_set(b->means[r * VEC_WIDTH]));
            vec_store(b->scores + r * ATTENTION_TILE + v * VEC_WIDTH, sum);
        }
    }
}

/* Scores of the means of a tile's blocks, one block a column (mean_lines). */
INLINE void score_means(unsigned n_rows, const struct score_block *b) {
    struct dots sums[TILE_ROWS][PRODUCT_VECS];
    clear_sums(n_rows, sums);
    add_product(CODEC_q8, true, n_rows, 1, &b->lines, b->n_quads, 0, b->factors, b->row_bytes,
                b->row_bytes / 2, sums);
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        const vec sum = int_to_vec(int_sub(dots_total(true, sums[r][0]), int_set(b->biases[r])));
        vec_store(b->scores + r * VEC_WIDTH,
                  vec_mul(vec_mul(sum, vec_load(b->key_scales)), vec_set(b->q_scales[r])));
    }
}

struct weigh_block {
    struct code_lines lines[ATTENTION_TILE_BLOCKS];
    unsigned begin, end;    /* blocks */
    const uint8_t *factors; /* of the group's first row: (rows, ATTENTION_TILE) */
    const float *scales;    /* of the rows' weights */
    float *sums;            /* (rows, PRODUCT_COLUMNS) */
};

INLINE void weigh_columns(enum codec_id codec, unsigned n_rows, unsigned n_vecs,
                          const struct weigh_block *b) {
    enum { ROW_BYTES = ATTENTION_TILE * FACTOR_BYTES };
    struct dots sums[TILE_ROWS][PRODUCT_VECS];
    clear_sums(n_rows, sums);
    for (unsigned block = b->begin; block < b->end; block++)
        add_product(codec, false, n_rows, n_vecs, &b->lines[block], CODED_V_QUADS, block * CODED_V_QUADS,
                    b->factors, ROW_BYTES, ATTENTION_TILE, sums);
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        UNROLL for (unsigned v = 0; v < n_vecs; v++) {
            vec_store(b->sums + r * PRODUCT_COLUMNS + v * VEC_WIDTH,
                      vec_mul(int_to_vec(dots_total(false, sums[r][v])), vec_set(b->scales[r])));
        }
    }
}

typedef void score_function(const struct score_block *b);
typedef void weigh_function(const struct weigh_block *b);

#define CODED_PRODUCTS_DEFINE(codec, n)                                                                      \
    static void score_##codec##_##n(const struct score_block *b) { score_columns(CODEC_##codec, n, b); }     \
    static void weigh_##codec##_##n##_1(const struct weigh_block *b) {                                       \
        weigh_columns(CODEC_##codec, n, 1, b);                                                               \
    }                                                                                                        \
    static void weigh_##codec##_##n##_2(const struct weigh_block *b) {                                       \
        weigh_columns(CODEC_##codec, n, 2, b);                                                               \
    }
#define X(n) CODED_PRODUCTS_DEFINE(q8, n) CODED_PRODUCTS_DEFINE(q4, n) CODED_PRODUCTS_DEFINE(q3, n)
FOR_TILE_ROWS
#undef X
#define X(n)                                                                                                 \
    static void score_means_##n(const struct score_block *b) { score_means(n, b); }
FOR_TILE_ROWS
#undef X
#define X(n) [n] = score_means_##n,
static score_function *const scores_means[TILE_ROWS + 1] = {FOR_TILE_ROWS};
#undef X

/* By rows (and vectors - 1). */
#define CODED_PRODUCTS_LIST(codec)                                                                           \
    static score_function *const scores_##codec[TILE_ROWS + 1] = {FOR_TILE_ROWS};
#define X(n) [n] = score_q8_##n,
CODED_PRODUCTS_LIST(q8)
#undef X
#define X(n) [n] = score_q4_##n,
CODED_PRODUCTS_LIST(q4)
#undef X
#define X(n) [n] = score_q3_##n,
CODED_PRODUCTS_LIST(q3)
#undef X
#undef CODED_PRODUCTS_LIST
#define CODED_PRODUCTS_LIST(codec)                                                                           \
    static weigh_function *const weighs_##codec[TILE_ROWS + 1][PRODUCT_VECS] = {FOR_TILE_ROWS};
#define X(n) [n] = {weigh_q8_##n##_1, weigh_q8_##n##_2},
CODED_PRODUCTS_LIST(q8)
#undef X
#define X(n) [n] = {weigh_q4_##n##_1, weigh_q4_##n##_2},
CODED_PRODUCTS_LIST(q4)
#undef X
#define X(n) [n] = {weigh_q3_##n##_1, weigh_q3_##n##_2},
CODED_PRODUCTS_LIST(q3)
#undef X

/* The group's part of a score_block. */
INLINE struct score_block score_block_of(const struct attention_rows *rows, const struct row_group *group) {
    const size_t row_bytes = attention_code_row_bytes(rows->head_dim);
    return (struct score_block){.n_quads = rows->head_dim / 4,
                                .factors = rows->codes->codes + group->first * row_bytes,
                                .row_bytes = row_bytes,
                                .q_scales = rows->codes->scale + group->first,
                                .biases = rows->codes->bias + group->first};
}

/* scores = q * K^T for the blocks that a row sees. */
INLINE void score_coded(enum codec_id codec, score_function *const *score_of, struct tile_work *work,
                        const struct attention_rows *rows, const struct attention_tile *tile) {
    const unsigned head_dim = rows->head_dim;
    const size_t v_bytes = codec_get(tile->v_codec)->v_bytes(head_dim);
    _Alignas(64) float key_scales[BLOCK_TOKENS], means[ATTENTION_MAX_ROWS][VEC_WIDTH];
    if (codec != CODEC_q8) {
        struct mean_lines lines;
        gather_means(codec, work, tile, head_dim, &lines);
        for (unsigned g = 0; g < work->n_groups; g++) {
            struct score_block b = score_block_of(rows, &work->groups[g]);
            b.lines = (struct code_lines){lines.codes[0], NULL, sizeof lines.codes[0]};
            b.key_scales = lines.scales;
            b.scores = means[work->groups[g].first];
            scores_means[work->groups[g].n_rows](&b);
        }
    }
    for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
        const uint8_t *area = tile->k[block];
        prefetch_bytes(tile->v[block], 0, v_bytes);
        load_scales(codec, area + coded_k_scales(codec, head_dim), key_scales);
        for (unsigned g = 0; g < work->n_groups; g++) {
            const struct row_group *group = &work->groups[g];
            if (group->max_end <= block * COLUMNS || group->min_begin >= (block + 1) * COLUMNS) continue;
            struct score_block b = score_block_of(rows, group);
            b.means = means[group->first] + block;
            for (unsigned column = 0; column < COLUMNS; column += PRODUCT_COLUMNS) {
                b.lines = lines_at(codec, area, head_dim / 4, BLOCK_TOKENS, column);
                b.key_scales = key_scales + column;
                b.scores = work->scores[group->first] + block * COLUMNS + column;
                score_of[group->n_rows](&b);
            }
        }
    }
}

/* out[d ..] += the sums of a group's rows that see a key. */
INLINE void add_sums(float (*sums)[PRODUCT_COLUMNS], const struct row_group *group,
                     struct attention_rows *rows, const struct attention_tile *tile, unsigned d) {
    for (unsigned r = 0; r < group->n_rows; r++) {
        const unsigned row = group->first + r;
        if (tile->begin[row] == tile->end[row]) continue;
        float *out = rows->out + (size_t)row * rows->head_dim + d;
        const unsigned n = min_unsigned(rows->head_dim - d, PRODUCT_COLUMNS);
        unsigned i = 0;
        for (; i + VEC_WIDTH <= n; i += VEC_WIDTH)
            vec_store(out + i, vec_add(vec_load(out + i), vec_load(sums[r] + i)));
        for (; i < n; i++) out[i] += sums[r][i];
    }
}

/* out += weights * V. */
INLINE void weigh_coded(enum codec_id codec, weigh_function *const (*weigh_of)[PRODUCT_VECS],
                        struct tile_work *work, struct attention_rows *rows,
                        const struct attention_tile *tile) {
    const unsigned head_dim = rows->head_dim, n_columns = coded_v_columns(head_dim);
    const size_t k_bytes = codec_get(tile->k_codec)->k_bytes(head_dim);
    _Alignas(64) float sums[TILE_ROWS][PRODUCT_COLUMNS];
    struct weigh_block b = {.begin = work->begin / COLUMNS, .end = (work->end + COLUMNS - 1) / COLUMNS};
    b.sums = sums[0];
    for (unsigned d = 0; d < n_columns; d += PRODUCT_COLUMNS) {
        const unsigned n_vecs = n_columns - d < PRODUCT_COLUMNS ? 1 : PRODUCT_VECS;
        for (unsigned block = b.begin; block < b.end; block++) {
            b.lines[block] = lines_at(codec, tile->v[block], CODED_V_QUADS, n_columns, d);
            if (tile->next_k[block] != NULL)
                prefetch_bytes(tile->next_k[block], k_bytes * d / n_columns,
                               k_bytes * min_unsigned(d + PRODUCT_COLUMNS, n_columns) / n_columns);
        }
        for (unsigned g = 0; g < work->n_groups; g++) {
            const struct row_group *group = &work->groups[g];
            if (group->max_end == 0) continue;
            b.factors = work->weights[group->first];
            b.scales = work->weight_scales + group->first;
            weigh_of[group->n_rows][n_vecs - 1](&b);
            add_sums(sums, group, rows, tile, d);
        }
    }
}

#define X(codec)                                                                                             \
    static void score_##codec(struct tile_work *work, const struct attention_rows *rows,                     \
                              const struct attention_tile *tile) {                                           \
        score_coded(CODEC_##codec, scores_##codec, work, rows, tile);                                        \
    }                                                                                                        \
    static void weigh_##codec(struct tile_work *work, struct attention_rows *rows,                           \
                              const struct attention_tile *tile) {                                           \
        weigh_coded(CODEC_##codec, weighs_##codec, work, rows, tile);                                        \
    }
X(q8)
X(q4)
X(q3)
#undef X
