/* What model/cost.h says a step reads and computes is what a forward pass that only counts is asked for: byte
 * for byte and operation for operation, for every model given as an argument, every format of K and V that
 * its heads take, prompts in chunks, and users who decode together with and without a prompt in common. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "forward_run.h"
#include "kernel_count.h"
#include "model/cost.h"

enum { MAX_TOKENS = 1200, MAX_USERS = 20, MAX_ROWS = 700, N_DECODES = 40 };
/* More rows of users who see the same keys do not go into one tile: they read them again, out of a core's
 * cache. */
enum { MOST_TOGETHER = ATTENTION_MAX_ROWS };

static const char *const formats[] = {
    "f32", "f16", "bf16", "q8", "k8v4", "q4", "q3", "f16,layers=0:q4", "q8,layers=1:k=f16,layers=0:v=q4"};
static int n_models;
static char **models;
static int32_t tokens[MAX_USERS][MAX_TOKENS];
static struct forward_run run;
static const char *path, *format;
static uint64_t n_compared;

static void compare(const char *what, const struct cost_batch *batch, uint64_t counted, uint64_t formula) {
    if (counted != formula)
        fail_msg("%s, KV %s, %" PRIu64 " sequences of %" PRIu64 " rows at %" PRIu64 " (%" PRIu64
                 " shared): %s counted %" PRIu64 ", the formula has %" PRIu64,
                 path, format, batch->n_sequences, batch->n_new, batch->first_position, batch->n_shared, what,
                 counted, formula);
}

/* One step, counted, beside the formula: of users from `first` on, who have their first n_shared tokens in
 * common. */
static void step(struct kv_seq *seqs, uint32_t first, uint32_t n_users, uint32_t n_rows, uint32_t n_shared,
                 bool wants) {
    static float logits[MAX_USERS * 1024];
    struct forward_part parts[MAX_USERS];
    const struct cost_batch batch = {.n_sequences = n_users,
                                     .n_new = n_rows,
                                     .first_position = seqs[0].n_computed,
                                     .n_wanted = wants ? n_users * (uint64_t)n_rows : 0,
                                     .n_shared = n_shared};
    assert_true(run.model.description.n_vocab <= 1024 && (!wants || n_rows == 1));
    for (uint32_t u = 0; u < n_users; u++)
        parts[u] =
            (struct forward_part){&seqs[u], tokens[first + u], n_rows, wants ? logits + u * 1024 : NULL};
    kernel_count_begin(n_users == 1);
    if (forward_step(&run, parts, n_users) < 0) fail_msg("%s: %s", path, err_message());
    struct kernel_counts counts = kernel_count_end();
    struct cost cost = model_cost(&run.model, &run.layout, &batch);
    compare("weight bytes", &batch, counts.weight_bytes, cost.weight_bytes);
    compare("KV bytes read", &batch, counts.kv_read_bytes, cost.kv_read_bytes);
    compare("KV bytes read, as the step counts them,", &batch, run.workspace.reads.bytes, cost.kv_read_bytes);
    compare("KV bytes written", &batch, counts.kv_write_bytes, cost.kv_write_bytes);
    compare("quantised operations", &batch, counts.quantised_ops, cost.quantised_ops);
    compare("bf16 operations", &batch, counts.bf16_ops, cost.bf16_ops);
    compare("f32 operations", &batch, counts.f32_ops, cost.f32_ops);
    compare("operations on codes", &batch, counts.coded_ops, cost.coded_ops);
    compare("numbers of vectors", &batch, counts.vector_numbers, cost.vector_numbers);
    compare("rows", &batch, run.batch.n_rows, cost.rows);
    n_compared++;
}

/* A user's prompt of n tokens in chunks. */
static void prefill(struct kv_seq *seq, uint32_t user, uint32_t n_tokens, uint32_t chunk) {
    while (seq->n_computed < n_tokens) {
        uint32_t left = n_tokens - seq->n_computed;
        step(seq, user, 1, left < chunk ? left : chunk, 0, false);
    }
}

/* n_users decode after n_shared tokens in common. */
static void decode_together(uint32_t n_users, uint32_t n_shared) {
    struct kv_seq seqs[MAX_USERS] = {0};
    prefill(&seqs[0], 0, n_shared, MAX_ROWS);
    for (uint32_t u = 1; u < n_users; u++)
        assert_int_equal(kv_fork(run.kv, &seqs[u], &seqs[0], n_shared),
                         n_shared / BLOCK_TOKENS * BLOCK_TOKENS);
    for (uint32_t i = 0; i < N_DECODES; i++) step(seqs, 0, n_users, 1, n_shared, true);
    for (uint32_t u = 0; u < n_users; u++) kv_release(run.kv, &seqs[u]);
}

/* n_users decode, each after n_tokens of its own. */
static void decode_apart(uint32_t n_users, uint32_t n_tokens) {
    struct kv_seq seqs[MAX_USERS] = {0};
    for (uint32_t u = 0; u < n_users; u++) prefill(&seqs[u], u, n_tokens, MAX_ROWS);
    for (uint32_t i = 0; i < N_DECODES; i++) step(seqs, 0, n_users, 1, 0, true);
    for (uint32_t u = 0; u < n_users; u++) kv_release(run.kv, &seqs[u]);
}

static void check_format(void) {
    struct kv_seq seq = {0};
    prefill(&seq, 0, MAX_TOKENS - 1, 37);
    kv_release(run.kv, &seq);
    prefill(&seq, 0, MAX_TOKENS - 1, MAX_ROWS);
    kv_release(run.kv, &seq);
    decode_apart(1, 1);
    decode_apart(3, 130);
    decode_together(5, 256);
    const unsigned group = run.model.description.n_heads / run.model.description.n_kv_heads;
    decode_together(MOST_TOGETHER / group < MAX_USERS ? MOST_TOGETHER / group : MAX_USERS, 640);
}

static void the_formula_is_what_the_forward_pass_asks_for(void **state) {
    (void)state;
    uint64_t n_formats = 0;
    for (int m = 0; m < n_models; m++) {
        path = models[m];
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            format = formats[f];
            struct forward_opts opts = {.path = path,
                                        .kernels = &kernel_set_count,
                                        .n_threads = 1,
                                        .max_rows = MAX_ROWS,
                                        .max_sequences = MAX_USERS,
                                        .max_tokens = MAX_TOKENS};
            assert_int_equal(kv_rules_parse(&opts.kv, format), 0);
            int result = forward_open(&run, &opts);
            if (result == ERR_INVALID) continue; /* heads that the format does not take */
            if (result < 0) fail_msg("%s: %s", path, err_message());
            check_format();
            forward_close(&run);
            n_formats++;
        }
    }
    assert_true(n_formats >= 4 * (uint64_t)n_models && n_compared >= 200 * n_formats);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    n_models = argc - 1;
    models = argv + 1;
    for (uint32_t u = 0; u < MAX_USERS; u++)
        for (uint32_t i = 0; i < MAX_TOKENS; i++) tokens[u][i] = (int32_t)(rng_u64(u, i) % 200);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_formula_is_what_the_forward_pass_asks_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
