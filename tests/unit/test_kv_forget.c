/* Forgetting one prefix: how far up and down it goes, and what stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "kv/kv_forget.h"
#include "kv/kv_pin.h"
#include "kv/kv_usage.h"

enum { B = BLOCK_TOKENS, BLOCK_BYTES = 1024, MAX_TOKENS = 8 * B };

static struct kv_cache *kv;
static int32_t trunk[MAX_TOKENS], branch[MAX_TOKENS]; /* they part behind two blocks */

/* One group, or a second one that sees `window` tokens. Blocks of 1024 bytes. */
static void open_cache(uint32_t window) {
    struct kv_layout layout = {.n_groups = window > 0 ? 2 : 1};
    for (unsigned g = 0; g < layout.n_groups; g++)
        assert_int_equal(kv_layout_add(&layout, g, 1, 4, kv_codecs_both(CODEC_f32)), 0);
    layout.groups[1].window = window;
    assert_int_equal(layout.groups[0].block_bytes, BLOCK_BYTES);
    const struct kv_opts opts = {
        .memory_bytes = 40 * BLOCK_BYTES, .max_sequences = 4, .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    for (int i = 0; i < MAX_TOKENS; i++) {
        trunk[i] = i;
        branch[i] = i < 2 * B ? i : -i;
    }
}

static void close_cache(void) {
    assert_true(kv_check(kv));
    kv_close(kv);
}

static void compute(struct kv_seq *seq, const int32_t *tokens, uint32_t n, uint64_t salt) {
    const struct kv_op *ops;
    kv_match(kv, seq, tokens, n, salt);
    assert_int_equal(kv_reserve(kv, seq, n - seq->n_computed), 0);
    (void)kv_ops(kv, &ops);
    kv_commit(kv, seq, tokens, n - seq->n_computed);
}

static void leave_behind(const int32_t *tokens, uint32_t n, uint64_t salt) {
    struct kv_seq seq = {0};
    compute(&seq, tokens, n, salt);
    kv_release(kv, &seq);
}

static uint64_t forget(const int32_t *tokens, uint32_t n, uint64_t salt) {
    uint64_t held = kv_usage(kv).held_bytes, idle = kv_usage(kv).idle_bytes;
    uint64_t bytes = kv_forget(kv, tokens, n, salt);
    assert_true(kv_check(kv));
    assert_int_equal(kv_usage(kv).held_bytes, held);
    assert_int_equal(kv_usage(kv).idle_bytes, idle - bytes);
    return bytes / BLOCK_BYTES;
}

static void the_prefix_and_what_begins_with_it(void **state) {
    (void)state;
    open_cache(0);
    leave_behind(trunk, 6 * B, 0);
    assert_int_equal(forget(trunk, 4 * B + 5, 0), 6);
    assert_int_equal(forget(trunk, 4 * B, 0), 0);
    close_cache();
}

static void what_others_begin_with_stays(void **state) {
    (void)state;
    open_cache(0);
    leave_behind(trunk, 4 * B, 0);
    leave_behind(branch, 5 * B, 0);
    leave_behind(trunk, 4 * B, 7);
    assert_int_equal(forget(trunk, 4 * B, 0), 2); /* the first two are the branch's too */
    assert_int_equal(forget(trunk, 4 * B, 0), 0);
    assert_int_equal(forget(branch, 3 * B, 0), 5);
    assert_int_equal(kv_usage(kv).n_idle, 4); /* another salt's */
    assert_int_equal(forget(trunk, 2 * B, 7), 4);
    close_cache();
}

static void less_than_is_asked_may_be_there(void **state) {
    (void)state;
    open_cache(0);
    leave_behind(trunk, 2 * B + 9, 0);
    assert_int_equal(forget(trunk, B - 1, 0), 0); /* no whole block names it */
    assert_int_equal(forget(trunk, 5 * B, 0), 2);
    close_cache();
}

static void what_is_in_use_or_pinned_stays(void **state) {
    (void)state;
    struct kv_seq seq = {0};
    open_cache(0);
    compute(&seq, trunk, 3 * B, 0);
    leave_behind(trunk, 5 * B, 0);
    assert_int_equal(forget(trunk, B, 0), 2);
    kv_release(kv, &seq);
    assert_int_equal(kv_pin(kv, trunk, 2 * B, 0, KV_FOR_EVER, 0), 2 * B);
    assert_int_equal(forget(trunk, 3 * B, 0), 1);
    assert_int_equal(kv_pin(kv, trunk, 2 * B, 0, 0, 0), 2 * B);
    assert_int_equal(forget(trunk, 3 * B, 0), 2);
    close_cache();
}

static void windows(void **state) {
    (void)state;
    open_cache(B);
    leave_behind(trunk, 5 * B, 0);
    leave_behind(branch, 4 * B, 0);
    uint64_t n_all = kv_usage(kv).idle_bytes / BLOCK_BYTES;
    uint64_t n_first = forget(trunk, 4 * B, 0), n_second = forget(branch, 3 * B, 0);
    assert_true(n_first >= 3);
    assert_int_equal(n_first + n_second, n_all);
    close_cache();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prefix_and_what_begins_with_it),
        cmocka_unit_test(what_others_begin_with_stays),
        cmocka_unit_test(less_than_is_asked_may_be_there),
        cmocka_unit_test(what_is_in_use_or_pinned_stays),
        cmocka_unit_test(windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
