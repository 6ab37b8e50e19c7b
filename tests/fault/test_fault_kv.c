/* Two conversations that share, a fork, a pin and what follows, while the n-th allocation or payload of the
 * cache fails, once or from then on, for n = 1, 2, ... until a run sees no fault. After each call kv_check
 * holds, who failed has what it had, and in the end everything is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "codec/kv_rules.h"
#include "kv/kv_demote.h"
#include "kv/kv_pin.h"
#include "kv/kv_usage.h"

enum { B = BLOCK_TOKENS, N_TEXT = 8 * B, N_SEQUENCES = 3 };

static struct kv_cache *kv;
static struct kv_seq sequences[N_SEQUENCES];
static int32_t text[N_TEXT];
static unsigned n_failed; /* calls that could not do what they were asked */

static int open_cache(unsigned n_windows) {
    struct kv_layout layout = {.n_groups = 1 + n_windows};
    layout.groups[1].window = n_windows > 0 ? B + 5 : 0;
    for (unsigned g = 0; g < layout.n_groups; g++)
        assert_int_equal(kv_layout_add(&layout, g, 1, 4, kv_codecs_both(CODEC_f32)), 0);
    struct kv_opts opts = {.memory_bytes = 40 * layout.groups[0].block_bytes,
                           .max_sequences = N_SEQUENCES,
                           .max_tokens = N_TEXT};
    return kv_open(&kv, &layout, &opts);
}

/* Computes the sequence's tokens up to n, if there are slots. */
static void go_on(struct kv_seq *seq, uint32_t n) {
    const struct kv_op *ops;
    uint32_t n_before = seq->n_computed;
    int result = kv_reserve(kv, seq, n - n_before);
    assert_true(kv_check(kv) && seq->n_computed == n_before);
    if (result < 0) {
        assert_int_equal(result, ERR_FULL);
        n_failed++;
        return;
    }
    for (uint32_t i = 0, n_ops = kv_ops(kv, &ops); i < n_ops; i++)
        assert_true(ops[i].source != ops[i].target);
    kv_commit(kv, seq, text, n - n_before);
    assert_true(kv_check(kv));
}

static void expect(uint32_t n_got, uint32_t n_asked) {
    assert_true(n_got <= n_asked);
    n_failed += n_got < n_asked;
    assert_true(kv_check(kv));
}

static int run(unsigned n_windows) {
    TRY(open_cache(n_windows));
    struct kv_seq *first = &sequences[0], *second = &sequences[1], *fork = &sequences[2];
    memset(sequences, 0, sizeof sequences);
    kv_match(kv, first, text, 3 * B + 7, 1);
    go_on(first, 3 * B + 7);
    expect(kv_match(kv, second, text, 3 * B + 5, 1), 3 * B + 4);
    assert_true(second->n_computed % B == 0 || second->n_computed == 3 * B + 4);
    go_on(second, 3 * B + 20);
    uint32_t n_fork = first->n_computed < 3 * B + 2 ? first->n_computed : 3 * B + 2;
    expect(kv_fork(kv, fork, first, n_fork), 3 * B + 2);
    go_on(fork, 4 * B + 1);
    expect(first->n_computed + kv_extend(kv, first, text, 4 * B + 1), 4 * B);
    assert_true(kv_pin(kv, text, 2 * B, 1, 100, 1) >= 0 || n_failed > 0);
    for (int i = 0; i < N_SEQUENCES; i++) kv_release(kv, &sequences[i]);
    assert_true(kv_check(kv));
    expect(kv_match(kv, first, text, 3 * B, 1), 3 * B - 1); /* rows of a block that nobody has */
    kv_release(kv, first);
    kv_poll(kv, 100);
    (void)kv_drop(kv, text, 0, 1);
    assert_true(kv_check(kv));
    struct kv_usage usage = kv_usage(kv);
    assert_true(usage.held_bytes == 0 && usage.idle_bytes == 0 && usage.waste_bytes == 0);
    kv_close(kv);
    return 0;
}

static void every_call_may_fail(void **state) {
    (void)state;
    for (int i = 0; i < N_TEXT; i++) text[i] = i;
    for (unsigned n_windows = 0; n_windows < 2; n_windows++)
        for (enum fault_mode mode = FAULT_ONCE; mode <= FAULT_FROM_THEN_ON; mode++) {
            unsigned n_opens = 0, n_short = 0;
            for (uint64_t n = 1;; n++) {
                n_failed = 0;
                fault_arm(mode, n);
                int result = run(n_windows);
                fault_disarm();
                assert_true(n < 1000 && (result == 0 || result == ERR_NO_MEMORY));
                if (!fault_delivered()) break;
                n_opens += result < 0;
                n_short += n_failed > 0;
            }
            assert_true(n_opens >= 16 && n_short >= 4); /* allocations of kv_open; slots and copies */
            assert_int_equal(n_failed, 0);
        }
}

/* ---- a cache that demotes, in little memory ---- */

static int open_small_cache(void) {
    struct kv_layout layout = {.n_groups = 1};
    struct kv_rules rules;
    assert_int_equal(kv_rules_parse(&rules, "auto"), 0);
    assert_int_equal(kv_layout_add(&layout, 0, 1, 32, kv_rules_codecs(&rules, 0, 0)), 0);
    struct kv_opts opts = {
        .memory_bytes = 7 * layout.groups[0].block_bytes, .max_sequences = N_SEQUENCES, .max_tokens = N_TEXT};
    return kv_open(&kv, &layout, &opts);
}

/* Two of 5 and 4 blocks, which share 2, in memory for 6, and a copy out of what may be demoted. */
static int run_pressed(void) {
    TRY(open_small_cache());
    struct kv_seq *first = &sequences[0], *second = &sequences[1];
    memset(sequences, 0, sizeof sequences);
    int32_t other[N_TEXT];
    memcpy(other, text, sizeof other);
    other[2 * B + 9] = -1;
    kv_match(kv, first, text, N_TEXT, 1);
    for (uint32_t n = B; n <= 5 * B; n += B) go_on(first, n);
    uint32_t n_before = first->n_computed;
    expect(kv_match(kv, second, other, N_TEXT, 1), 2 * B + 9);
    for (uint32_t n = second->n_computed / B * B + B; n <= 4 * B; n += B) go_on(second, n);
    assert_int_equal(first->n_computed, n_before);
    (void)kv_demote(kv, UINT64_MAX);
    assert_true(kv_check(kv));
    for (int i = 0; i < N_SEQUENCES; i++) kv_release(kv, &sequences[i]);
    assert_true(kv_check(kv));
    if (n_failed == 0) assert_true(kv_usage(kv).n_demotions > 2 && kv_usage(kv).n_evictions == 0);
    (void)kv_evict(kv, UINT64_MAX);
    struct kv_usage usage = kv_usage(kv);
    assert_true(usage.held_bytes == 0 && usage.idle_bytes == 0 && usage.waste_bytes == 0);
    kv_close(kv);
    return 0;
}

static void every_call_may_fail_under_pressure(void **state) {
    (void)state;
    for (int i = 0; i < N_TEXT; i++) text[i] = i;
    for (enum fault_mode mode = FAULT_ONCE; mode <= FAULT_FROM_THEN_ON; mode++) {
        unsigned n_opens = 0, n_short = 0;
        for (uint64_t n = 1;; n++) {
            n_failed = 0;
            fault_arm(mode, n);
            int result = run_pressed();
            fault_disarm();
            assert_true(n < 1000 && (result == 0 || result == ERR_NO_MEMORY));
            if (!fault_delivered()) break;
            n_opens += result < 0;
            n_short += n_failed > 0;
        }
        assert_true(n_opens >= 19 && n_short >= 5); /* three allocations more than without demotion */
        assert_int_equal(n_failed, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_may_fail),
                                       cmocka_unit_test(every_call_may_fail_under_pressure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
