/* Precision by pressure: which blocks are stored smaller, when, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/kv_rules.h"
#include "kv/evict_list.h"
#include "kv/kv_account.h"
#include "kv/kv_demote.h"
#include "kv/kv_pin.h"
#include "kv/kv_usage.h"

/* One head of 64 numbers: f16, and codec_q4.c's 1,216 + 1,088. A slab holds one payload, or three demoted. */
enum { B = BLOCK_TOKENS, FULL = 8192, SMALL = 2304, MAX_TOKENS = 40 * B };

static struct kv_cache *kv;
static struct kv_layout layout;
static int32_t text[MAX_TOKENS], other[MAX_TOKENS]; /* they differ in every token */

static void open_cache(uint32_t n_slabs, const struct evict_policy *retain) {
    layout = (struct kv_layout){0};
    struct kv_rules rules;
    assert_int_equal(kv_rules_parse(&rules, "auto"), 0);
    assert_int_equal(kv_layout_group(&layout, 0), 0);
    assert_int_equal(kv_layout_add(&layout, 0, 1, 64, kv_rules_codecs(&rules, 0, 0)), 0);
    assert_int_equal(layout.groups[0].class_bytes[KV_OPEN], FULL);
    assert_int_equal(layout.groups[0].class_bytes[KV_DEMOTED], SMALL);
    struct kv_opts opts = {.memory_bytes = (size_t)n_slabs * FULL,
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

static void grow_to(struct kv_seq *seq, const int32_t *tokens, uint32_t n) {
    const struct kv_op *ops;
    uint32_t n_new = n - seq->n_computed;
    assert_int_equal(kv_reserve(kv, seq, n_new), 0);
    assert_true(kv_check(kv));
    kv_ops(kv, &ops);
    kv_commit(kv, seq, tokens, n_new);
    assert_true(kv_check(kv));
}

static void leave_behind(const int32_t *tokens, uint32_t n) {
    struct kv_seq seq = {0};
    (void)kv_match(kv, &seq, tokens, n, 0);
    grow_to(&seq, tokens, n);
    kv_release(kv, &seq);
    assert_true(kv_check(kv));
}

/* One letter a block of a sequence: D for those that are demoted. */
static void assert_blocks(const struct kv_seq *seq, const char *expected) {
    uint32_t n;
    const uint64_t *payloads = kv_payloads(kv, seq, 0, &n);
    char found[64] = "";
    for (uint32_t i = 0; i < n; i++) strcat(found, kv_payload_is_demoted(payloads[i]) ? "D" : "-");
    assert_string_equal(found, expected);
}

static void assert_cached(const int32_t *tokens, uint32_t n_blocks, const char *expected) {
    struct kv_seq seq = {0};
    assert_int_equal(kv_match(kv, &seq, tokens, n_blocks * B + 1, 0), n_blocks * B);
    assert_blocks(&seq, expected);
    kv_release(kv, &seq);
}

static void idle_blocks_are_demoted_before_any_is_evicted(void **state) {
    (void)state;
    open_cache(8, NULL);
    leave_behind(text, 4 * B);
    assert_int_equal(kv_usage(kv).idle_bytes, 4 * FULL);
    struct kv_seq seq = {0};
    /* One slab of the eight is the reserve, so three are free and two more are wanted. */
    assert_int_equal(kv_reserve(kv, &seq, 5 * B), 0);
    struct kv_usage usage = kv_usage(kv);
    assert_int_equal(usage.n_demotions, 2);
    assert_int_equal(usage.demoted_bytes, 2 * (FULL - SMALL));
    assert_int_equal(usage.n_evictions, 0);
    assert_int_equal(usage.idle_bytes, 2 * FULL + 2 * SMALL);
    assert_int_equal(usage.held_bytes, 5 * FULL);
    const struct kv_op *ops;
    assert_int_equal(kv_ops(kv, &ops), 2);
    for (int i = 0; i < 2; i++) assert_int_equal(ops[i].kind, KV_REENCODE);
    assert_true(ops[0].source != ops[1].source && ops[0].target != ops[1].target);
    kv_commit(kv, &seq, other, 5 * B);
    kv_release(kv, &seq);
    assert_cached(text, 4, "--DD"); /* the last to be used again goes first */
    close_cache();
}

/* By hits, the blocks of the text that was found go last, though they were used before the other's. */
static void idle_blocks_go_in_the_order_of_the_policy(void **state) {
    (void)state;
    for (int by_hits = 0; by_hits < 2; by_hits++) {
        open_cache(9, by_hits ? &evict_lfu : &evict_lru);
        leave_behind(text, 4 * B);
        leave_behind(text, 4 * B + 1);
        leave_behind(other, 4 * B);
        assert_int_equal(kv_demote(kv, 1), FULL - SMALL);
        assert_int_equal(kv_demote(kv, 1 + FULL - SMALL), 2 * (FULL - SMALL));
        assert_cached(text, 4, by_hits ? "----" : "-DDD");
        assert_cached(other, 4, by_hits ? "-DDD" : "----");
        assert_int_equal(kv_demote(kv, UINT64_MAX), 3 * (FULL - SMALL)); /* all but two first blocks */
        assert_int_equal(kv_demote(kv, UINT64_MAX), 0);
        assert_cached(text, 4, "-DDD");
        assert_cached(other, 4, "-DDD");
        close_cache();
    }
}

static void then_those_of_the_longest_sequences_from_their_beginning(void **state) {
    (void)state;
    open_cache(14, NULL);
    struct kv_seq longer = {0}, shorter = {0};
    grow_to(&shorter, other, 3 * B + 1);
    grow_to(&longer, text, 5 * B + 1);
    assert_int_equal(kv_usage(kv).n_demotions, 0);
    grow_to(&shorter, other, 6 * B); /* 2 more than there are, and it is the longer one when they come */
    assert_int_equal(kv_usage(kv).n_demotions, 0);
    grow_to(&longer, text, 6 * B + 1);
    assert_blocks(&longer, "-------");
    assert_blocks(&shorter, "------");
    grow_to(&shorter, other, 7 * B + 1); /* 2 blocks more; `longer` is the longer one */
    assert_blocks(&longer, "-DD----");
    assert_blocks(&shorter, "--------");
    kv_release(kv, &longer);
    struct kv_seq third = {0};
    leave_behind(other, 7 * B);                         /* nothing new: all of it is `shorter`'s */
    assert_int_equal(kv_reserve(kv, &third, 3 * B), 0); /* IDLE ones go before those of `shorter` */
    assert_blocks(&shorter, "--------");
    kv_release(kv, &third);
    kv_release(kv, &shorter);
    close_cache();
}

static void whoever_shares_a_block_sees_its_new_payload(void **state) {
    (void)state;
    open_cache(10, NULL);
    struct kv_seq first = {0}, second = {0}, all = {0};
    grow_to(&first, text, 4 * B);
    assert_int_equal(kv_match(kv, &second, text, 3 * B + 1, 0), 3 * B);
    assert_int_equal(kv_demote(kv, 3 * (FULL - SMALL)), 3 * (FULL - SMALL));
    assert_true(kv_check(kv));
    assert_blocks(&first, "-DDD");
    assert_blocks(&second, "-DD");
    assert_int_equal(kv_held_bytes(kv, &first), FULL + 3 * SMALL);
    assert_int_equal(kv_shared(kv, &first).bytes, FULL + 2 * SMALL);
    assert_int_equal(kv_match(kv, &all, text, MAX_TOKENS, 0), 4 * B); /* of any precision */
    assert_blocks(&all, "-DDD");
    grow_to(&all, text, 5 * B); /* behind demoted blocks a sequence goes on in new ones */
    assert_blocks(&all, "-DDD-");
    kv_release(kv, &first);
    kv_release(kv, &second);
    kv_release(kv, &all);
    close_cache();
}

static void rows_of_a_demoted_block_are_computed_again(void **state) {
    (void)state;
    open_cache(10, NULL);
    struct kv_seq seq = {0}, like = {0};
    grow_to(&seq, text, 3 * B);
    int32_t slip[4 * B];
    memcpy(slip, text, sizeof slip);
    slip[2 * B + 5] = -7; /* differs within the third block */
    assert_int_equal(kv_match(kv, &like, slip, 4 * B, 0), 2 * B + 5);
    kv_release(kv, &like);
    assert_int_equal(kv_fork(kv, &like, &seq, 2 * B + 9), 2 * B + 9);
    kv_release(kv, &like);
    assert_int_equal(kv_demote(kv, UINT64_MAX), 2 * (FULL - SMALL));
    assert_int_equal(kv_match(kv, &like, slip, 4 * B, 0), 2 * B);
    kv_release(kv, &like);
    assert_int_equal(kv_fork(kv, &like, &seq, 2 * B + 9), 2 * B);
    kv_release(kv, &like);
    assert_int_equal(kv_truncate(kv, &seq, 2 * B + 9), 2 * B); /* no rows to cut */
    assert_blocks(&seq, "-D");
    kv_release(kv, &seq);
    close_cache();
}

/* What is to be copied stays as rows until it is. */
static void a_source_of_copies_is_not_demoted(void **state) {
    (void)state;
    open_cache(10, NULL);
    struct kv_seq seq = {0}, like = {0};
    grow_to(&seq, text, 3 * B);
    int32_t slip[4 * B];
    memcpy(slip, text, sizeof slip);
    slip[2 * B + 5] = -7;
    assert_int_equal(kv_match(kv, &like, slip, 4 * B, 0), 2 * B + 5);
    assert_int_equal(kv_demote(kv, UINT64_MAX), FULL - SMALL);
    assert_blocks(&seq, "-D-");
    grow_to(&like, slip, 2 * B + 6);
    assert_int_equal(kv_demote(kv, UINT64_MAX), FULL - SMALL);
    assert_blocks(&seq, "-DD");
    kv_release(kv, &seq);
    kv_release(kv, &like);
    close_cache();
}

/* A copy into what a demotion has freed comes behind it, whatever was decided first. */
static void copies_come_behind_the_demotions_that_make_room_for_them(void **state) {
    (void)state;
    open_cache(6, NULL);
    struct kv_seq seq = {0}, like = {0};
    grow_to(&seq, text, 5 * B);
    int32_t slip[5 * B];
    memcpy(slip, text, sizeof slip);
    slip[4 * B + 5] = -7;
    assert_int_equal(kv_match(kv, &like, slip, 5 * B, 0), 4 * B + 5);
    const struct kv_op *ops;
    assert_int_equal(kv_ops(kv, &ops), 2);
    assert_int_equal(ops[0].kind, KV_REENCODE);
    assert_int_equal(ops[1].kind, KV_COPY);
    assert_int_equal(ops[0].source, ops[1].target);
    kv_release(kv, &like);
    assert_int_equal(kv_ops(kv, &ops), 1); /* a demotion is not taken back */
    assert_true(kv_check(kv));
    kv_release(kv, &seq);
    close_cache();
}

static void a_pin_keeps_blocks_and_not_their_precision(void **state) {
    (void)state;
    open_cache(12, NULL);
    leave_behind(text, 4 * B);
    assert_int_equal(kv_pin(kv, text, 4 * B, 0, KV_FOR_EVER, 0), 4 * B);
    assert_int_equal(kv_usage(kv).leased_bytes, 4 * FULL);
    leave_behind(other, 2 * B);
    assert_int_equal(kv_demote(kv, 1), FULL - SMALL); /* not a pinned one */
    assert_cached(text, 4, "----");
    assert_int_equal(kv_demote(kv, UINT64_MAX), 3 * (FULL - SMALL));
    assert_true(kv_check(kv));
    assert_int_equal(kv_usage(kv).leased_bytes, FULL + 3 * SMALL);
    assert_int_equal(kv_evict(kv, UINT64_MAX), FULL + SMALL);
    assert_cached(text, 4, "-DDD");
    assert_int_equal(kv_pin(kv, text, 4 * B, 0, 0, 0), 4 * B);
    assert_int_equal(kv_usage(kv).leased_bytes, 0);
    close_cache();
}

/* With k slabs: one for each of the first and the last block, the rest with three blocks each but for the
 * reserve, room for one; without demotion, all slabs but the reserve's. */
static void capacity_counts_what_demotion_frees(void **state) {
    (void)state;
    for (uint32_t n_slabs = 4; n_slabs < 14; n_slabs++) {
        open_cache(n_slabs, NULL);
        struct kv_usage usage = kv_usage(kv);
        uint32_t most = 2 + 3 * (n_slabs - 2) - 1;
        assert_int_equal(usage.capacity_tokens, most * B);
        assert_int_equal(usage.undemoted_tokens, (n_slabs - 1) * B);
        assert_int_equal(usage.free_tokens, usage.capacity_tokens);
        /* That is no promise that cannot be kept. */
        struct kv_seq seq = {0};
        for (uint32_t i = 0; i < most * B; i += B / 2) grow_to(&seq, text, i + B / 2);
        assert_int_equal(kv_held_bytes(kv, &seq), kv_least_bytes_for(&layout, most * B, 1));
        assert_int_equal(kv_usage(kv).n_evictions, 0);
        struct kv_seq before = seq;
        assert_int_equal(kv_reserve(kv, &seq, 1), ERR_FULL);
        assert_memory_equal(&before, &seq, sizeof seq);
        char needed[32];
        snprintf(needed, sizeof needed, "%u bytes", 2 * FULL + (most - 1) * SMALL);
        assert_non_null(strstr(err_message(), needed));
        kv_release(kv, &seq);
        close_cache();
    }
}

/* What admission asks: blocks of a new sequence beside what is held. */
static void room_for_others_counts_what_demotion_would_free(void **state) {
    (void)state;
    open_cache(10, NULL);
    struct kv_seq seq = {0};
    grow_to(&seq, text, 8 * B);
    uint64_t n_more = 0;
    while (kv_has_room(kv, &(uint64_t){n_more + 1})) n_more++;
    /* 7 of 8 demoted take, with the reserve, 3 slabs; of 6 left 2 hold full blocks, 4 three each, and there
     * is one place in the third. */
    assert_int_equal(n_more, 2 + 12 + 1);
    assert_int_equal(kv_usage(kv).n_demotions, 0); /* asking changes nothing */
    assert_int_equal(kv_usage(kv).free_tokens, n_more * B);
    kv_release(kv, &seq);
    close_cache();
}

static void evicting_comes_when_nothing_is_left_to_demote(void **state) {
    (void)state;
    open_cache(6, NULL);
    struct kv_seq seq = {0};
    for (uint32_t n = B; n <= 7 * B; n += B) grow_to(&seq, text, n); /* its own blocks make room for it */
    assert_int_equal(kv_usage(kv).n_evictions, 0);
    kv_release(kv, &seq);
    uint32_t n_growths = 0;
    while (kv_usage(kv).n_evictions == 0) {
        struct kv_usage usage = kv_usage(kv);
        assert_true(n_growths < 8);
        grow_to(&seq, other, ++n_growths * B);
        if (kv_usage(kv).n_evictions > 0)
            assert_int_equal(usage.idle_bytes, FULL + 6 * SMALL); /* all had been demoted by then */
    }
    assert_true(n_growths > 2);
    kv_release(kv, &seq);
    close_cache();
}

static void accounts_know_the_new_bytes(void **state) {
    (void)state;
    open_cache(12, NULL);
    struct kv_seq first = {0}, second = {0};
    struct kv_account *account;
    assert_int_equal(kv_account_open(&account, kv, 4), 0);
    grow_to(&first, text, 5 * B);
    assert_int_equal(kv_match(kv, &second, text, 4 * B + 1, 0), 4 * B);
    kv_demote(kv, 2 * (FULL - SMALL));
    kv_account_look(account);
    struct kv_share a = kv_account_share(account, &first), b = kv_account_share(account, &second);
    assert_int_equal(a.held_bytes, 3 * FULL + 2 * SMALL);
    assert_int_equal(b.held_bytes, 2 * FULL + 2 * SMALL);
    assert_int_equal(a.share_bytes + b.share_bytes, kv_account_pool_bytes(account));
    assert_int_equal(a.f16_bytes, 5 * FULL);
    struct kv_figures figures = kv_account_figures(account);
    assert_int_equal(figures.n_payloads[0][KV_OPEN], 0);
    assert_int_equal(figures.n_payloads[0][KV_SEALED], 3);
    assert_int_equal(figures.n_payloads[0][KV_DEMOTED], 2);
    assert_int_equal(figures.codec_bytes[CODEC_f16], 3 * FULL);
    assert_int_equal(figures.codec_bytes[CODEC_q4], 2 * SMALL);
    grow_to(&first, text, 5 * B + 1);
    assert_int_equal(kv_reserve(kv, &first, 1), 0);
    struct kv_traffic traffic = {.seq = &first, .n_rows = 1};
    struct kv_step_bytes step = kv_account_step(account, &traffic, 1);
    assert_int_equal(step.read, 3 * FULL + 2 * SMALL + FULL * 2 / B); /* each block as it is stored */
    assert_int_equal(step.written, FULL / B);
    kv_account_close(account);
    kv_release(kv, &first);
    kv_release(kv, &second);
    close_cache();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_blocks_are_demoted_before_any_is_evicted),
        cmocka_unit_test(idle_blocks_go_in_the_order_of_the_policy),
        cmocka_unit_test(then_those_of_the_longest_sequences_from_their_beginning),
        cmocka_unit_test(whoever_shares_a_block_sees_its_new_payload),
        cmocka_unit_test(rows_of_a_demoted_block_are_computed_again),
        cmocka_unit_test(a_source_of_copies_is_not_demoted),
        cmocka_unit_test(copies_come_behind_the_demotions_that_make_room_for_them),
        cmocka_unit_test(a_pin_keeps_blocks_and_not_their_precision),
        cmocka_unit_test(capacity_counts_what_demotion_frees),
        cmocka_unit_test(room_for_others_counts_what_demotion_would_free),
        cmocka_unit_test(evicting_comes_when_nothing_is_left_to_demote),
        cmocka_unit_test(accounts_know_the_new_bytes),
    };
    return cmocka_run_group_tests_name("kv demote", tests, NULL, NULL);
}
