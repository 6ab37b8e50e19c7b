/* What happens when memory runs out, and what sequences find in the cache. */
#include "kv/kv_usage.h"
#include "scheduler_case.h"

/* Four sequences of a block each that fill the cache; 1 and 2 are of lower priority. */
static void open_full(void) {
    open_all(4, 300);
    sequences[1].priority = sequences[2].priority = sequences[4].priority = 5;
    for (int i = 0; i < 4; i++) {
        sequences[i].skips_cache = true;
        add(i, B);
    }
    assert_int_equal(next(), 4);
    scheduler_commit(&scheduler);
}

static void the_youngest_of_the_lowest_priority_gives_way(void **state) {
    (void)state;
    open_full();
    sequences[0].n_tokens++;
    sequences[2].n_tokens++; /* wants a block too, but has to give its own */
    assert_int_equal(next(), 1);
    assert_entry(0, 0, B, 1);
    assert_int_equal(sequences[2].state, SEQUENCE_WAITING);
    assert_int_equal(sequences[2].kv.table, 0);
    assert_int_equal(sequences[2].n_preemptions, 1);
    assert_int_equal(scheduler.n_preemptions, 1);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    sequences[3].n_tokens++;
    assert_int_equal(next(), 2);
    assert_entry(1, 3, B, 1);
    assert_int_equal(sequences[1].n_preemptions, 1);
    scheduler_commit(&scheduler);
    add(4, B); /* of their priority, but later */
    add(5, B); /* of a higher one */
    finish(0);
    finish(3);
    assert_int_equal(next(), 3);
    assert_entry(0, 5, 0, B);
    assert_entry(1, 1, 0, B);
    assert_entry(2, 2, 0, B + 1); /* what it had got of output is computed again like a prompt */
    assert_int_equal(sequences[2].n_preemptions, 1);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_gave_way_comes_back_only_when_somebody_has_gone(void **state) {
    (void)state;
    open_full();
    sequences[0].n_tokens++;
    sequences[2].n_tokens++;
    for (int step = 0; step < 5; step++) {
        next();
        assert_int_equal(sequences[2].state, SEQUENCE_WAITING);
        scheduler_commit(&scheduler);
        sequences[0].n_tokens++;
    }
    finish(1);
    sequences[2].n_tokens--; /* so that it fits into the block that is left */
    assert_int_equal(next(), 2);
    assert_entry(1, 2, 0, B);
    scheduler_commit(&scheduler);
    close_all();
}

static void the_last_in_order_waits_with_what_it_holds(void **state) {
    (void)state;
    open_all(3, 300);
    add(0, B - 3);
    add(1, 2 * B);
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    sequences[1].n_tokens++;
    for (int step = 0; step < 3; step++) {
        sequences[0].n_tokens++;
        assert_int_equal(next(), 1);
        assert_entry(0, 0, (uint32_t)(B - 3 + step), 1);
        assert_int_equal(sequences[1].state, SEQUENCE_RUNNING);
        assert_int_equal(sequences[1].kv.n_computed, 2 * B);
        scheduler_commit(&scheduler);
    }
    finish(0);
    assert_int_equal(next(), 1);
    assert_entry(0, 1, 2 * B, 1);
    scheduler_commit(&scheduler);
    assert_int_equal(scheduler.n_preemptions, 0);
    close_all();
}

static void chunks_shrink_before_they_cost_others_anything(void **state) {
    (void)state;
    open_all(4, 40);
    add(0, B - 1);
    next();
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    sequences[1].priority = -1;
    add(1, 3 * B);
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    assert_int_equal(sequences[1].kv.n_computed, 40);
    sequences[0].n_tokens++; /* takes the last block */
    static const uint32_t n_rows[] = {20, 4};
    for (int step = 0; step < 2; step++) {
        assert_int_equal(next(), 2);
        assert_entry(1, 1, sequences[1].kv.n_computed, n_rows[step]);
        scheduler_commit(&scheduler);
        sequences[0].n_tokens++;
    }
    assert_int_equal(scheduler.n_preemptions, 0);
    assert_int_equal(next(), 1); /* not one slot is left: 0 gives way, whose row was in the step already */
    assert_entry(0, 1, 2 * B, B);
    assert_int_equal(scheduler.n_decode_rows, 0);
    assert_int_equal(sequences[0].n_rows, 0);
    assert_int_equal(sequences[0].n_preemptions, 1);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_is_alone_and_has_no_room_fails(void **state) {
    (void)state;
    open_all(2, 300);
    add(0, 2 * B);
    add(1, 3 * B);
    next();
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    assert_next_fails(0);
    assert_next_fails(0); /* until its owner removes it */
    finish(0);
    assert_int_equal(next(), 1); /* as much of 1 as there is room for */
    scheduler_commit(&scheduler);
    uint32_t n_steps = 0;
    while (sequences[1].kv.n_computed < 2 * B && n_steps++ < 10) {
        assert_int_equal(next(), 1);
        scheduler_commit(&scheduler);
    }
    assert_next_fails(1);
    finish(1);
    assert_int_equal(next(), 0);
    close_all();
}

/* A sequence that its owner keeps from one request to the next. */
static void who_brings_slots_along_goes_on_from_there(void **state) {
    (void)state;
    open_all(3, 300);
    add(1, 40);
    next();
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]);
    add(1, 50);
    assert_int_equal(next(), 1);
    assert_entry(0, 1, 40, 10);
    assert_int_equal(sequences[1].n_matched, 40);
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]);
    assert_int_equal(kv_truncate(kv, &sequences[1].kv, 0), 0);
    tokens[1][0] = -1;
    add(1, 40); /* nothing of it is left: it is as fresh as any */
    assert_int_equal(sequences[1].kv.table, 0);
    assert_int_equal(next(), 1);
    assert_int_equal(sequences[1].n_matched, 0);
    scheduler_commit(&scheduler);
    close_all();
}

static void what_waiting_ones_brought_along_goes_before_anybody_runs_short(void **state) {
    (void)state;
    open_all(3, 300);
    add(1, 2 * B);
    add(0, B);
    next();
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]);
    sequences[1].skips_cache = true;
    add_expecting(1, 2 * B + 1, 4 * B); /* waits for memory, and holds 2 blocks of it */
    sequences[0].n_tokens++;
    assert_int_equal(next(), 1);
    assert_entry(0, 0, B, 1);
    assert_int_equal(sequences[1].kv.table, 0);
    assert_int_equal(sequences[1].n_preemptions, 0); /* it did not run */
    scheduler_commit(&scheduler);
    finish(0);
    assert_int_equal(next(), 1);
    assert_entry(0, 1, 0, 2 * B + 1);
    assert_int_equal(sequences[1].n_matched, 0);
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]); /* it holds all memory */
    add(1, 3 * B);
    sequences[0].priority = -1;
    add(0, B + 1);
    assert_int_equal(next(), 1); /* 0 is alone, so it may take it, and then some is left for 1 */
    assert_entry(0, 0, 0, B + 1);
    assert_int_equal(sequences[1].kv.table, 0);
    scheduler_commit(&scheduler);
    close_all();
}

static void no_row_is_streamed_twice(void **state) {
    (void)state;
    open_all(3, 40);
    sequences[1].stream_begin = 10;
    sequences[1].stream_end = 2 * B - 1;
    sequences[1].skips_cache = true;
    add(0, B);
    add(1, 2 * B);
    next();
    assert_entry(1, 1, 0, 8);
    assert_int_equal(batch.n_streamed, 0);
    scheduler_commit(&scheduler);
    next();
    assert_int_equal(batch.n_streamed, 38);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    next();
    assert_int_equal(sequences[1].n_preemptions, 1);
    scheduler_commit(&scheduler);
    finish(0);
    next();
    assert_entry(0, 1, 0, 40);
    assert_int_equal(batch.n_streamed, 0);
    scheduler_commit(&scheduler);
    next();
    assert_int_equal(batch.n_streamed, 2 * B - 1 - 48);
    assert_int_equal(batch.streamed[0], 8);
    scheduler_commit(&scheduler);
    close_all();
}

/* Sequence `index` gets the tokens of another. */
static void share_tokens(int index, int source) { memcpy(tokens[index], tokens[source], sizeof tokens[0]); }

static void what_the_cache_has_is_not_computed_again(void **state) {
    (void)state;
    open_all(64, 400);
    for (int i = 1; i <= 5; i++) share_tokens(i, 0);
    add(0, 4 * B);
    next();
    scheduler_commit(&scheduler);
    assert_int_equal(sequences[0].n_matched, 0);
    sequences[2].salt = 7;
    sequences[3].skips_cache = true;
    sequences[4].stream_begin = 3 * B - 1; /* this row is wanted, so it has to be computed */
    sequences[4].stream_end = 4 * B - 1;
    sequences[5].stream_begin = 3 * B;
    sequences[5].stream_end = 4 * B - 1;
    for (int i = 1; i <= 5; i++) add(i, 4 * B);
    assert_int_equal(next_within(B), 2); /* 1 takes all but the row that is to be sampled */
    assert_int_equal(batch.sequences[0].first_position, 4 * B - 1);
    assert_int_equal(batch.n_rows, B);
    scheduler_commit(&scheduler);
    next();
    scheduler_commit(&scheduler);
    assert_int_equal(scheduler.n_waiting, 0);
    static const uint32_t n_matched[] = {0, 4 * B - 1, 0, 0, 3 * B - 1, 3 * B};
    for (int i = 0; i <= 5; i++) assert_int_equal(sequences[i].n_matched, n_matched[i]);
    close_all();
}

static void its_own_blocks_found_again_are_not_on_the_bill(void **state) {
    (void)state;
    open_all(4, 300);
    add(0, B);
    add(1, 2 * B + 5);
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    assert_int_equal(next(), 1);
    assert_int_equal(sequences[1].n_preemptions, 1);
    scheduler_commit(&scheduler);
    finish(0);
    assert_int_equal(next(), 1);
    assert_entry(0, 1, 2 * B, 5); /* only what was in its open block is computed again */
    assert_int_equal(sequences[1].n_matched, 0);
    scheduler_commit(&scheduler);
    close_all();
}

static void what_is_shared_already_needs_no_room(void **state) {
    (void)state;
    open_all(6, 300);
    share_tokens(1, 0);
    add_expecting(0, 3 * B + 1, 4 * B);
    next();
    scheduler_commit(&scheduler);
    add_expecting(1, 3 * B + 2, 5 * B); /* 3 of its 5 blocks are there */
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_is_refused_is_tried_again_when_what_it_shares_is_computed(void **state) {
    (void)state;
    open_all(6, 3 * B);
    share_tokens(1, 0);
    add(0, 4 * B + 1);
    add(1, 4 * B + 2);
    assert_int_equal(next(), 1);
    scheduler_commit(&scheduler);
    assert_int_equal(next(), 1); /* 0's prompt takes 2 steps */
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    assert_int_equal(next(), 2);
    assert_int_equal(sequences[1].n_matched, 4 * B + 1);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_is_refused_holds_nothing(void **state) {
    (void)state;
    open_all(4, 300);
    share_tokens(1, 0);
    add(0, 2 * B);
    next();
    scheduler_commit(&scheduler);
    finish(0);
    add_expecting(2, B, B + 1);
    next();
    scheduler_commit(&scheduler);
    add_expecting(1, 2 * B + 1, 3 * B); /* its 2 cached blocks are free only until it has them */
    sequences[2].n_tokens++;
    assert_int_equal(next(), 1);
    assert_int_equal(sequences[1].kv.table, 0);
    assert_int_equal(kv_usage(kv).n_idle, 2);
    scheduler_commit(&scheduler);
    finish(2);
    assert_int_equal(next(), 1);
    assert_int_equal(batch.sequences[0].first_position, 2 * B);
    assert_int_equal(sequences[1].n_matched, 2 * B);
    scheduler_commit(&scheduler);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_youngest_of_the_lowest_priority_gives_way),
        cmocka_unit_test(who_gave_way_comes_back_only_when_somebody_has_gone),
        cmocka_unit_test(the_last_in_order_waits_with_what_it_holds),
        cmocka_unit_test(chunks_shrink_before_they_cost_others_anything),
        cmocka_unit_test(who_is_alone_and_has_no_room_fails),
        cmocka_unit_test(who_brings_slots_along_goes_on_from_there),
        cmocka_unit_test(what_waiting_ones_brought_along_goes_before_anybody_runs_short),
        cmocka_unit_test(no_row_is_streamed_twice),
        cmocka_unit_test(what_the_cache_has_is_not_computed_again),
        cmocka_unit_test(its_own_blocks_found_again_are_not_on_the_bill),
        cmocka_unit_test(what_is_shared_already_needs_no_room),
        cmocka_unit_test(who_is_refused_is_tried_again_when_what_it_shares_is_computed),
        cmocka_unit_test(who_is_refused_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
