/* What an account says of a cache: shares, what steps read and write, figures; and what a watcher hears of
 * blocks' ages. Whether bills add up over random load is test_bill.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "kv/kv_account.h"
#include "kv/kv_pin.h"
#include "kv/kv_usage.h"
#include "kv/kv_watch.h"

enum { B = BLOCK_TOKENS, BLOCK_BYTES = 1024, MAX_TOKENS = 20 * B, MAX_SEQUENCES = 4, TILE = 4 };

static struct kv_cache *kv;
static struct kv_account *account;
static struct kv_layout layout;
static int32_t text[MAX_TOKENS];

/* One layer of full attention; with a window one more, of that. 1024 bytes a block in f32, 512 in f16. */
static void open_all(uint32_t n_blocks, uint32_t window, enum codec_id codec) {
    layout = (struct kv_layout){.n_groups = window > 0 ? 2 : 1};
    for (unsigned g = 0; g < layout.n_groups; g++)
        assert_int_equal(kv_layout_add(&layout, g, 1, 4, kv_codecs_both(codec)), 0);
    layout.groups[1].window = window;
    struct kv_opts opts = {.memory_bytes = (size_t)n_blocks * BLOCK_BYTES,
                           .max_sequences = MAX_SEQUENCES,
                           .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    assert_int_equal(kv_account_open(&account, kv, TILE), 0);
    for (int i = 0; i < MAX_TOKENS; i++) text[i] = i;
}

static void close_all(void) {
    assert_true(kv_check(kv));
    kv_account_close(account);
    kv_close(kv);
}

static void append(struct kv_seq *seq, uint32_t n) {
    const struct kv_op *ops;
    assert_int_equal(kv_reserve(kv, seq, n), 0);
    kv_ops(kv, &ops);
    kv_commit(kv, seq, text, n);
}

/* A sequence that goes on from what is cached, to n tokens in all. */
static struct kv_seq follow(uint32_t n) {
    struct kv_seq seq = {0};
    kv_match(kv, &seq, text, n, 0);
    append(&seq, n - seq.n_computed);
    return seq;
}

static void assert_share(const struct kv_seq *seq, uint64_t held, uint64_t share, uint64_t f16) {
    struct kv_share found = kv_account_share(account, seq);
    assert_int_equal(found.held_bytes, held);
    assert_int_equal(found.share_bytes, share);
    assert_int_equal(found.f16_bytes, f16);
}

static void blocks_divide_among_their_holders(void **state) {
    (void)state;
    open_all(16, 0, CODEC_f32);
    struct kv_seq a = follow(4 * B), b = follow(2 * B + 1), c = follow(2 * B + 1), none = {0};
    kv_account_look(account);
    /* Two blocks are everybody's: 1024 / 3 each, and a byte of each nobody's. */
    assert_share(&a, 4 * BLOCK_BYTES, 2 * 341 + 2 * BLOCK_BYTES, 2 * BLOCK_BYTES);
    assert_share(&b, 3 * BLOCK_BYTES, 2 * 341 + BLOCK_BYTES, 3 * BLOCK_BYTES / 2);
    assert_share(&none, 0, 0, 0);
    assert_int_equal(kv_account_pool_bytes(account), 6 * BLOCK_BYTES);
    /* A lease is no holder. */
    assert_int_equal(kv_pin(kv, text, 2 * B, 0, KV_FOR_EVER, 0), 2 * B);
    kv_release(kv, &c);
    kv_account_look(account);
    assert_share(&b, 3 * BLOCK_BYTES, 2 * 512 + BLOCK_BYTES, 3 * BLOCK_BYTES / 2);
    kv_release(kv, &a);
    kv_release(kv, &b);
    kv_account_look(account);
    assert_share(&a, 0, 0, 0);
    assert_int_equal(kv_account_pool_bytes(account), 4 * BLOCK_BYTES); /* idle and leased ones */
    close_all();
}

static void whole_tiles_are_read_once(void **state) {
    (void)state;
    open_all(64, 0, CODEC_f32);
    enum { SLOT = BLOCK_BYTES / B };
    struct kv_seq a = follow(9 * B + 5), b = follow(6 * B + 1), c = follow(2 * B);
    for (struct kv_seq *const *seq = (struct kv_seq *const[]){&a, &b, &c, NULL}; *seq != NULL; seq++)
        assert_int_equal(kv_reserve(kv, *seq, 3), 0);
    struct kv_traffic traffic[] = {
        {.seq = &a, .n_rows = 1}, {.seq = &b, .n_rows = 3}, {.seq = &c, .n_rows = 1}};
    struct kv_step_bytes step = kv_account_step(account, traffic, 3);
    /* The first tile, blocks 0 to 3, is common to a and b; c does not have it whole. */
    assert_int_equal(traffic[0].read_bytes, (9 * B + 6 - 4 * B) * SLOT + 2 * BLOCK_BYTES);
    assert_int_equal(traffic[1].read_bytes, (6 * B + 4 - 4 * B) * SLOT + 2 * BLOCK_BYTES);
    assert_int_equal(traffic[2].read_bytes, (2 * B + 1) * SLOT);
    assert_int_equal(step.read, traffic[0].read_bytes + traffic[1].read_bytes + traffic[2].read_bytes);
    assert_int_equal(traffic[1].written_bytes, 3 * SLOT);
    assert_int_equal(step.written, 5 * SLOT);
    /* Alone, nobody shares. */
    step = kv_account_step(account, traffic + 1, 1);
    assert_int_equal(step.read, (6 * B + 4) * SLOT);
    for (struct kv_seq *const *seq = (struct kv_seq *const[]){&a, &b, &c, NULL}; *seq != NULL; seq++)
        kv_release(kv, *seq);
    close_all();
}

static void a_window_reads_what_it_sees(void **state) {
    (void)state;
    open_all(64, 5 * B + 1, CODEC_f32);
    enum { SLOT = BLOCK_BYTES / B };
    struct kv_seq a = follow(12 * B);
    assert_int_equal(kv_reserve(kv, &a, 1), 0);
    struct kv_traffic traffic = {.seq = &a, .n_rows = 1};
    struct kv_step_bytes step = kv_account_step(account, &traffic, 1);
    assert_int_equal(step.read, (12 * B + 1) * SLOT + (5 * B + 1) * SLOT);
    assert_int_equal(traffic.read_bytes, step.read);
    assert_int_equal(step.written, 2 * SLOT);
    kv_release(kv, &a);
    close_all();
}

static void figures_add_up(void **state) {
    (void)state;
    open_all(64, 2 * B, CODEC_f16);
    struct kv_seq a = follow(5 * B + 7), b = follow(5 * B + 7), gone = follow(3 * B);
    kv_release(kv, &gone);
    struct kv_figures figures = kv_account_figures(account);
    struct kv_usage usage = kv_usage(kv);
    assert_int_equal(figures.codec_bytes[CODEC_f16], usage.held_bytes + usage.idle_bytes);
    assert_int_equal(figures.codec_bytes[CODEC_f32], 0);
    uint64_t n_sealed = 0;
    for (unsigned g = 0; g < 2; g++) {
        assert_int_equal(figures.n_payloads[g][KV_OPEN], 2);
        assert_int_equal(figures.n_payloads[g][KV_SINK], 0);
        n_sealed += figures.n_payloads[g][KV_SEALED];
    }
    assert_int_equal(n_sealed, usage.n_sealed + usage.n_idle);
    assert_int_equal(figures.n_slots, (uint64_t)(usage.n_open + usage.n_sealed) * B);
    assert_int_equal(figures.n_unused_slots, 2 * 2 * (B - 7));
    kv_release(kv, &a);
    kv_release(kv, &b);
    figures = kv_account_figures(account);
    assert_int_equal(figures.n_slots, 0);
    assert_int_equal(figures.n_unused_slots, 0);
    close_all();
}

/* ---- ages ---- */

struct heard {
    uint32_t n;
    uint64_t ms; /* of all */
};
static struct heard heard[3];

static void hear(void *user, enum block_age age, uint64_t ms) {
    assert_ptr_equal(user, heard);
    heard[age].n++;
    heard[age].ms += ms;
}

static void assert_heard(enum block_age age, uint32_t n, uint64_t ms) {
    assert_int_equal(heard[age].n, n);
    assert_int_equal(heard[age].ms, ms);
}

static void a_watcher_hears_how_long_blocks_stay(void **state) {
    (void)state;
    open_all(16, 0, CODEC_f32);
    const uint64_t begin_us = (UINT64_C(1) << 32) * 1000 - 50000; /* the count of ms goes round meanwhile */
    kv_watch(kv, hear, heard);
    kv_poll(kv, begin_us);
    struct kv_seq a = follow(3 * B + 1);
    kv_poll(kv, begin_us + 20000);
    kv_release(kv, &a); /* three blocks are idle, the open one is free */
    kv_poll(kv, begin_us + 100000);
    assert_heard(BLOCK_AGE_GAP, 0, 0);
    a = follow(2 * B + 1);
    assert_heard(BLOCK_AGE_GAP, 2, 2 * 80);
    kv_release(kv, &a);
    kv_poll(kv, begin_us + 400000);
    assert_heard(BLOCK_AGE_LIFE, 0, 0);
    assert_int_equal(kv_evict(kv, UINT64_MAX), 3 * BLOCK_BYTES);
    assert_heard(BLOCK_AGE_GAP, 2, 2 * 80);
    assert_heard(BLOCK_AGE_LIFE, 3, 3 * 400);
    assert_heard(BLOCK_AGE_LAST, 3, 2 * 300 + 380);
    kv_watch(kv, NULL, NULL);
    a = follow(2 * B);
    kv_release(kv, &a);
    (void)kv_evict(kv, UINT64_MAX);
    assert_heard(BLOCK_AGE_LIFE, 3, 3 * 400);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_divide_among_their_holders),    cmocka_unit_test(whole_tiles_are_read_once),
        cmocka_unit_test(a_window_reads_what_it_sees),          cmocka_unit_test(figures_add_up),
        cmocka_unit_test(a_watcher_hears_how_long_blocks_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
