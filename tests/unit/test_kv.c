#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_usage.h"

enum { B = BLOCK_TOKENS, N_BLOCKS = 4, MAX_SEQUENCES = 3, MAX_TOKENS = 10 * B };

/* Blocks of `head_dim` 4, f32, one layer: 2 * 4 * 4 * 32 = 1024 bytes. */
static struct kv_layout small_layout(unsigned n_groups) {
    struct kv_layout layout = {.n_groups = n_groups};
    for (unsigned g = 0; g < n_groups; g++)
        assert_int_equal(kv_layout_add(&layout, g, 1, 4, kv_codecs_both(CODEC_f32)), 0);
    return layout;
}

static struct kv_cache *kv;
static uint64_t n_allocations;

static int set_up(void **state) {
    (void)state;
    struct kv_layout layout = small_layout(1);
    assert_int_equal(layout.groups[0].block_bytes, 1024);
    struct kv_opts opts = {
        .memory_bytes = N_BLOCKS * 1024 + 5, .max_sequences = MAX_SEQUENCES, .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    n_allocations = mem_count();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    assert_true(kv_check(kv));
    assert_int_equal(mem_count(), n_allocations); /* nothing was allocated since */
    kv_close(kv);
    return 0;
}

static void assert_usage(uint32_t n_open, uint32_t n_sealed) {
    struct kv_usage usage = kv_usage(kv);
    assert_true(kv_check(kv));
    assert_int_equal(usage.n_open, n_open);
    assert_int_equal(usage.n_sealed, n_sealed);
    assert_int_equal(usage.held_bytes, (n_open + n_sealed) * 1024);
    assert_int_equal(usage.free_tokens, (N_BLOCKS - n_open - n_sealed) * B);
    assert_int_equal(usage.capacity_tokens, N_BLOCKS * B);
    assert_int_equal(usage.arena_bytes, N_BLOCKS * 1024 + 5);
    assert_int_equal(usage.waste_bytes, 0);
}

static void assert_tokens(const struct kv_seq *seq, uint32_t n_computed, uint32_t n_reserved,
                          uint32_t n_blocks) {
    uint32_t n;
    assert_int_equal(seq->n_computed, n_computed);
    assert_int_equal(seq->n_reserved, n_reserved);
    (void)kv_payloads(kv, seq, 0, &n);
    assert_int_equal(n, n_blocks);
    assert_int_equal(kv_held_bytes(kv, seq), n_blocks * 1024);
}

/* A sequence with a salt of its own shares with nobody, whatever its tokens. */
static struct kv_seq alone(void) {
    static uint64_t n_alone;
    return (struct kv_seq){.salt = ++n_alone};
}

static int32_t zeros[MAX_TOKENS];

static void append(struct kv_seq *seq, uint32_t n) {
    assert_int_equal(kv_reserve(kv, seq, n), 0);
    kv_commit(kv, seq, zeros, n);
}

static void a_block_opens_is_sealed_and_comes_back(void **state) {
    (void)state;
    struct kv_seq seq = alone();
    assert_usage(0, 0);
    assert_tokens(&seq, 0, 0, 0);
    assert_int_equal(kv_reserve(kv, &seq, 1), 0);
    assert_tokens(&seq, 0, 1, 1);
    assert_usage(1, 0);
    kv_commit(kv, &seq, zeros, 1);
    append(&seq, B - 2);
    assert_usage(1, 0);
    append(&seq, 1);
    assert_usage(0, 1);
    assert_int_equal(kv_reserve(kv, &seq, B + 1), 0);
    assert_usage(2, 1);
    kv_commit(kv, &seq, zeros, B - 1); /* fewer than were reserved */
    assert_tokens(&seq, 2 * B - 1, 2 * B + 1, 3);
    assert_int_equal(kv_reserve(kv, &seq, 1), 0); /* has a slot already, and so has the one after it */
    assert_tokens(&seq, 2 * B - 1, 2 * B + 1, 3);
    kv_commit(kv, &seq, zeros, 1);
    assert_tokens(&seq, 2 * B, 2 * B + 1, 3);
    assert_usage(1, 2);
    kv_release(kv, &seq);
    assert_tokens(&seq, 0, 0, 0);
    assert_int_equal(seq.table, 0);
    assert_usage(0, 0);
    kv_release(kv, &seq); /* a fresh one has nothing to give */
}

static void a_refusal_changes_nothing_and_says_how_much(void **state) {
    (void)state;
    struct kv_seq first = alone(), second = alone(), third = alone();
    append(&first, 2 * B + 3);
    append(&second, 5);
    assert_usage(2, 2);
    struct kv_seq before = second;
    assert_int_equal(kv_reserve(kv, &second, B), ERR_FULL);
    assert_memory_equal(&before, &second, sizeof before);
    assert_usage(2, 2);
    assert_string_equal(err_message(),
                        "KV memory exhausted: 37 tokens take 2048 bytes, 4096 of 4101 bytes are held "
                        "(raise --kv-memory or shorten the context)");
    assert_int_equal(kv_reserve(kv, &third, 1), ERR_FULL); /* and a fresh one stays fresh */
    assert_int_equal(third.table, 0);
    assert_int_equal(kv_reserve(kv, &first, B - 3), 0); /* in its open block there is room */
    kv_release(kv, &second);
    assert_int_equal(kv_reserve(kv, &third, B), 0);
    kv_release(kv, &first);
    kv_release(kv, &third);
}

/* Half of what a reservation asks for is there: it must be given back. */
static void a_reservation_is_whole_or_not_at_all(void **state) {
    (void)state;
    struct kv_seq seq = alone();
    append(&seq, 2 * B);
    assert_int_equal(kv_reserve(kv, &seq, 3 * B), ERR_FULL);
    assert_tokens(&seq, 2 * B, 2 * B, 2);
    assert_usage(0, 2);
    assert_int_equal(kv_reserve(kv, &seq, 2 * B), 0);
    kv_release(kv, &seq);
}

static void a_context_has_its_bound(void **state) {
    (void)state;
    struct kv_seq seq = alone();
    assert_int_equal(kv_reserve(kv, &seq, MAX_TOKENS + 1), ERR_TOO_LARGE);
    assert_non_null(strstr(err_message(), "320"));
    assert_non_null(strstr(err_message(), "321"));
    append(&seq, 7);
    assert_int_equal(kv_reserve(kv, &seq, UINT32_MAX), ERR_TOO_LARGE); /* 7 + 2^32 - 1 */
    assert_tokens(&seq, 7, 7, 1);
    kv_release(kv, &seq);
}

static void tables_run_out_and_come_back(void **state) {
    (void)state;
    struct kv_seq seqs[MAX_SEQUENCES + 1] = {alone(), alone(), alone(), alone()};
    for (int i = 0; i < MAX_SEQUENCES; i++) append(&seqs[i], 1);
    assert_int_equal(kv_reserve(kv, &seqs[MAX_SEQUENCES], 1), ERR_FULL);
    assert_non_null(strstr(err_message(), "3 sequences"));
    assert_int_equal(seqs[MAX_SEQUENCES].table, 0);
    kv_release(kv, &seqs[1]);
    append(&seqs[MAX_SEQUENCES], 1);
    assert_usage(3, 0);
    for (int i = 0; i <= MAX_SEQUENCES; i++) kv_release(kv, &seqs[i]);
    assert_usage(0, 0);
}

static void truncation_keeps_exactly_what_it_says(void **state) {
    (void)state;
    struct kv_seq seq = alone();
    assert_int_equal(kv_truncate(kv, &seq, 5), 0);
    append(&seq, 2 * B + 10);
    uint32_t n;
    uint64_t payloads[3];
    memcpy(payloads, kv_payloads(kv, &seq, 0, &n), sizeof payloads);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B + 4), 2 * B + 4); /* in the open block */
    assert_usage(1, 2);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B + 9), 2 * B + 4); /* never more than there is */
    assert_int_equal(kv_truncate(kv, &seq, B + 7), B + 7);         /* in a sealed one: it is open again */
    assert_usage(1, 1);
    append(&seq, B - 7);
    assert_usage(0, 2);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B), 2 * B); /* at the border nothing opens */
    assert_usage(0, 2);
    assert_int_equal(kv_reserve(kv, &seq, B + 1), 0);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B), 2 * B); /* reservations are forgotten */
    assert_tokens(&seq, 2 * B, 2 * B, 2);
    assert_usage(0, 2);
    assert_int_equal(kv_truncate(kv, &seq, B), B);
    assert_usage(0, 1);
    assert_memory_equal(kv_payloads(kv, &seq, 0, &n), payloads,
                        n * sizeof *payloads); /* what stays does not move */
    assert_int_equal(kv_truncate(kv, &seq, 0), 0);
    assert_usage(0, 0);
    append(&seq, 1);
    kv_release(kv, &seq);
}

static void groups_fill_together_or_not_at_all(void **state) {
    (void)state;
    struct kv_layout layout = small_layout(2);
    struct kv_opts opts = {.memory_bytes = 5 * 1024, .max_sequences = 2, .max_tokens = MAX_TOKENS};
    struct kv_cache *two;
    assert_int_equal(kv_open(&two, &layout, &opts), 0);
    assert_int_equal(kv_bytes_for(&layout, B + 1, 1), 4 * 1024);
    assert_int_equal(kv_usage(two).capacity_tokens, 2 * B); /* each token takes a slot in both groups */
    struct kv_seq seq = alone();
    assert_int_equal(kv_reserve(two, &seq, 2 * B + 1), ERR_FULL);
    assert_int_equal(kv_usage(two).held_bytes, 0);
    assert_int_equal(kv_reserve(two, &seq, B), 0);
    kv_commit(two, &seq, zeros, B);
    assert_int_equal(kv_usage(two).free_tokens, B);
    assert_int_equal(kv_reserve(two, &seq, B + 1), ERR_FULL); /* the first group's blocks would fit */
    assert_true(kv_check(two));
    assert_int_equal(kv_usage(two).held_bytes, 2 * 1024);
    assert_int_equal(kv_reserve(two, &seq, B), 0);
    uint32_t n;
    const uint64_t *a = kv_payloads(two, &seq, 0, &n), *b = kv_payloads(two, &seq, 1, &n);
    assert_int_equal(n, 2);
    for (int i = 0; i < 4; i++) assert_true(a[i / 2] != b[i % 2]);
    kv_release(two, &seq);
    assert_true(kv_check(two));
    kv_close(two);
    n_allocations = mem_count();
}

static void a_window_gives_back_what_no_token_sees(void **state) {
    kv_close(kv);
    struct kv_layout layout = small_layout(2);
    layout.groups[1].window = B; /* a token sees itself and the B - 1 before it */
    struct kv_opts opts = {.memory_bytes = 12 * 1024, .max_sequences = 1, .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    struct kv_seq seq = alone();
    append(&seq, 2 * B - 1); /* the token at 2B - 1 sees B .. 2B - 1 */
    assert_int_equal(kv_group_held_bytes(kv, &seq, 0), 2 * 1024);
    assert_int_equal(kv_group_held_bytes(kv, &seq, 1), 1024);
    uint32_t n;
    assert_true(kv_payloads(kv, &seq, 1, &n)[0] == UINT64_MAX);
    assert_int_equal(n, 2);
    append(&seq, 1);
    assert_int_equal(kv_group_held_bytes(kv, &seq, 1), 1024);
    append(&seq, 1); /* the token at 2B + 1 sees B + 2 .. 2B + 1: two blocks */
    assert_int_equal(kv_group_held_bytes(kv, &seq, 1), 2 * 1024);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B), 2 * B); /* the next token sees B + 1 on */
    assert_int_equal(kv_usage(kv).idle_bytes, 1024);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B - 2),
                     2 * B - 2); /* the next sees B - 1: the passed block is back */
    assert_int_equal(kv_group_held_bytes(kv, &seq, 1), 2 * 1024);
    assert_int_equal(kv_usage(kv).idle_bytes, 0);
    append(&seq, 2);
    assert_int_equal(kv_evict(kv, 1), 1024);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B - 2), 0); /* the next would see B - 1, which is gone */
    assert_int_equal(kv_held_bytes(kv, &seq), 0);
    append(&seq, 5 * B);
    assert_int_equal(kv_held_bytes(kv, &seq), (5 + 1) * 1024);
    assert_int_equal(kv_bytes_for(&layout, 5 * B, 1), (5 + 2) * 1024);
    assert_true(kv_check(kv));
    kv_release(kv, &seq);
    assert_int_equal(kv_usage(kv).held_bytes, 0);
    /* 12 blocks, of which the window needs 2 */
    assert_int_equal(kv_usage(kv).capacity_tokens, 10 * B);
    kv_close(kv);
    assert_int_equal(set_up(state), 0); /* for tear_down */
}

static void bounds_of_zero_are_refused(void **state) {
    (void)state;
    struct kv_layout layout = small_layout(1), empty = {0}, hollow = {.n_groups = 1};
    const struct kv_opts good = {.memory_bytes = 4096, .max_sequences = 1, .max_tokens = 1};
    struct kv_cache *none = NULL;
    struct kv_opts opts = good;
    opts.max_sequences = 0;
    assert_int_equal(kv_open(&none, &layout, &opts), ERR_INVALID);
    opts = good;
    opts.max_tokens = 0;
    assert_int_equal(kv_open(&none, &layout, &opts), ERR_INVALID);
    assert_int_equal(kv_open(&none, &empty, &good), ERR_INVALID);
    assert_int_equal(kv_open(&none, &hollow, &good), ERR_INVALID); /* a group without layers */
    opts = good;
    opts.memory_bytes = 1023;
    assert_int_equal(kv_open(&none, &layout, &opts), ERR_FULL);
    assert_non_null(strstr(err_message(), "1023"));
    assert_non_null(strstr(err_message(), "1024"));
    assert_null(none);
    n_allocations = mem_count();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_block_opens_is_sealed_and_comes_back), TEST(a_refusal_changes_nothing_and_says_how_much),
        TEST(a_reservation_is_whole_or_not_at_all),   TEST(a_context_has_its_bound),
        TEST(tables_run_out_and_come_back),           TEST(truncation_keeps_exactly_what_it_says),
        TEST(groups_fill_together_or_not_at_all),     TEST(bounds_of_zero_are_refused),
        TEST(a_window_gives_back_what_no_token_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
