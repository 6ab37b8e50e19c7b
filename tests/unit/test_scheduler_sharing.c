/* Who computes what several need: promises, and those who follow in the wake. */
#include "scheduler_case.h"

/* The first n tokens of sequence `index` are those of another. */
static void begin_alike(int index, int source, uint32_t n) {
    memcpy(tokens[index], tokens[source], n * sizeof **tokens);
}

/* The rows of a sequence in the step, from `first` on. */
static void assert_rows(uint32_t i, int index, uint32_t first, uint32_t n_rows) {
    assert_true(i < batch.n_sequences);
    assert_ptr_equal(scheduler.in_step[i], &sequences[index]);
    assert_int_equal(batch.sequences[i].first_position, first);
    assert_int_equal(batch.sequences[i].n_rows, n_rows);
}

static void commit(void) {
    scheduler_commit(&scheduler);
    assert_true(kv_check(kv));
}

static void two_that_arrive_together_compute_their_prompt_once(void **state) {
    (void)state;
    open_all(64, 2 * B);
    begin_alike(1, 0, MAX_TOKENS);
    add(0, 3 * B + 10);
    add(1, 3 * B + 10);
    assert_int_equal(next(), 1);
    assert_rows(0, 0, 0, 2 * B);
    assert_int_equal(scheduler.n_running, 1); /* nothing of the budget was left to admit with */
    commit();
    assert_int_equal(next_within(B), 1);
    assert_rows(0, 0, 2 * B, B);
    commit();
    assert_int_equal(next(), 1);
    assert_rows(0, 0, 3 * B, 10);
    assert_int_equal(scheduler.n_running, 2); /* has the blocks, waits for the rest */
    assert_int_equal(sequences[1].kv.n_computed, 3 * B);
    commit();
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2);
    assert_rows(0, 0, 3 * B + 10, 1);
    assert_rows(1, 1, 3 * B + 9, 1); /* but the row that it samples from */
    assert_int_equal(sequences[1].n_matched, 3 * B + 9);
    const struct kv_op *ops;
    assert_int_equal(kv_ops(kv, &ops), 1);
    assert_int_equal(ops[0].n_slots, 9);
    commit();
    close_all();
}

static void who_follows_waits_for_the_seal_and_no_longer(void **state) {
    (void)state;
    open_all(64, 2 * B);
    begin_alike(1, 0, 3 * B);
    add(0, 8 * B);
    add(1, 4 * B);
    next();
    commit();
    next_within(B);
    commit();
    assert_int_equal(next(), 1); /* 0 goes on, and takes all of the budget */
    assert_rows(0, 0, 3 * B, 2 * B);
    commit();
    assert_int_equal(next_within(2 * B - 8), 1);
    commit();
    assert_int_equal(next(), 2);
    assert_rows(0, 0, 7 * B - 8, B + 8);
    assert_rows(1, 1, 3 * B, B - 8);
    commit();
    close_all();
}

static void others_are_not_held_up(void **state) {
    (void)state;
    open_all(64, 4 * B);
    begin_alike(1, 0, MAX_TOKENS);
    begin_alike(3, 0, MAX_TOKENS);
    begin_alike(4, 0, MAX_TOKENS);
    sequences[3].salt = 5;
    sequences[4].skips_cache = true;
    add(0, B + 1);
    add(1, B + 1);
    add(2, 10);
    add(3, 11);
    add(4, 12);
    assert_int_equal(next(), 4); /* 1 alone waits */
    assert_rows(0, 0, 0, B + 1);
    assert_rows(1, 2, 0, 10);
    assert_rows(2, 3, 0, 11);
    assert_rows(3, 4, 0, 12);
    commit();
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2);
    assert_rows(1, 1, B, 1);
    commit();
    close_all();
}

/* A few tokens are computed sooner than waited for, unless they are all there is. */
static void a_common_word_is_not_worth_waiting_for(void **state) {
    (void)state;
    open_all(64, 4 * B);
    begin_alike(1, 0, B - 1);
    begin_alike(2, 0, B - 1);
    add(0, 2 * B);
    add(1, 2 * B);
    add(2, B - 1);
    assert_int_equal(next_within(3 * B), 2);
    assert_rows(0, 0, 0, 2 * B);
    assert_rows(1, 1, 0, B);
    commit();
    sequences[0].n_tokens++;
    assert_int_equal(next(), 3);
    assert_rows(2, 2, B - 2, 1);
    commit();
    close_all();
}

static void who_is_cancelled_promises_nothing(void **state) {
    (void)state;
    open_all(64, 2 * B);
    begin_alike(1, 0, MAX_TOKENS);
    add(0, 6 * B);
    add(1, 6 * B);
    next_within(B + 5);
    commit();
    assert_int_equal(next_within(1), 1);
    commit();
    finish(0);
    assert_int_equal(next(), 1);
    assert_rows(0, 1, B, 2 * B); /* what 0 had sealed stays */
    commit();
    close_all();
}

/* 0 goes before 1 in the order, so it waits for nobody, though 1 came first; and 1 waits for it. */
static void the_first_in_order_waits_for_nobody(void **state) {
    (void)state;
    open_all(64, B);
    begin_alike(1, 0, MAX_TOKENS);
    add(1, 3 * B);
    next_within(8);
    commit();
    sequences[0].priority = -1;
    add(0, 3 * B);
    assert_int_equal(next_within(4), 1); /* 1's rows come first: it runs already */
    assert_rows(0, 1, 8, 4);
    commit();
    sequences[2].priority = 1;
    add(2, 5);
    assert_int_equal(next_within(B), 1);
    assert_rows(0, 1, 12, B);
    commit();
    for (int step = 0; step < 8 && sequence_tokens_left(&sequences[0]) > 0; step++) {
        assert_true(next() > 0);
        commit();
    }
    assert_int_equal(sequence_tokens_left(&sequences[0]), 0);
    close_all();
}

/* The one that computes is preempted by somebody before it, and those who follow before that. */
static void nobody_waits_for_one_who_was_preempted(void **state) {
    (void)state;
    open_all(6, 2 * B);
    begin_alike(2, 1, MAX_TOKENS);
    add_expecting(0, 2 * B, 0);
    next();
    commit();
    add_expecting(1, 3 * B, 0);
    add_expecting(2, 3 * B, 0);
    for (int step = 0; step < 200 && sequences[0].n_tokens < 5 * B; step++) {
        if (sequence_tokens_left(&sequences[0]) == 0) sequences[0].n_tokens++;
        assert_true(next() > 0);
        commit();
    }
    assert_true(sequences[1].n_preemptions > 0);
    finish(0);
    for (int step = 0; step < 8 && scheduler.n_running + scheduler.n_waiting > 0; step++) {
        assert_true(next() > 0);
        commit();
        for (int i = 1; i <= 2; i++)
            if (sequence_is_scheduled(&sequences[i]) && sequence_tokens_left(&sequences[i]) == 0) finish(i);
    }
    assert_int_equal(scheduler.n_running + scheduler.n_waiting, 0);
    close_all();
}

static void with_windows_too(void **state) {
    (void)state;
    open_groups((const uint32_t[]){0, B + 1}, 2, 64, 2 * B);
    begin_alike(1, 0, MAX_TOKENS);
    add(0, 5 * B + 7);
    add(1, 5 * B + 7);
    uint32_t n_rows = 0;
    for (int step = 0; step < 10; step++) {
        if (next() == 0) break;
        n_rows += batch.n_rows;
        commit();
    }
    assert_int_equal(n_rows, 5 * B + 7 + 1);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_that_arrive_together_compute_their_prompt_once),
        cmocka_unit_test(who_follows_waits_for_the_seal_and_no_longer),
        cmocka_unit_test(others_are_not_held_up),
        cmocka_unit_test(a_common_word_is_not_worth_waiting_for),
        cmocka_unit_test(who_is_cancelled_promises_nothing),
        cmocka_unit_test(the_first_in_order_waits_for_nobody),
        cmocka_unit_test(nobody_waits_for_one_who_was_preempted),
        cmocka_unit_test(with_windows_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
