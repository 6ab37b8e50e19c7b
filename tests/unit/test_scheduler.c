/* Which rows are in which step: order, budget, admission. */
#include "scheduler_case.h"

static void prompts_come_in_chunks_in_order_of_arrival(void **state) {
    (void)state;
    open_all(64, 40);
    assert_int_equal(next(), 0);
    add(2, 100);
    add(0, 30);
    add(1, 10);
    assert_int_equal(next(), 1);
    assert_entry(0, 2, 0, 40);
    assert_int_equal(batch.n_wanted, 0);
    scheduler_commit(&scheduler);
    assert_int_equal(next(), 1);
    assert_entry(0, 2, 40, 40);
    scheduler_commit(&scheduler);
    assert_int_equal(next(), 2); /* the budget is for all chunks together */
    assert_entry(0, 2, 80, 20);
    assert_entry(1, 0, 0, 20);
    assert_batch();
    assert_int_equal(batch.n_wanted, 1);
    scheduler_commit(&scheduler);
    assert_int_equal(next(), 2); /* sequence 2 has nothing left until it gets a token */
    assert_entry(0, 0, 20, 10);
    assert_entry(1, 1, 0, 10);
    assert_int_equal(batch.n_wanted, 2);
    scheduler_commit(&scheduler);
    assert_int_equal(next(), 0);
    assert_int_equal(batch.n_rows, 0);
    close_all();
}

static void decoding_comes_first_and_takes_nothing_from_the_budget(void **state) {
    (void)state;
    open_all(64, 8);
    add(1, 1);
    assert_int_equal(next(), 1);
    assert_int_equal(scheduler.n_prefill_rows, 1); /* a prompt, if a short one */
    scheduler_commit(&scheduler);
    sequences[0].priority = -1; /* comes before 1, but is still in its prompt */
    add(0, 50);
    sequences[1].n_tokens++;
    assert_int_equal(next(), 2);
    assert_entry(0, 1, 1, 1);
    assert_entry(1, 0, 0, 8);
    assert_int_equal(scheduler.n_decode_rows, 1);
    assert_int_equal(scheduler.n_prefill_rows, 8);
    scheduler_commit(&scheduler);
    sequences[1].n_tokens++;
    add(2, 20);
    assert_int_equal(next(), 2); /* nothing of the budget is left for 2 */
    assert_entry(0, 1, 2, 1);
    assert_entry(1, 0, 8, 8);
    assert_batch();
    scheduler_commit(&scheduler);
    sequences[0].n_tokens = 17; /* one left of it */
    sequences[1].n_tokens++;
    assert_int_equal(next(), 3);
    assert_entry(0, 0, 16, 1);
    assert_entry(1, 1, 3, 1);
    assert_entry(2, 2, 0, 8);
    assert_int_equal(batch.n_wanted, 2);
    scheduler_commit(&scheduler);
    close_all();
}

static void the_prefill_budget_may_change_with_every_step(void **state) {
    (void)state;
    open_all(64, 20);
    add(0, 100);
    assert_int_equal(next_within(5), 1);
    assert_entry(0, 0, 0, 5);
    scheduler_commit(&scheduler);
    assert_int_equal(next_within(0), 1); /* nothing decodes, so nobody is spared by waiting */
    assert_entry(0, 0, 5, 20);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens = 26;
    add(1, 60);
    assert_int_equal(next_within(0), 1);
    assert_entry(0, 0, 25, 1);
    assert_int_equal(scheduler.n_waiting, 1);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    assert_int_equal(next_within(21), 2); /* chunk_tokens is the bound */
    assert_entry(1, 1, 0, 20);
    scheduler_commit(&scheduler);
    close_all();
}

static void any_number_waits_and_leaves_in_any_state(void **state) {
    (void)state;
    open_all(64, 100);
    for (int i = 0; i < N_SEQUENCES; i++) add(i, 3);
    assert_int_equal(scheduler.n_waiting, N_SEQUENCES);
    scheduler_remove(&scheduler, &sequences[3]);
    scheduler_remove(&scheduler, &sequences[3]); /* it is not there any more: nothing happens */
    assert_false(sequence_is_scheduled(&sequences[3]));
    assert_int_equal(next(), MAX_RUNNING);
    for (uint32_t i = 0; i < MAX_RUNNING; i++) assert_entry(i, (int)(i < 3 ? i : i + 1), 0, 3);
    assert_int_equal(scheduler.n_running, MAX_RUNNING);
    assert_int_equal(scheduler.n_waiting, 3);
    for (int i = 9; i < N_SEQUENCES; i++) assert_int_equal(sequences[i].kv.table, 0);
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[0]); /* the first, the last and one between */
    scheduler_remove(&scheduler, &sequences[8]);
    scheduler_remove(&scheduler, &sequences[5]);
    assert_int_equal(sequences[5].kv.n_computed, 3); /* its slots stay its own */
    scheduler_remove(&scheduler, &sequences[10]);
    for (int i = 1; i < 8; i++) sequences[i].n_tokens++;
    assert_int_equal(next(), 7);
    static const int order[] = {1, 2, 4, 6, 7, 9, 11};
    for (uint32_t i = 0; i < 7; i++) assert_entry(i, order[i], i < 5 ? 3 : 0, i < 5 ? 1 : 3);
    scheduler_commit(&scheduler);
    close_all();
}

static void lower_priorities_come_first_and_equal_ones_as_they_arrived(void **state) {
    (void)state;
    open_all(64, 10);
    static const int32_t priorities[] = {0, 5, -3, 0, 5, -3, INT32_MIN, INT32_MAX};
    static const int order[] = {6, 2, 5, 0, 3, 1, 4, 7};
    for (int i = 0; i < 8; i++) {
        sequences[i].priority = priorities[i];
        add(i, 10);
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(next(), 1);
        assert_entry(0, order[i], 0, 10);
        scheduler_commit(&scheduler);
    }
    for (int i = 0; i < 8; i++) sequences[i].n_tokens += 2;
    assert_int_equal(next(), 5); /* chunks of running ones in the same order */
    for (uint32_t i = 0; i < 5; i++) assert_entry(i, order[i], 10, 2);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_is_expected_to_outgrow_what_is_free_is_not_admitted(void **state) {
    (void)state;
    open_all(10, 300);
    add_expecting(0, B, 6 * B);
    add_expecting(1, 2 * B, 4 * B + 1);
    add(2, 1);
    assert_int_equal(next(), 1); /* 6 + 5 blocks are too many, and 2 does not overtake */
    assert_entry(0, 0, 0, B);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    assert_int_equal(next(), 1);
    assert_int_equal(sequences[1].kv.table, 0); /* no slots while it waits */
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]);
    add_expecting(1, 2 * B, 4 * B);
    sequences[1].priority = 0;
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2); /* now 2 is the first: 1 of the 4 blocks that 0 leaves */
    assert_entry(1, 2, 0, 1);
    scheduler_commit(&scheduler);
    finish(2);
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2); /* 6 + 4 */
    assert_entry(1, 1, 0, 2 * B);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_is_alone_is_admitted_whatever_it_expects(void **state) {
    (void)state;
    open_all(2, 300);
    add_expecting(0, B, MAX_TOKENS);
    add(1, B);
    assert_int_equal(next(), 1);
    assert_entry(0, 0, 0, B);
    scheduler_commit(&scheduler);
    close_all();
}

static void windows_bound_what_is_expected(void **state) {
    (void)state;
    open_groups((const uint32_t[]){B}, 1, 5, 300);
    add_expecting(0, 1, MAX_TOKENS); /* never more than 2 blocks each, token by token */
    add_expecting(1, 1, MAX_TOKENS);
    add_expecting(2, 1, MAX_TOKENS);
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    close_all();
    open_groups((const uint32_t[]){B, 0}, 2, 12, 300); /* in 2 groups, one of which grows on */
    add_expecting(0, 1, 4 * B);
    add_expecting(1, 1, 5 * B);
    assert_int_equal(next(), 1);
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]);
    add_expecting(1, 1, 4 * B);
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    close_all();
}

/* Rows of two sequences, some of whose positions are streamed, step by step. */
static void rows_are_streamed_where_a_sequence_asks(void **state) {
    (void)state;
    open_all(64, 16);
    sequences[0].stream_begin = 5;
    sequences[0].stream_end = 20;
    sequences[1].stream_begin = 3;
    sequences[1].stream_end = 9;
    add(0, 21);
    add(1, 10);
    static const struct {
        uint32_t n, first, last;
    } steps[] = {{11, 5, 15}, {4 + 6, 0, 13}};
    for (int step = 0; step < 2; step++) {
        next();
        assert_int_equal(batch.n_streamed, steps[step].n);
        assert_int_equal(batch.streamed[0], steps[step].first);
        assert_int_equal(batch.streamed[batch.n_streamed - 1], steps[step].last);
        for (uint32_t i = 1; i < batch.n_streamed; i++)
            assert_true(batch.streamed[i] > batch.streamed[i - 1]);
        assert_batch();
        scheduler_commit(&scheduler);
    }
    sequences[0].n_tokens++;
    assert_int_equal(next(), 1); /* what it generates is not */
    assert_int_equal(batch.n_streamed, 0);
    scheduler_commit(&scheduler);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_come_in_chunks_in_order_of_arrival),
        cmocka_unit_test(decoding_comes_first_and_takes_nothing_from_the_budget),
        cmocka_unit_test(the_prefill_budget_may_change_with_every_step),
        cmocka_unit_test(any_number_waits_and_leaves_in_any_state),
        cmocka_unit_test(lower_priorities_come_first_and_equal_ones_as_they_arrived),
        cmocka_unit_test(who_is_expected_to_outgrow_what_is_free_is_not_admitted),
        cmocka_unit_test(who_is_alone_is_admitted_whatever_it_expects),
        cmocka_unit_test(windows_bound_what_is_expected),
        cmocka_unit_test(rows_are_streamed_where_a_sequence_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
