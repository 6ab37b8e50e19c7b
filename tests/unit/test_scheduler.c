/* The scheduler over a real cache and no model: the test looks at each batch and commits it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "sched/scheduler.h"

enum { B = BLOCK_TOKENS, BLOCK_BYTES = 1024, MAX_RUNNING = 8, N_SEQUENCES = 12, MAX_TOKENS = 16 * B };

/* What the tests share: a cache of n_blocks, a scheduler, and sequences whose tokens are numbered. */
static struct kv_cache *kv;
static struct kv_layout layout;
static struct scheduler scheduler;
static struct batch batch;
static struct sequence sequences[N_SEQUENCES];
static int32_t tokens[N_SEQUENCES][MAX_TOKENS];

/* Blocks of one size in groups of the given windows (0: full attention). */
static void open_groups(const uint32_t *windows, int n_groups, uint32_t n_blocks, uint32_t chunk_tokens) {
    layout = (struct kv_layout){0};
    for (int g = 0; g < n_groups; g++) {
        assert_int_equal(kv_layout_group(&layout, windows[g]), g);
        assert_int_equal(kv_layout_add(&layout, (unsigned)g, 1, 4, CODEC_f32), 0);
    }
    struct kv_opts opts = {
        .memory_bytes = n_blocks * BLOCK_BYTES, .max_sequences = N_SEQUENCES, .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    assert_int_equal(scheduler_open(&scheduler, kv, &layout, MAX_RUNNING, chunk_tokens), 0);
    assert_int_equal(batch_open(&batch, MAX_RUNNING + chunk_tokens, MAX_RUNNING), 0);
    for (int i = 0; i < N_SEQUENCES; i++) {
        for (int t = 0; t < MAX_TOKENS; t++) tokens[i][t] = i * MAX_TOKENS + t;
        sequences[i] = (struct sequence){.tokens = tokens[i], .max_tokens = MAX_TOKENS};
    }
}

static void open_all(uint32_t n_blocks, uint32_t chunk_tokens) {
    open_groups((const uint32_t[]){0}, 1, n_blocks, chunk_tokens);
}

static void close_all(void) {
    for (int i = 0; i < N_SEQUENCES; i++) {
        scheduler_remove(&scheduler, &sequences[i]);
        kv_release(kv, &sequences[i].kv);
    }
    assert_int_equal(scheduler.n_running + scheduler.n_waiting, 0);
    assert_true(kv_check(kv));
    batch_close(&batch);
    scheduler_close(&scheduler);
    kv_close(kv);
}

static void add(int index, uint32_t n_tokens) {
    sequences[index].n_tokens = n_tokens;
    scheduler_add(&scheduler, &sequences[index]);
}

static void add_expecting(int index, uint32_t n_tokens, uint32_t n_expected) {
    sequences[index].n_expected = n_expected;
    add(index, n_tokens);
}

/* Its owner is done with it. */
static void finish(int index) {
    scheduler_remove(&scheduler, &sequences[index]);
    kv_release(kv, &sequences[index].kv);
}

/* The number of sequences in the next step. */
static uint32_t next_within(uint32_t prefill_budget) {
    struct sequence *failed = &sequences[0];
    uint64_t n_allocations = mem_count();
    assert_int_equal(scheduler_next(&scheduler, &batch, prefill_budget, &failed), 0);
    assert_null(failed);
    assert_int_equal(mem_count(), n_allocations);
    assert_int_equal(scheduler.n_in_step, batch.n_sequences);
    assert_int_equal(scheduler.n_decode_rows + scheduler.n_prefill_rows, batch.n_rows);
    return batch.n_sequences;
}

static uint32_t next(void) { return next_within(UINT32_MAX); }

/* The next call of scheduler_next finds that this one can never go on. */
static void assert_next_fails(int index) {
    struct sequence *failed = NULL;
    assert_int_equal(scheduler_next(&scheduler, &batch, UINT32_MAX, &failed), ERR_FULL);
    assert_ptr_equal(failed, &sequences[index]);
    assert_non_null(strstr(err_message(), "KV memory exhausted"));
    assert_int_equal(batch.n_rows, 0);
    assert_int_equal(scheduler.n_in_step, 0);
}

static int index_of(const struct sequence *sequence) { return (int)(sequence - sequences); }

/* Entry i of the batch is n_rows of a sequence from `first` on; everything about it is as it must be. */
static void assert_entry(uint32_t i, int index, uint32_t first, uint32_t n_rows) {
    assert_true(i < batch.n_sequences);
    const struct batch_sequence *entry = &batch.sequences[i];
    const struct sequence *sequence = scheduler.in_step[i];
    assert_int_equal(index_of(sequence), index);
    assert_int_equal(entry->first_position, first);
    assert_int_equal(entry->n_rows, n_rows);
    assert_int_equal(sequence->n_rows, n_rows);
    assert_int_equal(entry->first_row,
                     i == 0 ? 0 : batch.sequences[i - 1].first_row + batch.sequences[i - 1].n_rows);
    for (uint32_t row = 0; row < n_rows; row++) {
        assert_int_equal(batch.positions[entry->first_row + row], first + row);
        assert_int_equal(batch.tokens[entry->first_row + row], index * MAX_TOKENS + first + row);
    }
    uint32_t n_blocks;
    assert_ptr_equal(entry->payloads[0], kv_payloads(kv, &sequence->kv, 0, &n_blocks));
    assert_true(n_blocks * B >= first + n_rows);
    bool is_wanted = false;
    for (uint32_t w = 0; w < batch.n_wanted; w++)
        is_wanted |= batch.wanted[w] == entry->first_row + n_rows - 1;
    assert_int_equal(is_wanted, first + n_rows == sequence->n_tokens);
}

/* Wanted rows ascend, and are the last rows of complete sequences, no others. */
static void assert_batch(void) {
    uint32_t n_rows = 0, n_complete = 0;
    for (uint32_t i = 0; i < batch.n_sequences; i++) {
        const struct batch_sequence *entry = &batch.sequences[i];
        assert_entry(i, index_of(scheduler.in_step[i]), scheduler.in_step[i]->kv.n_computed, entry->n_rows);
        n_rows += entry->n_rows;
        n_complete += entry->first_position + entry->n_rows == scheduler.in_step[i]->n_tokens;
    }
    assert_int_equal(batch.n_rows, n_rows);
    assert_int_equal(batch.n_wanted, n_complete);
    for (uint32_t w = 1; w < batch.n_wanted; w++) assert_true(batch.wanted[w] > batch.wanted[w - 1]);
}

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
        cmocka_unit_test(the_youngest_of_the_lowest_priority_gives_way),
        cmocka_unit_test(who_gave_way_comes_back_only_when_somebody_has_gone),
        cmocka_unit_test(the_last_in_order_waits_with_what_it_holds),
        cmocka_unit_test(chunks_shrink_before_they_cost_others_anything),
        cmocka_unit_test(who_is_alone_and_has_no_room_fails),
        cmocka_unit_test(who_brings_slots_along_goes_on_from_there),
        cmocka_unit_test(what_waiting_ones_brought_along_goes_before_anybody_runs_short),
        cmocka_unit_test(rows_are_streamed_where_a_sequence_asks),
        cmocka_unit_test(no_row_is_streamed_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
