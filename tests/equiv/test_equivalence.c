/* The same tokens give the same logits, bit for bit, whichever way they are computed: in chunks of any size,
 * by any number of threads, alone or beside others, at once or after a cut.
 *
 *     test_equivalence tiny MODEL     every kernel set of this processor, every codec, everything varied
 *     test_equivalence brief MODEL    the same with one codec for each kernel set
 *     test_equivalence large MODEL    the default kernel set with f16, a choice of variations
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "forward_run.h"
#include "kernel/attention.h"

/* Three splits: the order in which two of them are merged makes no difference. */
enum { N_SEQUENCES = 16, MAX_SEQUENCE = 100, LONG_TOKENS = 2 * ATTENTION_SPLIT + 64 };

static const char *model_path;
static bool is_brief;

/* ---- one way of computing ---- */

struct way {
    struct forward_run run;
    char name[160];
};

static void open_way(struct way *way, const char *path, const struct kernel_set *kernels, enum codec_id codec,
                     unsigned n_threads, uint32_t max_tokens) {
    struct forward_opts opts = {.path = path,
                                .kernels = kernels,
                                .n_threads = n_threads,
                                .kv = kv_rules_of(codec),
                                .max_rows = max_tokens < 256 ? 256 : max_tokens,
                                .max_sequences = N_SEQUENCES,
                                .max_tokens = max_tokens};
    if (forward_open(&way->run, &opts) < 0) fail_msg("%s: %s", path, err_message());
    const char *slash = strrchr(path, '/');
    snprintf(way->name, sizeof way->name, "%s, %s, %s, %u threads", slash == NULL ? path : slash + 1,
             kernels->name, codec_get(codec)->name, n_threads);
}

static size_t n_vocab_of(const struct way *way) { return way->run.model.description.n_vocab; }

static float *new_logits(const struct way *way, uint32_t n_tokens) {
    float *logits = malloc(n_tokens * n_vocab_of(way) * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static void random_tokens(const struct way *way, uint64_t stream, int32_t *tokens, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_u64(stream, i) % n_vocab_of(way));
}

/* Rows first .. first + n_rows - 1 of a timeline, just computed, against the timeline's `expected`. */
static void assert_rows(const struct way *way, const char *how, uint32_t first, uint32_t n_rows,
                        const float *logits, const float *expected) {
    size_t n_vocab = n_vocab_of(way);
    for (uint32_t row = 0; row < n_rows; row++) {
        const float *is = logits + row * n_vocab, *should_be = expected + (first + row) * n_vocab;
        if (memcmp(is, should_be, n_vocab * sizeof *is) == 0) continue;
        size_t i = 0;
        while (memcmp(&is[i], &should_be[i], sizeof *is) == 0) i++;
        fail_msg("%s, %s: position %u, logit %zu is %.9g, should be %.9g", way->name, how, first + row, i,
                 (double)is[i], (double)should_be[i]);
    }
}

static void assert_sane(const float *logits, size_t n) { /* a NaN would equal itself here */
    bool varies = false;
    for (size_t i = 0; i < n; i++) {
        assert_true(logits[i] > -1e6f && logits[i] < 1e6f);
        varies |= logits[i] != logits[0];
    }
    assert_true(varies);
}

/* ---- variations ---- */

static void check_chunks(struct way *way, const uint32_t *chunks, const int32_t *tokens, uint32_t n_tokens,
                         const float *expected) {
    float *logits = new_logits(way, n_tokens);
    for (; *chunks != 0; chunks++) {
        char how[40];
        snprintf(how, sizeof how, "chunks of %u", *chunks);
        memset(logits, 0xff, n_tokens * n_vocab_of(way) * sizeof *logits);
        assert_int_equal(forward_all(&way->run, tokens, n_tokens, *chunks, logits), 0);
        assert_rows(way, how, 0, n_tokens, logits, expected);
    }
    free(logits);
}

/* What stays of n_tokens after a cut: all before it if it is at a border, in the open block, or, with row
 * codecs, in the last full one. */
static uint32_t kept_by_cut(const struct way *way, uint32_t cut, uint32_t n_tokens) {
    const uint32_t n_reopened = kv_layout_is_row(&way->run.layout) ? 1 : 0;
    bool is_exact = cut % BLOCK_TOKENS == 0 || cut / BLOCK_TOKENS + n_reopened >= n_tokens / BLOCK_TOKENS;
    return is_exact ? cut : cut - cut % BLOCK_TOKENS;
}

/* Another text from position `cut` on, then back to the cut, or the border before it, and on as it should be.
 */
static void check_cut(struct way *way, uint32_t cut, const int32_t *tokens, uint32_t n_tokens,
                      const float *expected) {
    float *logits = new_logits(way, n_tokens);
    int32_t *astray = malloc(n_tokens * sizeof *astray);
    assert_non_null(astray);
    memcpy(astray, tokens, n_tokens * sizeof *astray);
    random_tokens(way, 1000 + cut, astray + cut, n_tokens - cut);
    struct kv_seq seq = {0};
    struct forward_part part = {&seq, astray, n_tokens, logits};
    assert_int_equal(forward_step(&way->run, &part, 1), 0);
    const uint32_t n_kept = kv_truncate(way->run.kv, &seq, cut);
    assert_int_equal(n_kept, kept_by_cut(way, cut, n_tokens));
    for (uint32_t first = n_kept; first < n_tokens; first = seq.n_computed) {
        uint32_t n_rows = first == n_kept ? 1 : 37;
        if (n_rows > n_tokens - first) n_rows = n_tokens - first;
        part = (struct forward_part){&seq, tokens, n_rows, logits};
        assert_int_equal(forward_step(&way->run, &part, 1), 0);
        assert_rows(way, "after a cut", first, n_rows, logits, expected);
    }
    kv_release(way->run.kv, &seq);
    free(astray);
    free(logits);
}

struct timeline {
    struct kv_seq seq;
    uint32_t n_tokens;
    int32_t tokens[MAX_SEQUENCE];
    float *expected, *logits;
};

/* What a sequence does in a step: nothing, decode, or a chunk of random length. */
static uint32_t rows_of_turn(const struct timeline *timeline, uint64_t stream, uint64_t turn) {
    uint32_t n_left = timeline->n_tokens - timeline->seq.n_computed,
             n_rows = (uint32_t)(rng_u64(stream, turn) % 60);
    n_rows = n_rows < 10 ? 0 : n_rows < 40 ? 1 : n_rows - 38;
    return n_rows < n_left ? n_rows : n_left;
}

/* Sixteen timelines of different lengths, each alone and then all in the same steps, in changing order. */
static void check_batch(struct way *way) {
    static struct timeline timelines[N_SEQUENCES];
    for (uint32_t i = 0; i < N_SEQUENCES; i++) {
        struct timeline *timeline = &timelines[i];
        *timeline = (struct timeline){.n_tokens = 1 + (uint32_t)(rng_u64(2, i) % MAX_SEQUENCE)};
        random_tokens(way, 100 + i, timeline->tokens, timeline->n_tokens);
        timeline->expected = new_logits(way, timeline->n_tokens);
        timeline->logits = new_logits(way, timeline->n_tokens);
        assert_int_equal(
            forward_all(&way->run, timeline->tokens, timeline->n_tokens, MAX_SEQUENCE, timeline->expected),
            0);
    }
    uint32_t n_left = N_SEQUENCES;
    for (uint64_t step = 0; n_left > 0; step++) {
        struct forward_part parts[N_SEQUENCES];
        uint32_t members[N_SEQUENCES], firsts[N_SEQUENCES], n_parts = 0, n_rows = 0;
        for (uint32_t i = 0; i < N_SEQUENCES; i++) {
            uint32_t member = (uint32_t)((i * 5 + step) % N_SEQUENCES);
            struct timeline *timeline = &timelines[member];
            uint32_t n = rows_of_turn(timeline, 3 + member, step);
            if (n == 0 || n_rows + n > way->run.batch.max_rows) continue;
            n_rows += n;
            members[n_parts] = member;
            firsts[n_parts] = timeline->seq.n_computed;
            parts[n_parts++] = (struct forward_part){&timeline->seq, timeline->tokens, n, timeline->logits};
        }
        if (n_parts == 0) continue;
        assert_int_equal(forward_step(&way->run, parts, n_parts), 0);
        for (uint32_t i = 0; i < n_parts; i++) {
            struct timeline *timeline = &timelines[members[i]];
            assert_rows(way, "in a batch", firsts[i], parts[i].n_rows, timeline->logits, timeline->expected);
            if (timeline->seq.n_computed < timeline->n_tokens) continue;
            kv_release(way->run.kv, &timeline->seq);
            timeline->seq.n_computed = timeline->n_tokens; /* released, but finished: takes no further turn */
            n_left--;
        }
    }
    for (uint32_t i = 0; i < N_SEQUENCES; i++) {
        free(timelines[i].expected);
        free(timelines[i].logits);
    }
}

/* Decodes the rows from `first` on, one a step, after a prefill by others in chunks of 128. */
static void check_tail(struct way *way, uint32_t first, const int32_t *tokens, uint32_t n_tokens,
                       const float *expected) {
    struct kv_seq seq = {0};
    float *logits = new_logits(way, 128);
    while (seq.n_computed < n_tokens) {
        uint32_t at = seq.n_computed, n_rows = at < first ? first - at : 1;
        if (n_rows > 128) n_rows = 128;
        assert_int_equal(forward_step(&way->run, &(struct forward_part){&seq, tokens, n_rows, logits}, 1), 0);
        assert_rows(way, "chunks of 128, then decoded", at, n_rows, logits, expected);
    }
    kv_release(way->run.kv, &seq);
    free(logits);
}

/* ---- the programs ---- */

/* n_ways of 1, 2 and 3 threads. */
static void check_model(const struct kernel_set *kernels, enum codec_id codec, unsigned n_ways) {
    enum { N_TOKENS = 160 };
    static const uint32_t chunks[] = {N_TOKENS, 1, 7, 31, 32, 33, 64, 0}, few_chunks[] = {N_TOKENS, 7, 33, 0};
    static const uint32_t cuts[] = {0, 1, 31, 32, 33, 64, 100, N_TOKENS - 1, N_TOKENS - 5};
    int32_t tokens[N_TOKENS];
    float *expected = NULL;
    for (unsigned n_threads = 1; n_threads <= n_ways; n_threads++) {
        struct way way;
        open_way(&way, model_path, kernels, codec, n_threads, N_TOKENS);
        if (expected == NULL) {
            random_tokens(&way, 1, tokens, N_TOKENS);
            expected = new_logits(&way, N_TOKENS);
            assert_int_equal(forward_all(&way.run, tokens, N_TOKENS, N_TOKENS, expected), 0);
            assert_sane(expected, N_TOKENS * n_vocab_of(&way));
        }
        check_chunks(&way, n_threads == 1 ? chunks : few_chunks, tokens, N_TOKENS, expected);
        for (size_t i = n_threads - 1; i < sizeof cuts / sizeof *cuts; i += n_threads)
            check_cut(&way, cuts[i], tokens, N_TOKENS, expected);
        check_batch(&way);
        forward_close(&way.run);
    }
    free(expected);
}

/* Beyond ATTENTION_SPLIT keys, where a row's attention is cut into splits that are merged; a team of more
 * than one computes the splits of a decoded row side by side. */
static void check_long(const struct kernel_set *kernels, enum codec_id codec) {
    static const uint32_t chunks[] = {LONG_TOKENS, 64, 0};
    int32_t tokens[LONG_TOKENS];
    float *expected = NULL;
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct way way;
        open_way(&way, model_path, kernels, codec, n_threads, LONG_TOKENS);
        if (expected == NULL) {
            random_tokens(&way, 5, tokens, LONG_TOKENS);
            expected = new_logits(&way, LONG_TOKENS);
            assert_int_equal(forward_all(&way.run, tokens, LONG_TOKENS, LONG_TOKENS, expected), 0);
        }
        if (n_threads == 2) check_chunks(&way, chunks, tokens, LONG_TOKENS, expected);
        if (n_threads == 2) check_cut(&way, 2 * ATTENTION_SPLIT - 3, tokens, LONG_TOKENS, expected);
        check_tail(&way, LONG_TOKENS - 10, tokens, LONG_TOKENS, expected);
        forward_close(&way.run);
    }
    free(expected);
}

/* Numbers of a head of the model. */
static unsigned head_dim_of_model(void) {
    struct way way;
    open_way(&way, model_path, kernel_set_get("scalar"), CODEC_f16, 1, 1);
    const unsigned head_dim = way.run.model.description.head_dim;
    forward_close(&way.run);
    return head_dim;
}

static void a_tiny_model_computes_the_same_whichever_way(void **state) {
    (void)state;
    int n_sets = 0;
    const unsigned head_dim = head_dim_of_model();
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++) {
        if (!(*set)->is_supported()) continue;
        for (int codec = 0; codec < CODEC_COUNT; codec++) {
            if (is_brief && codec != n_sets % CODEC_COUNT) continue;
            if (head_dim % codec_get((enum codec_id)codec)->dim_multiple != 0) continue;
            check_model(*set, (enum codec_id)codec, 3);
            check_long(*set, (enum codec_id)codec);
        }
        n_sets++;
    }
}

static void a_large_model_computes_the_same_whichever_way(void **state) {
    (void)state;
    enum { SHORT_TOKENS = 160, N_TOKENS = ATTENTION_SPLIT + 128 };
    static const uint32_t chunks[] = {33, 64, 0}, single[] = {1, 0};
    const struct kernel_set *kernels = kernel_set_get(NULL);
    assert_non_null(kernels);
    int32_t tokens[N_TOKENS];
    float *expected = NULL;
    for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
        struct way way;
        open_way(&way, model_path, kernels, CODEC_f16, n_threads, N_TOKENS);
        if (expected == NULL) {
            random_tokens(&way, 1, tokens, N_TOKENS);
            expected = new_logits(&way, N_TOKENS);
            assert_int_equal(forward_all(&way.run, tokens, N_TOKENS, N_TOKENS, expected), 0);
            assert_sane(expected, N_TOKENS * n_vocab_of(&way));
        } else {
            check_chunks(&way, chunks, tokens, SHORT_TOKENS, expected);
            check_cut(&way, 77, tokens, SHORT_TOKENS, expected);
            check_batch(&way);
        }
        check_chunks(&way, single, tokens, n_threads == 1 ? 40 : SHORT_TOKENS, expected);
        check_tail(&way, N_TOKENS - 10, tokens, N_TOKENS, expected);
        forward_close(&way.run);
    }
    free(expected);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    model_path = argv[2];
    is_brief = strcmp(argv[1], "brief") == 0;
    const struct CMUnitTest tiny[] = {cmocka_unit_test(a_tiny_model_computes_the_same_whichever_way)};
    const struct CMUnitTest large[] = {cmocka_unit_test(a_large_model_computes_the_same_whichever_way)};
    return strcmp(argv[1], "large") == 0 ? cmocka_run_group_tests(large, NULL, NULL)
                                         : cmocka_run_group_tests(tiny, NULL, NULL);
}
