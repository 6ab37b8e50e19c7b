/* What stays: leases and their end, priorities, forgetting, and the list of what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "kv/evict_list.h"
#include "kv/kv_list.h"
#include "kv/kv_pin.h"
#include "kv/kv_usage.h"

enum { B = BLOCK_TOKENS, BLOCK_BYTES = 1024, MAX_TOKENS = 20 * B };

static struct kv_cache *kv;
static int32_t text[MAX_TOKENS], other[MAX_TOKENS]; /* they differ in every token */

static void open_cache(uint32_t n_blocks, const struct evict_policy *retain) {
    struct kv_layout layout = {.n_groups = 1};
    assert_int_equal(kv_layout_add(&layout, 0, 1, 4, kv_codecs_both(CODEC_f32)), 0);
    struct kv_opts opts = {.memory_bytes = (size_t)n_blocks * BLOCK_BYTES,
                           .max_sequences = 4,
                           .max_tokens = MAX_TOKENS,
                           .retain = retain};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    for (int i = 0; i < MAX_TOKENS; i++) {
        text[i] = i;
        other[i] = -1 - i;
    }
}

static void close_cache(void) {
    assert_true(kv_check(kv));
    kv_close(kv);
}

static void go_on(struct kv_seq *seq, const int32_t *tokens, uint32_t n, uint64_t salt) {
    const struct kv_op *ops;
    if (seq->table == 0) kv_match(kv, seq, tokens, n, salt);
    uint32_t n_new = n - seq->n_computed;
    assert_int_equal(kv_reserve(kv, seq, n_new), 0);
    kv_ops(kv, &ops);
    kv_commit(kv, seq, tokens, n_new);
    assert_true(kv_check(kv));
}

static void leave_behind(const int32_t *tokens, uint32_t n, uint64_t salt) {
    struct kv_seq seq = {0};
    go_on(&seq, tokens, n, salt);
    kv_release(kv, &seq);
    assert_true(kv_check(kv));
}

static uint32_t cached(const int32_t *tokens, uint32_t n, uint64_t salt) {
    struct kv_seq seq = {0};
    uint32_t n_matched = kv_match(kv, &seq, tokens, n, salt);
    kv_release(kv, &seq);
    return n_matched;
}

static void a_pin_outlives_everything_until_its_time(void **state) {
    (void)state;
    open_cache(8, NULL);
    leave_behind(text, 3 * B, 1);
    assert_int_equal(kv_pin(kv, text, 3 * B + 7, 1, 50, 0), 3 * B);
    assert_int_equal(kv_usage(kv).leased_bytes, 3 * BLOCK_BYTES);
    assert_int_equal(kv_evict(kv, UINT64_MAX), 0);
    leave_behind(other, 5 * B, 1);
    struct kv_seq seq = {0};
    assert_int_equal(kv_reserve(kv, &seq, 6 * B), ERR_FULL); /* it keeps them from those who run, too */
    assert_int_equal(kv_reserve(kv, &seq, 5 * B), 0);
    kv_release(kv, &seq);
    kv_poll(kv, 49);
    assert_int_equal(kv_usage(kv).n_leases, 1);
    kv_poll(kv, 50);
    assert_int_equal(kv_usage(kv).n_leases, 0);
    assert_int_equal(kv_usage(kv).idle_bytes, 3 * BLOCK_BYTES);
    assert_int_equal(kv_evict(kv, UINT64_MAX), 3 * BLOCK_BYTES);
    close_cache();
}

static void a_pin_may_be_renewed_and_taken_back(void **state) {
    (void)state;
    open_cache(8, NULL);
    leave_behind(text, 3 * B, 1);
    assert_int_equal(kv_pin(kv, text, 2 * B, 1, 10, 0), 2 * B);
    assert_int_equal(kv_pin(kv, text, 2 * B + 1, 1, KV_FOR_EVER, 0), 2 * B);
    assert_int_equal(kv_usage(kv).n_leases, 1);
    kv_poll(kv, UINT64_MAX);
    assert_int_equal(kv_usage(kv).n_leases, 1);
    assert_int_equal(kv_pin(kv, text, 3 * B, 2, 0, 0), ERR_NOT_FOUND); /* another salt has none */
    assert_int_equal(kv_pin(kv, text, 3 * B, 1, 0, 0), 2 * B);
    assert_int_equal(kv_pin(kv, text, 3 * B, 1, 0, 0), ERR_NOT_FOUND);
    assert_int_equal(kv_pin(kv, other, 3 * B, 1, 9, 0), ERR_NOT_FOUND);
    assert_int_equal(kv_pin(kv, text, B - 1, 1, 9, 0), ERR_NOT_FOUND);
    assert_int_equal(kv_usage(kv).leased_bytes, 0);
    close_cache();
}

static void pins_hold_at_most_half(void **state) {
    (void)state;
    open_cache(10, NULL);
    leave_behind(text, 6 * B, 1);
    leave_behind(other, 3 * B, 1);
    assert_int_equal(kv_pin(kv, text, 6 * B, 1, 9, 0), ERR_FULL);
    assert_non_null(strstr(err_message(), "6144"));
    assert_non_null(strstr(err_message(), "5120"));
    assert_int_equal(kv_pin(kv, text, 4 * B, 1, 9, 0), 4 * B);
    assert_int_equal(kv_pin(kv, other, 2 * B, 1, 9, 0), ERR_FULL);
    assert_int_equal(kv_pin(kv, text, 5 * B, 1, 9, 0), 5 * B); /* what two pins hold counts once */
    assert_int_equal(kv_usage(kv).leased_bytes, 5 * BLOCK_BYTES);
    assert_int_equal(kv_usage(kv).n_leases, 2);
    assert_int_equal(kv_pin(kv, text, 5 * B, 1, 0, 0), 5 * B);
    assert_int_equal(kv_usage(kv).leased_bytes, 4 * BLOCK_BYTES);
    close_cache();
}

static void a_priority_outlives_its_pin(void **state) {
    (void)state;
    open_cache(8, NULL);
    leave_behind(text, 2 * B, 1);
    assert_int_equal(kv_pin(kv, text, 2 * B, 1, 5, 1), 2 * B);
    kv_poll(kv, 5);
    leave_behind(other, 2 * B, 1);
    assert_int_equal(kv_evict(kv, 2 * BLOCK_BYTES), 2 * BLOCK_BYTES);
    assert_int_equal(cached(text, 2 * B + 1, 1), 2 * B); /* though it was used longer ago */
    assert_int_equal(cached(other, 2 * B + 1, 1), 0);
    close_cache();
}

static void what_is_forgotten_is_gone_and_nothing_else(void **state) {
    (void)state;
    open_cache(16, NULL);
    leave_behind(text, 4 * B, 1);
    leave_behind(text, 4 * B, 2);
    leave_behind(other, 2 * B, 1);
    int32_t branch[4 * B];
    memcpy(branch, text, sizeof branch);
    branch[3 * B] = -5;
    struct kv_seq seq = {0};
    go_on(&seq, branch, 4 * B, 1);
    assert_int_equal(kv_drop(kv, text, 2 * B + 3, 1), BLOCK_BYTES); /* the others of them are in use */
    assert_int_equal(kv_drop(kv, text + B, 2 * B, 1), 0);
    kv_release(kv, &seq);
    assert_int_equal(kv_drop(kv, text, 2 * B, 1), 3 * BLOCK_BYTES);
    assert_int_equal(cached(text, 4 * B + 1, 1), B);
    assert_int_equal(kv_pin(kv, other, B, 1, 9, 0), B);
    assert_int_equal(kv_drop(kv, NULL, 0, 1), 2 * BLOCK_BYTES); /* all of the salt, but what is pinned */
    assert_int_equal(cached(other, 2 * B + 1, 1), B);
    assert_int_equal(cached(text, 4 * B + 1, 2), 4 * B);
    close_cache();
}

static void the_list_tells_runs(void **state) {
    (void)state;
    open_cache(16, NULL);
    kv_poll(kv, 100);
    leave_behind(text, 4 * B, 1);
    int32_t branch[5 * B];
    memcpy(branch, text, sizeof branch);
    branch[2 * B] = -5;
    kv_poll(kv, 200);
    struct kv_seq seq = {0};
    go_on(&seq, branch, 3 * B, 1);
    leave_behind(other, B, 7);
    assert_int_equal(kv_pin(kv, text, B, 1, 900, 3), B);
    /* Tokens, bytes of the run and of all, users, hits, created, used. */
    static const uint64_t expected[][7] = {
        {B, 1, 1, 1, 1, 100, 200},     /* pinned */
        {2 * B, 1, 2, 1, 1, 100, 200}, /* two go on from here */
        {4 * B, 2, 4, 0, 0, 100, 100},
        {3 * B, 1, 3, 1, 0, 200, 200},
    };
    const uint64_t salt = 1;
    struct kv_prefix prefix;
    uint32_t n = 0, n_all = 0;
    for (uint32_t cursor = 0; kv_list_next(kv, &salt, &cursor, &prefix); n++) {
        const uint64_t *row = expected[n];
        assert_true(n < 4 && prefix.salt == 1 && prefix.n_tokens == row[0]);
        assert_true(prefix.run_bytes == row[1] * BLOCK_BYTES && prefix.path_bytes == row[2] * BLOCK_BYTES);
        assert_true(prefix.n_users == row[3] && prefix.n_hits == row[4]);
        assert_true(prefix.created_us == row[5] && prefix.last_used_us == row[6]);
        assert_true(prefix.is_pinned == (n == 0) && prefix.pinned_until_us == (n == 0 ? 900 : 0));
        assert_int_equal(prefix.priority, n == 0 ? 3 : 0);
    }
    for (uint32_t cursor = 0; kv_list_next(kv, NULL, &cursor, &prefix); n_all++) continue;
    assert_int_equal(n, 4);
    assert_int_equal(n_all, 5);
    kv_release(kv, &seq);
    close_cache();
}

/* With `lfu` a prompt that was found twice outlives a later one that never was. */
static void the_policy_decides(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        open_cache(8, i == 0 ? evict_find("lru") : evict_find("lfu"));
        leave_behind(text, 2 * B, 1);
        assert_int_equal(cached(text, 2 * B + 1, 1), 2 * B);
        assert_int_equal(cached(text, 2 * B + 1, 1), 2 * B);
        leave_behind(other, 2 * B, 1);
        kv_evict(kv, 2 * BLOCK_BYTES);
        assert_int_equal(cached(text, 2 * B + 1, 1), i == 0 ? 0 : 2 * B);
        assert_int_equal(kv_usage(kv).n_evictions, 2);
        close_cache();
    }
}

/* With `cost` the end of a long prompt, whose tokens see many, outlives a short one of later. */
static void what_took_long_to_compute_stays(void **state) {
    (void)state;
    open_cache(16, evict_find("cost"));
    kv_set_recompute_cost(kv, 1000, 100);
    leave_behind(text, 8 * B, 1);
    leave_behind(other, B, 1);
    kv_evict(kv, BLOCK_BYTES);
    assert_int_equal(cached(other, B + 1, 1), 0);
    assert_int_equal(cached(text, 8 * B + 1, 1), 8 * B);
    close_cache();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pin_outlives_everything_until_its_time),
        cmocka_unit_test(a_pin_may_be_renewed_and_taken_back),
        cmocka_unit_test(pins_hold_at_most_half),
        cmocka_unit_test(a_priority_outlives_its_pin),
        cmocka_unit_test(what_is_forgotten_is_gone_and_nothing_else),
        cmocka_unit_test(the_list_tells_runs),
        cmocka_unit_test(the_policy_decides),
        cmocka_unit_test(what_took_long_to_compute_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
