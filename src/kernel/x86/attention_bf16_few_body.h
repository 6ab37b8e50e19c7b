/* Products of few rows with K and V in BF16 by FMAs, for attention_bf16_amx_body.h: K and V are read where
 * they lie. Sums are those of tdpbf16ps, bit for bit: of 32 numbers the even ones and the odd ones are summed
 * apart, each as one chain of FMAs that begins with 0, and acc + (even + odd) is the new acc; denormal
 * numbers are 0.
 *
 * A line of 32 numbers becomes two vectors, of those at even and those at odd places, by a shift and a mask;
 * only the finished sums are put in order. */

/* Up to so many rows: a hot tile takes about as long either way then, one that waits for memory less
 * (docs/kernels.md). */
enum { BF16_FEW_ROWS = 4 };

/* Factors of a row as f32, in the order of K's dimensions or of keys; sums that out is still to get. */
struct few_work {
    _Alignas(64) float factors[BF16_FEW_ROWS][BF16_MAX_DIM];
    _Alignas(64) float sums[BF16_FEW_ROWS][BF16_MAX_DIM];
    _Alignas(64) bf16_bits edge[COLUMNS * BF16_MAX_DIM]; /* V of a block, 0 for keys that rows do not see */
};

INLINE vec even_of(__m512i line) { return _mm512_castsi512_ps(_mm512_slli_epi32(line, 16)); }
INLINE vec odd_of(__m512i line) {
    return _mm512_castsi512_ps(_mm512_and_si512(line, _mm512_set1_epi32((int)0xffff0000)));
}

/* n factors rounded to BF16. */
INLINE void round_factors(const float *from, float *to, unsigned n) {
    for (unsigned i = 0; i < n; i += BF16_STEP) {
        const __m512i rounded =
            (__m512i)_mm512_cvtne2ps_pbh(vec_load(from + i + VEC_WIDTH), vec_load(from + i));
        vec_store(to + i, vec_widen_bf16((const bf16_bits *)&rounded));
        vec_store(to + i + VEC_WIDTH, vec_widen_bf16((const bf16_bits *)&rounded + VEC_WIDTH));
    }
}

/* Memory that is prefetched meanwhile, a line each of four runs in turns: one run after the other is
 * slower (docs/kernels.md). */
struct runs {
    const char *at[ATTENTION_TILE_BLOCKS];
};

/* acc += the products of one step: 32 lines, each stride_bytes behind the one before; 8 of each run are
 * prefetched. n_rows is a constant. */
INLINE void add_step(unsigned n_rows, const float *factors, const char *lines, size_t stride_bytes,
                     const struct runs *ahead, vec (*acc)[2]) {
    vec sums[2][BF16_FEW_ROWS][2]; /* of even and of odd lines */
    UNROLL for (unsigned r = 0; r < n_rows; r++) sums[0][r][0] = sums[0][r][1] = sums[1][r][0] =
        sums[1][r][1] = vec_zero();
    for (unsigned k = 0; k < BF16_STEP; k += 2) {
        UNROLL for (unsigned is_odd = 0; is_odd < 2; is_odd++) {
            const __m512i line = _mm512_loadu_si512(lines);
            const vec even = even_of(line), odd = odd_of(line);
            UNROLL for (unsigned r = 0; r < n_rows; r++) {
                const vec factor = vec_broadcast(factors + r * BF16_MAX_DIM + k + is_odd);
                sums[is_odd][r][0] = vec_fma(factor, even, sums[is_odd][r][0]);
                sums[is_odd][r][1] = vec_fma(factor, odd, sums[is_odd][r][1]);
            }
            __builtin_prefetch(ahead->at[(k & 2) + is_odd] + k / 4 * COLUMNS * sizeof(bf16_bits), 0, 2);
            lines += stride_bytes;
        }
    }
    UNROLL for (unsigned r = 0; r < n_rows; r++) {
        acc[r][0] = vec_add(acc[r][0], vec_add(sums[0][r][0], sums[1][r][0]));
        acc[r][1] = vec_add(acc[r][1], vec_add(sums[0][r][1], sums[1][r][1]));
    }
}

/* Numbers of even and of odd places, in order. */
INLINE void store_in_order(const vec acc[2], float *to) {
    const __m512i first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0),
                  second = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
    vec_store(to, _mm512_permutex2var_ps(acc[0], first, acc[1]));
    vec_store(to + VEC_WIDTH, _mm512_permutex2var_ps(acc[0], second, acc[1]));
}

/* What a step of dimensions d .. in one block prefetches: of what is ahead of that step in the areas of each
 * of the four blocks a quarter. Anything else where nothing is. */
INLINE struct runs runs_of(const void *const areas[ATTENTION_TILE_BLOCKS], unsigned block, unsigned d,
                           const void *otherwise) {
    struct runs runs;
    const size_t line = d + block * BF16_STEP / ATTENTION_TILE_BLOCKS;
    UNROLL for (unsigned i = 0; i < ATTENTION_TILE_BLOCKS; i++) {
        runs.at[i] =
            areas[i] == NULL ? otherwise : (const char *)areas[i] + line * COLUMNS * sizeof(bf16_bits);
    }
    return runs;
}

/* Scores of the blocks first .. end. */
INLINE void score_few(unsigned n_rows, const struct few_work *few, const struct attention_tile *tile,
                      unsigned head_dim, unsigned first, unsigned end, float (*scores)[ATTENTION_TILE]) {
    const size_t line_bytes = COLUMNS * sizeof(bf16_bits);
    for (unsigned block = first; block < end; block++) {
        vec acc[BF16_FEW_ROWS][2];
        UNROLL for (unsigned r = 0; r < n_rows; r++) acc[r][0] = acc[r][1] = vec_zero();
        for (unsigned d = 0; d < head_dim; d += BF16_STEP) {
            const struct runs ahead = runs_of(tile->v, block, d, tile->k[block]);
            add_step(n_rows, few->factors[0] + d, (const char *)tile->k[block] + d * line_bytes, line_bytes,
                     &ahead, acc);
        }
        UNROLL for (unsigned r = 0; r < n_rows; r++) store_in_order(acc[r], scores[r] + block * COLUMNS);
    }
}

/* Sums of the keys begin .. end, which all rows see, and no others, into few->sums. */
INLINE void weigh_few(unsigned n_rows, struct few_work *few, const struct attention_tile *tile,
                      unsigned head_dim, unsigned begin, unsigned end) {
    for (unsigned d = 0; d < head_dim; d += BF16_STEP) {
        vec acc[BF16_FEW_ROWS][2];
        UNROLL for (unsigned r = 0; r < n_rows; r++) acc[r][0] = acc[r][1] = vec_zero();
        for (unsigned key = begin / COLUMNS * COLUMNS; key < end; key += COLUMNS) {
            const bool is_whole = begin <= key && key + COLUMNS <= end;
            const bf16_bits *v = is_whole ? tile->v[key / COLUMNS] : few->edge;
            const unsigned block = key / COLUMNS;
            const struct runs ahead = runs_of(tile->next_k, block, d, v);
            if (!is_whole) {
                const unsigned from = max_unsigned(begin, key), to = min_unsigned(end, key + COLUMNS);
                memset(few->edge, 0, COLUMNS * head_dim * sizeof(bf16_bits));
                memcpy(few->edge + (size_t)(from - key) * head_dim,
                       (const bf16_bits *)tile->v[key / COLUMNS] + (size_t)(from - key) * head_dim,
                       (size_t)(to - from) * head_dim * sizeof(bf16_bits));
            }
            add_step(n_rows, few->factors[0] + key, (const char *)(v + d), head_dim * sizeof(bf16_bits),
                     &ahead, acc);
        }
        UNROLL for (unsigned r = 0; r < n_rows; r++) store_in_order(acc[r], few->sums[r] + d);
    }
}

/* Tiles of AMX take denormal numbers as 0 and give none, whatever the thread's mode is. The compiler does not
 * know that the mode matters to arithmetic, therefore functions that it does not inline. */
#define FEW_DEFINE(n)                                                                                        \
    static __attribute__((noinline)) void score_few_##n(                                                     \
        struct few_work *few, const struct attention_tile *tile, unsigned head_dim, unsigned first,          \
        unsigned end, float(*scores)[ATTENTION_TILE]) {                                                      \
        score_few(n, few, tile, head_dim, first, end, scores);                                               \
    }                                                                                                        \
    static __attribute__((noinline)) void weigh_few_##n(struct few_work *few,                                \
                                                        const struct attention_tile *tile,                   \
                                                        unsigned head_dim, unsigned begin, unsigned end) {   \
        weigh_few(n, few, tile, head_dim, begin, end);                                                       \
    }
FEW_DEFINE(1)
FEW_DEFINE(2)
FEW_DEFINE(3)
FEW_DEFINE(4)

INLINE unsigned without_denormals(void) {
    enum { DENORMALS_ARE_ZEROS = 1 << 6, FLUSH_TO_ZERO = 1 << 15 };
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | DENORMALS_ARE_ZEROS | FLUSH_TO_ZERO);
    return mode;
}

/* scores = q * K^T for the blocks that a row sees. */
static void score_bf16_few(struct tile_work *work, const struct attention_rows *rows,
                           const struct attention_tile *tile) {
    static void (*const score_of[])(struct few_work *, const struct attention_tile *, unsigned, unsigned,
                                    unsigned, float(*)[ATTENTION_TILE]) = {NULL, score_few_1, score_few_2,
                                                                           score_few_3, score_few_4};
    struct few_work few;
    for (unsigned r = 0; r < rows->n_rows; r++)
        round_factors(rows->q + (size_t)r * rows->head_dim, few.factors[r], rows->head_dim);
    const unsigned mode = without_denormals();
    score_of[rows->n_rows](&few, tile, rows->head_dim, work->begin / COLUMNS,
                           (work->end + COLUMNS - 1) / COLUMNS, work->scores);
    _mm_setcsr(mode);
}

/* out += probabilities * V. Rows that see the same keys go together; V that is not finite gets no further
 * than to those that see it. */
static void weigh_bf16_few(struct tile_work *work, struct attention_rows *rows,
                           const struct attention_tile *tile) {
    static void (*const weigh_of[])(struct few_work *, const struct attention_tile *, unsigned, unsigned,
                                    unsigned) = {NULL, weigh_few_1, weigh_few_2, weigh_few_3, weigh_few_4};
    const unsigned head_dim = rows->head_dim;
    struct few_work few;
    for (unsigned first = 0, n; first < rows->n_rows; first += n) {
        const unsigned begin = tile->begin[first], end = tile->end[first];
        for (n = 1; first + n < rows->n_rows; n++)
            if (tile->begin[first + n] != begin || tile->end[first + n] != end) break;
        if (begin == end) continue;
        for (unsigned r = 0; r < n; r++) {
            clear_unseen(work->scores[first + r], begin, end);
            round_factors(work->scores[first + r], few.factors[r], ATTENTION_TILE);
        }
        const unsigned mode = without_denormals();
        weigh_of[n](&few, tile, head_dim, begin, end);
        _mm_setcsr(mode);
        for (unsigned r = 0; r < n; r++) {
            float *out = rows->out + (size_t)(first + r) * head_dim;
            for (unsigned i = 0; i < head_dim; i += VEC_WIDTH)
                vec_store(out + i, vec_add(vec_load(out + i), vec_load(few.sums[r] + i)));
        }
    }
}
