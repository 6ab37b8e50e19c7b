/* What sequences have in common: matches, commits of the same tokens, what stays and in what order it goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_usage.h"

enum { B = BLOCK_TOKENS, BLOCK_BYTES = 1024, MAX_TOKENS = 20 * B, MAX_SEQUENCES = 4 };

static struct kv_cache *kv;
static uint64_t n_allocations;
static int32_t text[MAX_TOKENS], other[MAX_TOKENS]; /* they differ in every token */

/* Group 0 is full attention, group 1, if window > 0, sees that many tokens. Blocks of 1024 bytes each. */
static void open_cache(uint32_t n_blocks, uint32_t window) {
    struct kv_layout layout = {.n_groups = window > 0 ? 2 : 1};
    for (unsigned g = 0; g < layout.n_groups; g++)
        assert_int_equal(kv_layout_add(&layout, g, 1, 4, kv_codecs_both(CODEC_f32)), 0);
    layout.groups[1].window = window;
    assert_int_equal(layout.groups[0].block_bytes, BLOCK_BYTES);
    struct kv_opts opts = {.memory_bytes = (size_t)n_blocks * BLOCK_BYTES,
                           .max_sequences = MAX_SEQUENCES,
                           .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    n_allocations = mem_count();
    for (int i = 0; i < MAX_TOKENS; i++) {
        text[i] = i;
        other[i] = -1 - i;
    }
}

static void close_cache(void) {
    assert_true(kv_check(kv));
    assert_int_equal(mem_count(), n_allocations);
    kv_close(kv);
}

static void append(struct kv_seq *seq, const int32_t *tokens, uint32_t n) {
    const struct kv_op *ops;
    assert_int_equal(kv_reserve(kv, seq, n), 0);
    assert_true(kv_check(kv));
    kv_ops(kv, &ops);
    kv_commit(kv, seq, tokens, n);
    assert_true(kv_check(kv));
}

/* A conversation that comes and goes. */
static void leave_behind(const int32_t *tokens, uint32_t n) {
    struct kv_seq seq = {0};
    kv_match(kv, &seq, tokens, n, 0);
    append(&seq, tokens, n - seq.n_computed);
    kv_release(kv, &seq);
    assert_true(kv_check(kv));
}

/* The length of the match of `tokens`, which is given back at once. */
static uint32_t cached(const int32_t *tokens, uint32_t n, uint64_t salt) {
    struct kv_seq seq = {0};
    uint32_t n_matched = kv_match(kv, &seq, tokens, n, salt);
    assert_int_equal(seq.n_computed, n_matched);
    assert_true(kv_check(kv));
    kv_release(kv, &seq);
    assert_true(kv_check(kv));
    return n_matched;
}

static void a_match_leaves_a_token(void **state) {
    (void)state;
    open_cache(8, 0);
    assert_int_equal(cached(text, 2 * B, 0), 0);
    leave_behind(text, 3 * B + 5);
    assert_int_equal(kv_usage(kv).n_idle, 3);
    assert_int_equal(kv_usage(kv).idle_bytes, 3 * BLOCK_BYTES);
    assert_int_equal(kv_usage(kv).held_bytes, 0);
    assert_int_equal(kv_usage(kv).free_tokens, 8 * B); /* what is IDLE is as good as free */
    assert_int_equal(cached(text, 3 * B + 5, 0), 3 * B);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(cached(text, 3 * B, 0), 3 * B - 1); /* one token must be left */
    assert_int_equal(cached(text, 1, 0), 0);
    assert_int_equal(cached(text, 0, 0), 0);
    assert_int_equal(cached(text, 3 * B + 1, 1), 0);     /* another salt */
    assert_int_equal(cached(text + B, 2 * B + 1, 0), 0); /* the same tokens elsewhere are another prefix */
    int32_t almost[3 * B + 1];
    memcpy(almost, text, sizeof almost);
    almost[2 * B - 1]++;
    assert_int_equal(cached(almost, 3 * B + 1, 0), 2 * B - 1);
    close_cache();
}

static void the_salt_of_a_miss_is_remembered(void **state) {
    (void)state;
    open_cache(8, 0);
    struct kv_seq seq = {0};
    assert_int_equal(kv_match(kv, &seq, text, B + 1, 7), 0);
    assert_int_equal(seq.table, 0);
    append(&seq, text, B + 1);
    assert_int_equal(cached(text, B + 1, 0), 0);
    assert_int_equal(cached(text, B + 1, 7), B);
    kv_release(kv, &seq);
    assert_int_equal(seq.salt, 0);
    close_cache();
}

static void running_sequences_share_and_are_told_so(void **state) {
    (void)state;
    open_cache(8, 0);
    struct kv_seq first = {0}, second = {0};
    append(&first, text, 2 * B + 3);
    assert_int_equal(kv_shared(kv, &first).n_blocks, 0);
    assert_int_equal(kv_match(kv, &second, text, 3 * B, 0), 2 * B + 3); /* three of them are copies */
    uint32_t n;
    uint64_t payloads[2];
    memcpy(payloads, kv_payloads(kv, &first, 0, &n), sizeof payloads);
    assert_memory_equal(kv_payloads(kv, &second, 0, &n), payloads, sizeof payloads);
    assert_int_equal(n, 3);
    assert_int_equal(kv_shared(kv, &first).n_blocks, 2);
    assert_int_equal(kv_shared(kv, &second).bytes, 2 * BLOCK_BYTES);
    assert_int_equal(kv_usage(kv).held_bytes, 4 * BLOCK_BYTES); /* shared ones count once */
    append(&second, text, B - 3);                               /* its third block is its own */
    assert_int_equal(kv_shared(kv, &second).n_blocks, 2);
    kv_release(kv, &first);
    assert_int_equal(kv_usage(kv).n_sealed, 3);
    assert_int_equal(kv_shared(kv, &second).n_blocks, 0);
    kv_release(kv, &second);
    close_cache();
}

/* Two sequences compute the same at the same time: the later commit takes the other's blocks. */
static void the_same_tokens_end_up_in_one_block(void **state) {
    (void)state;
    open_cache(8, 0);
    struct kv_seq first = {0}, second = {0};
    assert_int_equal(kv_reserve(kv, &first, 2 * B + 1), 0);
    assert_int_equal(kv_reserve(kv, &second, 2 * B + 1), 0);
    assert_int_equal(kv_usage(kv).n_open, 6);
    kv_commit(kv, &first, text, 2 * B + 1);
    kv_commit(kv, &second, text, 2 * B + 1);
    assert_true(kv_check(kv));
    assert_int_equal(kv_usage(kv).n_open, 2);
    assert_int_equal(kv_usage(kv).n_sealed, 2);
    uint32_t n;
    const uint64_t *a = kv_payloads(kv, &first, 0, &n), *b = kv_payloads(kv, &second, 0, &n);
    assert_memory_equal(a, b, 2 * sizeof *a);
    assert_true(a[2] != b[2]);
    kv_release(kv, &first);
    kv_release(kv, &second);
    close_cache();
}

static void all_tables_taken_is_a_miss(void **state) {
    (void)state;
    open_cache(8, 0);
    leave_behind(text, B + 1);
    struct kv_seq seqs[MAX_SEQUENCES] = {0}, late = {0};
    for (int i = 0; i < MAX_SEQUENCES; i++) append(&seqs[i], other, 1);
    assert_int_equal(kv_match(kv, &late, text, B + 1, 0), 0);
    assert_int_equal(late.table, 0);
    for (int i = 0; i < MAX_SEQUENCES; i++) kv_release(kv, &seqs[i]);
    assert_int_equal(cached(text, B + 1, 0), B);
    close_cache();
}

static void what_was_used_longest_ago_goes_first_last_block_first(void **state) {
    (void)state;
    open_cache(6, 0);
    leave_behind(text, 3 * B);
    leave_behind(other, 3 * B);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B); /* now `other` is older */
    struct kv_seq seq = {.salt = 9};
    append(&seq, text, 1);
    assert_int_equal(cached(other, 3 * B + 1, 0), 2 * B);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B); /* which makes it the younger again */
    assert_int_equal(kv_evict(kv, 2 * BLOCK_BYTES - 1), 2 * BLOCK_BYTES);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(cached(other, 3 * B + 1, 0), 0);
    assert_int_equal(kv_evict(kv, UINT64_MAX), 3 * BLOCK_BYTES);
    assert_int_equal(kv_evict(kv, UINT64_MAX), 0);
    assert_int_equal(cached(text, 3 * B + 1, 0), 0);
    kv_release(kv, &seq);
    assert_int_equal(kv_usage(kv).n_idle, 0);
    close_cache();
}

/* What does not fit even with everything evicted must not cost anybody's cache. */
static void a_refusal_evicts_nothing(void **state) {
    (void)state;
    open_cache(6, 0);
    struct kv_seq seq = {.salt = 9};
    append(&seq, text, 2 * B);
    leave_behind(text, 3 * B);
    assert_int_equal(kv_reserve(kv, &seq, 4 * B + 1), ERR_FULL);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(kv_reserve(kv, &seq, 4 * B), 0);
    assert_int_equal(cached(text, 3 * B + 1, 0), 0);
    kv_release(kv, &seq);
    close_cache();
}

static void a_cut_shares_what_it_leaves(void **state) {
    (void)state;
    open_cache(12, 0);
    struct kv_seq first = {0}, second = {0};
    append(&first, text, 3 * B);
    assert_int_equal(kv_truncate(kv, &first, 3 * B - 1), 3 * B - 1); /* its own last block: exact */
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B - 1);         /* and no longer keyed */
    append(&first, text, 1);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(kv_match(kv, &second, text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(kv_truncate(kv, &first, 3 * B - 1), 2 * B); /* now it is another's too */
    assert_int_equal(kv_usage(kv).n_sealed, 3);
    append(&second, text, 1);
    assert_int_equal(kv_truncate(kv, &second, B + 1), B); /* a block follows */
    assert_int_equal(kv_usage(kv).n_idle, 1);
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B);
    kv_release(kv, &first);
    kv_release(kv, &second);
    close_cache();
}

/* A window of B + 1 tokens at a block's border sees the block before it, and no more. */
static void a_hit_needs_only_the_last_window(void **state) {
    (void)state;
    open_cache(30, B + 1);
    leave_behind(text, 6 * B);
    assert_int_equal(kv_usage(kv).n_idle, 12);
    /* The first five blocks of the window are passed: they go first, oldest first. */
    assert_int_equal(kv_evict(kv, 4 * BLOCK_BYTES), 4 * BLOCK_BYTES);
    assert_int_equal(cached(text, 6 * B + 1, 0), 6 * B);
    assert_int_equal(cached(text, 4 * B + 1, 0), 0);
    assert_int_equal(cached(text, 5 * B + 1, 0),
                     5 * B); /* found, so its window counts as used, not as passed */
    assert_int_equal(kv_evict(kv, 1), 2 * BLOCK_BYTES); /* the last node */
    assert_int_equal(cached(text, 6 * B + 1, 0), 5 * B);
    leave_behind(text, 6 * B);
    assert_int_equal(kv_evict(kv, 1), BLOCK_BYTES); /* passed by that one */
    assert_int_equal(cached(text, 5 * B + 1, 0), 0);
    struct kv_seq seq = {0};
    assert_int_equal(kv_match(kv, &seq, text, 6 * B + 1, 0), 6 * B);
    assert_int_equal(kv_group_held_bytes(kv, &seq, 0), 6 * BLOCK_BYTES);
    assert_int_equal(kv_group_held_bytes(kv, &seq, 1), BLOCK_BYTES);
    kv_release(kv, &seq);
    leave_behind(text, 3 * B); /* computes what is gone, and gives it to the nodes that miss it */
    assert_int_equal(cached(text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(cached(text, 6 * B + 1, 0), 6 * B);
    close_cache();
}

static void open_window_alone(uint32_t n_blocks) {
    struct kv_layout layout = {.n_groups = 1};
    assert_int_equal(kv_layout_add(&layout, 0, 1, 4, kv_codecs_both(CODEC_f32)), 0);
    layout.groups[0].window = B + 1;
    struct kv_opts opts = {
        .memory_bytes = n_blocks * BLOCK_BYTES, .max_sequences = 2, .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    n_allocations = mem_count();
    for (int i = 0; i < MAX_TOKENS; i++) text[i] = i;
}

/* Windows only: nodes live on without blocks for those below them, and while a sequence ends at them. */
static void a_window_alone_shares_too(void **state) {
    (void)state;
    open_window_alone(3);
    struct kv_seq seq = {0};
    for (int i = 0; i < 10; i++) append(&seq, text, B);
    kv_release(kv, &seq);
    assert_int_equal(kv_usage(kv).n_idle, 3);
    assert_int_equal(cached(text, 10 * B + 1, 0), 10 * B);
    assert_int_equal(cached(text, 7 * B + 1, 0), 0);
    assert_int_equal(kv_evict(kv, UINT64_MAX), 3 * BLOCK_BYTES);
    assert_int_equal(cached(text, 10 * B + 1, 0), 0);
    close_cache();
}

/* As many nodes as blocks and as two sequences and all leases can have, 1400, and prefixes of 19 of which
 * only the last is needed: the 74th finds no node, and the oldest goes though there is room for its block. */
static void nodes_run_out_before_blocks_do(void **state) {
    (void)state;
    open_window_alone(80);
    for (uint64_t salt = 1; salt <= 74; salt++) {
        struct kv_seq seq = {.salt = salt};
        for (int i = 0; i < 19; i++) append(&seq, text, B);
        kv_release(kv, &seq);
    }
    assert_int_equal(cached(text, 19 * B + 1, 1), 0);
    for (uint64_t salt = 2; salt <= 74; salt++) assert_int_equal(cached(text, 19 * B + 1, salt), 19 * B);
    close_cache();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_match_leaves_a_token),
        cmocka_unit_test(the_salt_of_a_miss_is_remembered),
        cmocka_unit_test(running_sequences_share_and_are_told_so),
        cmocka_unit_test(the_same_tokens_end_up_in_one_block),
        cmocka_unit_test(all_tables_taken_is_a_miss),
        cmocka_unit_test(what_was_used_longest_ago_goes_first_last_block_first),
        cmocka_unit_test(a_refusal_evicts_nothing),
        cmocka_unit_test(a_cut_shares_what_it_leaves),
        cmocka_unit_test(a_hit_needs_only_the_last_window),
        cmocka_unit_test(a_window_alone_shares_too),
        cmocka_unit_test(nodes_run_out_before_blocks_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
