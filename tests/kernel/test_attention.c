#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attention_case.h"
#include "base/float16.h"
#include "base/rng.h"
#include "codec/coded.h"

int bench_attention(void);

#define FOR_EACH_SET(set)                                                                                    \
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)                        \
        if ((*set)->is_supported())

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What blocks may hold: every codec, pairs of codecs, and last, blocks of either of two. */
static const struct kv_codecs pairs[] = {
    {.k = CODEC_f32, .v = CODEC_f32},
    {.k = CODEC_f16, .v = CODEC_f16},
    {.k = CODEC_bf16, .v = CODEC_bf16},
    {.k = CODEC_q8, .v = CODEC_q8},
    {.k = CODEC_q8, .v = CODEC_q4},
    {.k = CODEC_q4, .v = CODEC_q4},
    {.k = CODEC_q4, .v = CODEC_q8},
    {.k = CODEC_q3, .v = CODEC_q3},
    {.k = CODEC_q8, .v = CODEC_q3},
    {.k = CODEC_f16, .v = CODEC_q8},
    {.k = CODEC_q4, .v = CODEC_f16},
    {.k = CODEC_f16, .v = CODEC_f16, .demotes_k = true, .demotes_v = true}};
enum { F16_PAIR = 1, BF16_PAIR = 2, AUTO_PAIR = COUNT(pairs) - 1 };

static bool takes_dim(struct kv_codecs codecs, unsigned head_dim) {
    if (codecs.demotes_k && head_dim % codec_get(KV_DEMOTED_CODEC)->dim_multiple != 0) return false;
    return head_dim % codec_get(codecs.k)->dim_multiple == 0 &&
           head_dim % codec_get(codecs.v)->dim_multiple == 0;
}

/* ---- against plain softmax attention in double precision ---- */

/* One head of one row; `tolerance` is how far f32 may be off in one number, `rounding` by how much more where
 * q and probabilities meet K and V of BF16 as BF16. */
static void naive_row(const struct attention_case *c, size_t sequence, size_t position, unsigned head,
                      double *out, double *tolerance, double *rounding) {
    const unsigned dim = c->shape.head_dim, kv_head = head / (c->shape.n_heads / c->shape.n_kv_heads);
    const float *q = c->q + ((c->first_key[sequence] + position) * c->shape.n_heads + head) * dim;
    size_t at = ((size_t)kv_head * c->total_keys + c->first_key[sequence]) * dim;
    double *scores = calloc(position + 1, sizeof *scores), max = -INFINITY, sum = 0, span = 0, largest = 0;
    const size_t window = c->shape.window,
                 first = window > 0 && position >= window ? position - window + 1 : 0;
    for (size_t key = first; key <= position; key++) {
        double magnitude = 0;
        for (unsigned d = 0; d < dim; d++) {
            double product = (double)q[d] * (double)c->scale * (double)c->k[at + key * dim + d];
            scores[key] += product;
            magnitude += fabs(product);
            if (fabs((double)c->v[at + key * dim + d]) > largest)
                largest = fabs((double)c->v[at + key * dim + d]);
        }
        if (c->shape.softcap > 0)
            scores[key] = (double)c->shape.softcap * tanh(scores[key] / (double)c->shape.softcap);
        if (scores[key] > max) max = scores[key];
        if (magnitude > span) span = magnitude;
    }
    memset(out, 0, dim * sizeof *out);
    for (size_t key = first; key <= position; key++) {
        double p = exp(scores[key] - max);
        sum += p;
        for (unsigned d = 0; d < dim; d++) out[d] += p * (double)c->v[at + key * dim + d];
    }
    for (unsigned d = 0; d < dim; d++) out[d] /= sum;
    *tolerance = largest * (4e-6 + span * sqrt(dim) * 0x1p-23 + (double)c->shape.softcap * 0x1p-21);
    if (codec_is_coded(c->shape.codecs.k) || c->shape.codecs.demotes_k)
        *tolerance += largest * span * 0x1p-14; /* 15-bit q */
    if (codec_is_coded(c->shape.codecs.v) || c->shape.codecs.demotes_v)
        *tolerance += largest * 0x1p-12; /* 15-bit weights */
    *rounding = c->shape.codecs.k == CODEC_bf16 ? largest * span * 0x1p-8 : 0;
    if (c->shape.codecs.v == CODEC_bf16) *rounding += largest * 0x1p-8;
    free(scores);
}

static void assert_near_naive(const struct attention_case *c, const struct attention_chunk *chunks,
                              size_t n_chunks, unsigned n_threads) {
    const unsigned dim = c->shape.head_dim;
    float *results[8], *at[8];
    size_t n_sets = 0;
    bool rounds[8]; /* the set has tiles for heads of whole ones */
    FOR_EACH_SET(set) {
        rounds[n_sets] = strcmp((*set)->name, "amx") == 0 && dim % 32 == 0;
        at[n_sets] = results[n_sets] = case_run(c, *set, n_threads, chunks, n_chunks);
        n_sets++;
    }
    double *expected = malloc(dim * sizeof *expected), tolerance, rounding;
    for (size_t i = 0; i < n_chunks; i++)
        for (size_t position = chunks[i].begin; position < chunks[i].end; position++)
            for (unsigned head = 0; head < c->shape.n_heads; head++) {
                naive_row(c, chunks[i].sequence, position, head, expected, &tolerance, &rounding);
                for (size_t set = 0; set < n_sets; set++, at[set - 1] += dim)
                    for (unsigned d = 0; d < dim; d++)
                        if (!(fabs((double)at[set][d] - expected[d]) <=
                              tolerance + (rounds[set] ? rounding : 0)))
                            fail_msg(
                                "set %zu codecs %d %d dim %u heads %u/%u position %zu head %u [%u]: %g not "
                                "%g +- %g",
                                set, c->shape.codecs.k, c->shape.codecs.v, dim, c->shape.n_heads,
                                c->shape.n_kv_heads, position, head, d, (double)at[set][d], expected[d],
                                tolerance);
            }
    for (size_t set = 0; set < n_sets; set++) free(results[set]);
    free(expected);
}

static const unsigned head_dims[] = {8, 16, 32, 64, 80, 96, 128, 256};
static const unsigned groups[] = {1, 3, 4, 9};
static const size_t lengths[] = {1, 31, 32, 33, 127, 128, 129, 511, 512, 513, 1300};

static void every_shape_is_softmax_attention(void **state) {
    (void)state;
    static const size_t row_counts[] = {1, 2, 5, 17, 3, 1, 8};
    size_t n = 0;
    for (size_t pair = 0; pair < COUNT(pairs); pair++)
        for (size_t d = 0; d < COUNT(head_dims); d++)
            for (size_t g = 0; g < COUNT(groups); g++)
                for (size_t l = 0; l < COUNT(lengths); l++, n++) {
                    if (!takes_dim(pairs[pair], head_dims[d])) continue;
                    if (pair > BF16_PAIR && n % 4 != pair % 4) continue; /* time */
                    unsigned n_kv_heads = 1 + n % 2;
                    struct attention_shape shape = {pairs[pair],
                                                    groups[g] * n_kv_heads,
                                                    n_kv_heads,
                                                    head_dims[d],
                                                    1 + (unsigned)n % 3,
                                                    1,
                                                    {lengths[l]},
                                                    0,
                                                    0};
                    struct attention_case c;
                    case_open(&c, &shape, 1);
                    size_t n_rows = row_counts[n % COUNT(row_counts)];
                    size_t begin = lengths[l] > n_rows ? lengths[l] - n_rows : 0;
                    assert_near_naive(&c, &(struct attention_chunk){0, begin, lengths[l]}, 1, 1 + n % 2);
                    case_close(&c);
                }
}

static void mixed_batches_are_softmax_attention(void **state) {
    (void)state;
    for (size_t pair = 0; pair < COUNT(pairs); pair++) {
        struct attention_shape shape = {pairs[pair], 9, 3, 64, 2, 5, {700, 1, 40, 1300, 130}, 0, 0};
        struct attention_case c;
        case_open(&c, &shape, 1);
        const struct attention_chunk chunks[] = {
            {0, 699, 700}, {1, 0, 1}, {2, 0, 40}, {3, 1299, 1300}, {4, 100, 130}};
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++)
            assert_near_naive(&c, chunks, COUNT(chunks), n_threads);
        case_close(&c);
    }
}

static const uint32_t windows[] = {1, 2, 31, 32, 100, 128, 129, 512, 700, 5000};

static void windows_and_softcaps_are_theirs(void **state) {
    (void)state;
    static const size_t row_counts[] = {1, 3, 40};
    size_t n = 0;
    for (size_t pair = 0; pair < COUNT(pairs); pair++)
        for (size_t i = 0; i < COUNT(windows); i++)
            for (size_t j = 0; j < COUNT(row_counts); j++, n++) {
                if (!takes_dim(pairs[pair], head_dims[n % COUNT(head_dims)])) continue;
                unsigned n_kv_heads = 1 + n % 2, dim = head_dims[n % COUNT(head_dims)];
                struct attention_shape shape = {pairs[pair],
                                                groups[n % COUNT(groups)] * n_kv_heads,
                                                n_kv_heads,
                                                dim,
                                                1,
                                                1,
                                                {640},
                                                n % 3 == 2 ? 0 : windows[i],
                                                n % 3 == 0   ? 0
                                                : n % 2 == 0 ? 50
                                                             : 1.5f};
                struct attention_case c;
                case_open(&c, &shape, 1);
                size_t begin = shape.n_keys[0] - row_counts[j];
                assert_near_naive(&c, &(struct attention_chunk){0, begin, shape.n_keys[0]}, 1, 1 + n % 2);
                case_close(&c);
            }
    struct attention_shape shape = {pairs[F16_PAIR], 4, 1, 256, 1, 3, {1300, 40, 700}, 512, 0};
    struct attention_case c;
    case_open(&c, &shape, 1);
    assert_near_naive(&c, (struct attention_chunk[]){{0, 1299, 1300}, {1, 0, 40}, {2, 600, 700}}, 3, 2);
    case_close(&c);
}

static void extreme_scores_stay_right(void **state) {
    (void)state;
    static const float q_sizes[] = {0, 1e4f, 1e-6f};
    for (size_t pair = 0; pair < COUNT(pairs); pair++)
        for (size_t i = 0; i < COUNT(q_sizes); i++) {
            struct attention_shape shape = {pairs[pair], 3, 1, 64, 1, 1, {600}, 0, 0};
            struct attention_case c;
            case_open(&c, &shape, 1);
            for (size_t j = 0; j < c.total_keys * 3 * 64; j++) c.q[j] *= q_sizes[i];
            assert_near_naive(&c, &(struct attention_chunk){0, 520, 600}, 1, 1);
            case_close(&c);
        }
}

/* Scores of -infinity are keys that do not exist; a row of nothing else attends to nothing. */
static void infinite_scores_weigh_nothing(void **state) {
    (void)state;
    struct attention_shape shape = {pairs[0], 1, 1, 8, 1, 1, {600}, 0, 0};
    FOR_EACH_SET(set) {
        struct attention_case c;
        case_open(&c, &shape, 1);
        for (size_t i = 0; i < 600 * 8; i++) c.q[i] = 3e38f;
        c.scale = 1;
        for (size_t key = 0; key < 600; key++) {
            const float gone[8] = {-9, -9, -9, -9, -9, -9, -9, -9}, seen[8] = {0};
            codec_get(CODEC_f32)->encode_k(c.arena + c.payloads[0][key / 32], key % 32,
                                           key == 300 ? seen : gone, 8);
        }
        const struct attention_chunk chunks[] = {{0, 299, 300}, {0, 599, 600}};
        float *out = case_run(&c, *set, 2, chunks, 2);
        for (unsigned d = 0; d < 8; d++) {
            assert_true(out[d] == 0);
            assert_true(out[8 + d] == c.v[300 * 8 + d]);
        }
        free(out);
        case_close(&c);
    }
}

/* ---- the same bits whichever way ---- */

static void assert_same_bits(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bits_of_float(a[i]) != bits_of_float(b[i]))
            fail_msg("number %zu of %zu: %a is not %a", i, n, (double)a[i], (double)b[i]);
}

/* Each position of sequence 0 computed all at once on one thread: what everything else must equal. */
static float *all_at_once(const struct attention_case *c, const struct kernel_set *set) {
    return case_run(c, set, 1, &(struct attention_chunk){0, 0, c->shape.n_keys[0]}, 1);
}

static void chunks_do_not_change_bits(void **state) {
    (void)state;
    static const size_t chunk_sizes[] = {1, 5, 64, 333};
    for (int turn = 0; turn < 2 * (int)COUNT(pairs); turn++) {
        const int pair = turn / 2;
        struct attention_shape shape = {pairs[pair],
                                        pair == F16_PAIR ? 9 : 4,
                                        pair == F16_PAIR ? 3 : 1,
                                        pair == BF16_PAIR ? 40 : 64,
                                        2,
                                        1,
                                        {pair == F16_PAIR ? 700 : 150},
                                        turn % 2 ? 70 : 0,
                                        turn % 2 ? 20 : 0};
        struct attention_case c;
        case_open(&c, &shape, 1);
        const size_t row = (size_t)shape.n_heads * shape.head_dim, n_keys = shape.n_keys[0];
        FOR_EACH_SET(set) {
            float *expected = all_at_once(&c, *set);
            for (size_t i = 0; i < COUNT(chunk_sizes); i++)
                for (size_t begin = 0; begin < n_keys; begin += chunk_sizes[i]) {
                    size_t end = begin + chunk_sizes[i] < n_keys ? begin + chunk_sizes[i] : n_keys;
                    float *out = case_run(&c, *set, 1, &(struct attention_chunk){0, begin, end}, 1);
                    assert_same_bits(out, expected + begin * row, (end - begin) * row);
                    free(out);
                }
            free(expected);
        }
        case_close(&c);
    }
}

/* Teams cut long items into splits, one thread walks them in order: a job of one row and one of many show
 * both. */
static void threads_do_not_change_bits(void **state) {
    (void)state;
    for (int turn = 0; turn < 2 * (int)COUNT(pairs); turn++) {
        struct attention_shape shape = {pairs[turn / 2], 9, 3, 64, 1, 1, {1300}, turn % 2 ? 600 : 0, 0};
        struct attention_case c;
        case_open(&c, &shape, 1);
        const struct attention_chunk chunks[] = {
            {0, 1299, 1300}, {0, 1290, 1300}, {0, 1000, 1100}, {0, 510, 514}};
        FOR_EACH_SET(set) {
            for (size_t i = 0; i < COUNT(chunks); i++) {
                size_t n = (chunks[i].end - chunks[i].begin) * 9 * 64;
                float *expected = case_run(&c, *set, 1, &chunks[i], 1);
                for (unsigned n_threads = 2; n_threads <= 4; n_threads++) {
                    float *out = case_run(&c, *set, n_threads, &chunks[i], 1);
                    assert_same_bits(out, expected, n);
                    free(out);
                }
                free(expected);
            }
        }
        case_close(&c);
    }
}

static void assert_neighbours_do_not_matter(struct kv_codecs codecs, uint32_t window) {
    struct attention_shape shape = {codecs, 9, 3, 64, 2, 33, {1100, 800, 70}, window, 0};
    for (size_t s = 3; s < 33; s++) shape.n_keys[s] = 1 + s * 7;
    struct attention_case c;
    case_open(&c, &shape, 1);
    struct attention_chunk chunks[33] = {{0, 1099, 1100}, {1, 700, 800}, {2, 0, 70}};
    for (size_t s = 3; s < 33; s++)
        chunks[s] = (struct attention_chunk){s, shape.n_keys[s] - 1, shape.n_keys[s]};
    FOR_EACH_SET(set) {
        for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
            float *together = case_run(&c, *set, n_threads, chunks, 33), *at = together;
            for (size_t s = 0; s < 33; s++) {
                size_t n = (chunks[s].end - chunks[s].begin) * 9 * 64;
                float *alone = case_run(&c, *set, 1, &chunks[s], 1);
                assert_same_bits(at, alone, n);
                free(alone);
                at += n;
            }
            free(together);
        }
    }
    case_close(&c);
}

static void neighbours_do_not_change_bits(void **state) {
    (void)state;
    assert_neighbours_do_not_matter(pairs[F16_PAIR], 0);
    assert_neighbours_do_not_matter(pairs[F16_PAIR], 600);
    assert_neighbours_do_not_matter(pairs[AUTO_PAIR], 600);
    assert_neighbours_do_not_matter((struct kv_codecs){.k = CODEC_q8, .v = CODEC_q4}, 0);
    assert_neighbours_do_not_matter((struct kv_codecs){.k = CODEC_q4, .v = CODEC_q8}, 600);
}

/* ---- keys that several sequences see are read once ---- */

/* Lets sequence `s` of the case begin with the first n_blocks blocks of `from`. */
static void share_blocks(struct attention_case *c, size_t s, size_t from, size_t n_blocks) {
    memcpy(c->payloads[s], c->payloads[from], n_blocks * sizeof *c->payloads[s]);
}

static void assert_together_as_alone(const struct attention_case *c, const struct attention_chunk *chunks,
                                     size_t n_chunks) {
    const size_t row = (size_t)c->shape.n_heads * c->shape.head_dim;
    FOR_EACH_SET(set) {
        for (unsigned n_threads = 1; n_threads <= 5; n_threads += 2) {
            float *together = case_run(c, *set, n_threads, chunks, n_chunks), *at = together;
            for (size_t i = 0; i < n_chunks; i++) {
                size_t n = (chunks[i].end - chunks[i].begin) * row;
                float *alone = case_run(c, *set, 1, &chunks[i], 1);
                assert_same_bits(at, alone, n);
                free(alone);
                at += n;
            }
            free(together);
        }
    }
}

/* Random trees of sequences: each begins with a random part of an earlier one, and goes on alone; rows of
 * decode and of small chunks, in random order. */
static void shared_keys_do_not_change_bits(void **state) {
    (void)state;
    enum { N_TURNS = 24, N_SEQUENCES = 20 };
    static const struct {
        unsigned n_heads, n_kv_heads, head_dim;
    } heads[] = {{9, 3, 64}, {4, 1, 40}, {7, 1, 16}, {2, 2, 96}, {26, 2, 8}};
    static const uint32_t some_windows[] = {0, 0, 700, 150, 0, 512};
    for (unsigned turn = 0; turn < N_TURNS; turn++) {
        struct attention_shape shape = {.codecs = pairs[turn % COUNT(pairs)],
                                        .n_heads = heads[turn % COUNT(heads)].n_heads,
                                        .n_kv_heads = heads[turn % COUNT(heads)].n_kv_heads,
                                        .head_dim = heads[turn % COUNT(heads)].head_dim,
                                        .n_layers = 1,
                                        .n_sequences = N_SEQUENCES,
                                        .window = some_windows[turn % COUNT(some_windows)],
                                        .softcap = turn % 4 == 1 ? 20 : 0};
        if (!takes_dim(shape.codecs, shape.head_dim)) shape.codecs = pairs[F16_PAIR];
        size_t from[N_SEQUENCES] = {0}, n_shared[N_SEQUENCES] = {0};
        for (size_t s = 0; s < N_SEQUENCES; s++) {
            uint64_t random = rng_u64(turn, s);
            if (s > 0) from[s] = random % 3 == 0 ? random / 3 % s : 0;
            if (s > 0) n_shared[s] = (random >> 16) % (shape.n_keys[from[s]] / BLOCK_TOKENS + 1);
            if (s > 0 && random % 4 == 1) n_shared[s] = shape.n_keys[from[s]] / BLOCK_TOKENS;
            shape.n_keys[s] =
                s == 0 ? 1500
                       : n_shared[s] * BLOCK_TOKENS + 1 + (random >> 32) % (random % 5 == 0 ? 600 : 60);
        }
        struct attention_case c;
        case_open(&c, &shape, 1);
        struct attention_chunk chunks[N_SEQUENCES];
        for (size_t i = 0; i < N_SEQUENCES; i++) {
            size_t s = (i * 7 + turn) % N_SEQUENCES, most = shape.n_keys[s] - n_shared[s] * BLOCK_TOKENS;
            size_t n_rows = rng_u64(turn, 100 + i) % 3 > 0 ? 1 : 1 + rng_u64(turn, 200 + i) % 9;
            if (n_rows > most) n_rows = most;
            chunks[i] = (struct attention_chunk){s, shape.n_keys[s] - n_rows, shape.n_keys[s]};
        }
        for (size_t s = 0; s < N_SEQUENCES; s++) share_blocks(&c, s, from[s], n_shared[s]);
        assert_together_as_alone(&c, chunks, N_SEQUENCES);
        case_close(&c);
    }
}

/* 33 users of one prompt and one stranger; the last keys of the prompt fill no whole tile. */
static void users_of_one_prompt_do_not_change_bits(void **state) {
    (void)state;
    for (uint32_t window = 0; window <= 600; window += 600) {
        struct attention_shape shape = {.codecs = {.k = CODEC_f16, .v = CODEC_f16},
                                        .n_heads = 9,
                                        .n_kv_heads = 3,
                                        .head_dim = 64,
                                        .n_layers = 1,
                                        .n_sequences = 34,
                                        .window = window};
        for (size_t s = 0; s < 34; s++) shape.n_keys[s] = 1056 + 1 + s * 5;
        struct attention_case c;
        case_open(&c, &shape, 1);
        struct attention_chunk chunks[34];
        for (size_t s = 0; s < 34; s++) {
            if (s > 0 && s < 33) share_blocks(&c, s, 0, 1056 / BLOCK_TOKENS);
            chunks[s] = (struct attention_chunk){s, shape.n_keys[s] - 1, shape.n_keys[s]};
        }
        assert_together_as_alone(&c, chunks, 34);
        case_close(&c);
    }
}

/* ---- one tile ---- */

enum { TILE_DIM = 96, INFINITE_KEY = 2 * BLOCK_TOKENS + 28 };

struct tile_state {
    float q[ATTENTION_MAX_ROWS][TILE_DIM], max[ATTENTION_MAX_ROWS], sum[ATTENTION_MAX_ROWS],
        out[ATTENTION_MAX_ROWS][TILE_DIM];
};

static struct attention_rows rows_of(struct tile_state *state, unsigned first, unsigned n_rows) {
    static _Alignas(64) uint8_t memory[ATTENTION_CODE_ROWS * (8 + 2 * TILE_DIM) + 64];
    static struct attention_codes codes;
    assert_true(attention_codes_bytes(TILE_DIM) <= sizeof memory);
    codes = attention_codes_in(memory);
    return (struct attention_rows){.n_rows = n_rows,
                                   .head_dim = TILE_DIM,
                                   .q = state->q[first],
                                   .max = state->max + first,
                                   .sum = state->sum + first,
                                   .out = state->out[first],
                                   .codes = &codes};
}

/* Puts another V row into slot `slot` of the block of keys first .. */
static void store_v_row(struct attention_case *c, void *v_area, size_t first, unsigned slot,
                        const float *row) {
    const struct codec *codec = codec_get(c->shape.codecs.v);
    memcpy(c->v + (first + slot) * TILE_DIM, row, TILE_DIM * sizeof *row);
    if (codec->is_row)
        codec->encode_v(v_area, slot, row, TILE_DIM);
    else
        codec->encode_v_block(v_area, c->v + first * TILE_DIM, TILE_DIM);
}

/* Rows of any visibility side by side equal the same rows alone, also when keys that only a neighbour sees
 * are not numbers; rows that see nothing keep their bits; blocks past the last visible key are not touched.
 */
static void rows_of_a_tile_are_independent(void **test_state) {
    (void)test_state;
    for (size_t pair = 0; pair < AUTO_PAIR; pair++) { /* a tile has one form */
        struct attention_shape shape = {pairs[pair], 1, 1, TILE_DIM, 1, 1, {ATTENTION_TILE}, 0, 0};
        struct attention_case c;
        case_open(&c, &shape, 1);
        float infinite[TILE_DIM];
        for (unsigned d = 0; d < TILE_DIM; d++) infinite[d] = d % 2 ? INFINITY : -1;
        const size_t area = c.layout.layers[0].areas[KV_OPEN].k_bytes;
        store_v_row(&c, c.arena + c.payloads[0][2] + area, INFINITE_KEY - 28, 28, infinite);
        FOR_EACH_SET(set) {
            if ((*set)->attend_begin != NULL) (*set)->attend_begin(TILE_DIM);
            for (unsigned n_rows = 1; n_rows <= ATTENTION_MAX_ROWS; n_rows++) {
                static struct tile_state together, alone;
                uint32_t begin[ATTENTION_MAX_ROWS], end[ATTENTION_MAX_ROWS], first = ATTENTION_TILE, most = 0;
                bool has_window = n_rows % 4 > 1;
                for (unsigned r = 0; r < n_rows; r++) {
                    uint64_t random = rng_u64(n_rows, r);
                    end[r] = n_rows % 3 == 0 ? 90 + r % 5 : (uint32_t)(random % (ATTENTION_TILE + 1));
                    begin[r] = has_window ? (uint32_t)(random >> 32) % (end[r] + 1) : 0;
                    if (random % 5 == 0 || begin[r] == end[r]) begin[r] = end[r] = 0;
                    if (end[r] > most) most = end[r];
                    if (begin[r] != end[r] && begin[r] < first) first = begin[r];
                    together.max[r] = 0.5f;
                    together.sum[r] = 2;
                    for (unsigned d = 0; d < TILE_DIM; d++) {
                        together.q[r][d] = case_random(n_rows, r * TILE_DIM + d);
                        together.out[r][d] = end[r] == 0 ? NAN : r % 4 == 0 ? -0.0f : case_random(9, d);
                    }
                }
                alone = together;
                struct tile_state before = together;
                struct attention_tile tile = {.k_codec = pairs[pair].k,
                                              .v_codec = pairs[pair].v,
                                              .begin = begin,
                                              .end = end,
                                              .softcap = n_rows % 5 == 0 ? 3 : 0};
                for (unsigned block = first / BLOCK_TOKENS; block * BLOCK_TOKENS < most; block++) {
                    tile.k[block] = c.arena + c.payloads[0][block];
                    tile.v[block] = (const uint8_t *)tile.k[block] + area;
                }
                struct attention_rows rows = rows_of(&together, 0, n_rows);
                (*set)->attend_prepare(&rows);
                (*set)->attend_tile(&rows, &tile);
                for (unsigned r = 0; r < n_rows; r++) {
                    tile.begin = begin + r;
                    tile.end = end + r;
                    rows = rows_of(&alone, r, 1);
                    (*set)->attend_prepare(&rows);
                    if (end[r] > 0) (*set)->attend_tile(&rows, &tile);
                }
                assert_memory_equal(&together, &alone, sizeof together);
                for (unsigned r = 0; r < n_rows; r++) {
                    if (end[r] == 0) continue;
                    const bool sees_infinity = begin[r] <= INFINITE_KEY && INFINITE_KEY < end[r];
                    assert_true(together.sum[r] != before.sum[r]);
                    assert_true(together.sum[r] > 0 || sees_infinity);
                    assert_true(isfinite(together.out[r][1] / together.sum[r]) == !sees_infinity);
                }
            }
            if ((*set)->attend_end != NULL) (*set)->attend_end();
        }
        case_close(&c);
    }
}

/* Numbers so small that products or K and V themselves are denormal, which some instructions take for 0: 48
 * rows go the same way as one. */
static void rows_of_small_numbers_are_independent(void **test_state) {
    (void)test_state;
    static const float sizes[][2] = {{2e-38f, 1}, {1e-20f, 1e-19f}, {1, 1e-38f}}; /* of K and V, of q */
    for (size_t i = 0; i < COUNT(sizes) * AUTO_PAIR; i++) {
        const struct kv_codecs codecs = pairs[i / COUNT(sizes)];
        struct attention_shape shape = {codecs, 1, 1, TILE_DIM, 1, 1, {ATTENTION_TILE}, 0, 0};
        struct attention_case c;
        case_open(&c, &shape, sizes[i % COUNT(sizes)][0]);
        struct attention_tile tile = {.k_codec = codecs.k, .v_codec = codecs.v};
        for (unsigned block = 0; block < ATTENTION_TILE_BLOCKS; block++) {
            tile.k[block] = c.arena + c.payloads[0][block];
            tile.v[block] = (const uint8_t *)tile.k[block] + c.layout.layers[0].areas[KV_OPEN].k_bytes;
        }
        static struct tile_state together, alone;
        uint32_t begin[ATTENTION_MAX_ROWS] = {0}, end[ATTENTION_MAX_ROWS];
        FOR_EACH_SET(set) {
            memset(&together, 0, sizeof together);
            for (unsigned r = 0; r < ATTENTION_MAX_ROWS; r++) {
                end[r] = ATTENTION_TILE;
                together.max[r] = -INFINITY;
                for (unsigned d = 0; d < TILE_DIM; d++)
                    together.q[r][d] = sizes[i % COUNT(sizes)][1] * case_random(i, r * TILE_DIM + d);
            }
            alone = together;
            tile.begin = begin;
            tile.end = end;
            if ((*set)->attend_begin != NULL) (*set)->attend_begin(TILE_DIM);
            for (unsigned r = 0, n; r < ATTENTION_MAX_ROWS; r += n) { /* in runs of 1 to 9 rows */
                n = 1 + r % 9 < ATTENTION_MAX_ROWS - r ? 1 + r % 9 : ATTENTION_MAX_ROWS - r;
                struct attention_rows rows = rows_of(&alone, r, n);
                (*set)->attend_prepare(&rows);
                (*set)->attend_tile(&rows, &tile);
            }
            struct attention_rows rows = rows_of(&together, 0, ATTENTION_MAX_ROWS);
            (*set)->attend_prepare(&rows);
            (*set)->attend_tile(&rows, &tile);
            if ((*set)->attend_end != NULL) (*set)->attend_end();
            assert_memory_equal(&together, &alone, sizeof together);
        }
        case_close(&c);
    }
}

static void merging_nothing_changes_nothing(void **test_state) {
    (void)test_state;
    FOR_EACH_SET(set) {
        static struct tile_state state, part;
        for (unsigned r = 0; r < 5; r++) {
            state.max[r] = 1;
            state.sum[r] = 3;
            part.max[r] = -INFINITY;
            part.sum[r] = 0;
            for (unsigned d = 0; d < TILE_DIM; d++) state.out[r][d] = -0.0f, part.out[r][d] = 0;
        }
        part.max[4] = 2;
        part.sum[4] = 5;
        struct tile_state before = state;
        struct attention_rows rows = rows_of(&state, 0, 5), part_rows = rows_of(&part, 0, 5);
        (*set)->attend_merge(&rows, &part_rows);
        assert_memory_equal(state.out, before.out, 4 * sizeof *state.out);
        assert_memory_equal(state.sum, before.sum, 4 * sizeof *state.sum);
        assert_memory_equal(state.max, before.max, 4 * sizeof *state.max);
        assert_true(state.max[4] == 2);
        assert_true(fabs((double)state.sum[4] - (5 + 3 * exp(-1))) < 1e-6);
    }
}

/* ---- rotating ---- */

static void rotations_are_hadamards(void **state) {
    (void)state;
    static const unsigned sizes[] = {1, 2, 4, 8, 16, 20, 24, 32, 40, 64, 72, 80, 96, 112, 128, 256, 320, 512};
    for (size_t s = 0; s < COUNT(sizes); s++) {
        const unsigned n = sizes[s];
        unsigned block = 1;
        while (n % (2 * block) == 0) block *= 2;
        float x[512 + 1], expected[512];
        for (unsigned i = 0; i < n; i++) x[i] = case_random(n, i);
        x[n] = 12345;
        kernel_set_get("scalar")->rotate(memcpy(expected, x, sizeof expected), n);
        for (unsigned i = 0; i < n; i++) {
            double sum = 0; /* row i of the matrix: the sign is the parity of the common bits */
            for (unsigned j = 0; j < block; j++) {
                const double term = (double)x[i / block * block + j];
                sum += __builtin_parity(j & (i % block)) ? -term : term;
            }
            assert_true(fabs((double)expected[i] - sum / sqrt(block)) < 1e-5);
        }
        FOR_EACH_SET(set) {
            float rotated[512 + 1];
            (*set)->rotate(memcpy(rotated, x, sizeof rotated), n);
            assert_same_bits(rotated, expected, n);
            assert_true(rotated[n] == 12345);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench_attention();
    if (argc > 2 && strcmp(argv[1], "--only") == 0) cmocka_set_test_filter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotations_are_hadamards),
        cmocka_unit_test(rows_of_a_tile_are_independent),
        cmocka_unit_test(rows_of_small_numbers_are_independent),
        cmocka_unit_test(merging_nothing_changes_nothing),
        cmocka_unit_test(every_shape_is_softmax_attention),
        cmocka_unit_test(mixed_batches_are_softmax_attention),
        cmocka_unit_test(windows_and_softcaps_are_theirs),
        cmocka_unit_test(extreme_scores_stay_right),
        cmocka_unit_test(infinite_scores_weigh_nothing),
        cmocka_unit_test(chunks_do_not_change_bits),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(neighbours_do_not_change_bits),
        cmocka_unit_test(shared_keys_do_not_change_bits),
        cmocka_unit_test(users_of_one_prompt_do_not_change_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
