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
#include "base/rng.h"
#include "sched/scheduler.h"

enum { B = BLOCK_TOKENS, BLOCK_BYTES = 1024, MAX_SEQUENCES = 8, MAX_TOKENS = 16 * B };

/* What the tests share: a cache of n_blocks, a scheduler, and sequences whose tokens are numbered. */
static struct kv_cache *kv;
static struct scheduler scheduler;
static struct batch batch;
static struct sequence sequences[MAX_SEQUENCES + 1];
static int32_t tokens[MAX_SEQUENCES + 1][MAX_TOKENS];

static void open_all(uint32_t n_blocks, uint32_t chunk_tokens) {
    struct kv_layout layout = {.n_groups = 1};
    assert_int_equal(kv_layout_add(&layout, 0, 1, 4, CODEC_f32), 0);
    struct kv_opts opts = {
        .memory_bytes = n_blocks * BLOCK_BYTES, .max_sequences = MAX_SEQUENCES + 1, .max_tokens = MAX_TOKENS};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    assert_int_equal(scheduler_open(&scheduler, kv, 1, MAX_SEQUENCES, chunk_tokens), 0);
    assert_int_equal(batch_open(&batch, MAX_SEQUENCES + chunk_tokens, MAX_SEQUENCES), 0);
    for (int i = 0; i <= MAX_SEQUENCES; i++) {
        for (int t = 0; t < MAX_TOKENS; t++) tokens[i][t] = i * MAX_TOKENS + t;
        sequences[i] = (struct sequence){.tokens = tokens[i], .max_tokens = MAX_TOKENS};
    }
}

static void close_all(void) {
    for (int i = 0; i <= MAX_SEQUENCES; i++) kv_release(kv, &sequences[i].kv);
    assert_true(kv_check(kv));
    batch_close(&batch);
    scheduler_close(&scheduler);
    kv_close(kv);
}

static void add(int index, uint32_t n_tokens) {
    sequences[index].n_tokens = n_tokens;
    assert_int_equal(scheduler_add(&scheduler, &sequences[index]), 0);
}

static uint32_t next(void) {
    struct sequence *failed = &sequences[0];
    assert_int_equal(scheduler_next(&scheduler, &batch, &failed), 0);
    assert_null(failed);
    return batch.n_sequences;
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
    add(0, 50); /* first to arrive, still in its prompt */
    add(1, 1);  /* a prompt of one token is a decode row */
    assert_int_equal(next(), 2);
    assert_entry(0, 1, 0, 1);
    assert_entry(1, 0, 0, 8);
    scheduler_commit(&scheduler);
    sequences[1].n_tokens++;
    add(2, 20);
    assert_int_equal(next(), 2);
    assert_entry(0, 1, 1, 1);
    assert_entry(1, 0, 8, 8);
    assert_batch();
    scheduler_commit(&scheduler);
    sequences[0].n_tokens = 17; /* one left of it */
    sequences[1].n_tokens++;
    assert_int_equal(next(), 3);
    assert_entry(0, 0, 16, 1);
    assert_entry(1, 1, 2, 1);
    assert_entry(2, 2, 0, 8);
    assert_int_equal(batch.n_wanted, 2);
    scheduler_commit(&scheduler);
    close_all();
}

static void sequences_are_added_and_removed(void **state) {
    (void)state;
    open_all(64, 100);
    for (int i = 0; i < MAX_SEQUENCES; i++) add(i, 3);
    sequences[MAX_SEQUENCES].n_tokens = 3;
    assert_int_equal(scheduler_add(&scheduler, &sequences[MAX_SEQUENCES]), ERR_FULL);
    assert_false(sequences[MAX_SEQUENCES].is_scheduled);
    assert_non_null(strstr(err_message(), "8 sequences"));
    scheduler_remove(&scheduler, &sequences[3]);
    scheduler_remove(&scheduler, &sequences[3]); /* it is not there any more: nothing happens */
    assert_false(sequences[3].is_scheduled);
    add(MAX_SEQUENCES, 4);
    assert_int_equal(next(), MAX_SEQUENCES);
    static const int order[] = {0, 1, 2, 4, 5, 6, 7, 8};
    for (uint32_t i = 0; i < MAX_SEQUENCES; i++) assert_entry(i, order[i], 0, i == 7 ? 4 : 3);
    scheduler_commit(&scheduler);
    close_all();
}

static void who_gets_no_slots_waits_until_others_give_some_back(void **state) {
    (void)state;
    open_all(4, 200);
    add(0, 3 * B);
    add(1, 2 * B);
    add(2, B);
    assert_int_equal(next(), 2); /* the last one still fits */
    assert_entry(0, 0, 0, 3 * B);
    assert_entry(1, 2, 0, B);
    scheduler_commit(&scheduler);
    sequences[0].n_tokens++;
    struct sequence *failed;
    assert_int_equal(scheduler_next(&scheduler, &batch, &failed), ERR_FULL); /* nobody can go on */
    assert_ptr_equal(failed, &sequences[1]); /* the youngest that was refused */
    assert_int_equal(batch.n_rows, 0);
    assert_int_equal(scheduler.n_in_step, 0);
    scheduler_remove(&scheduler, &sequences[2]);
    kv_release(kv, &sequences[2].kv);
    assert_int_equal(next(), 1); /* the older one's decode row comes first */
    assert_entry(0, 0, 3 * B, 1);
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[0]);
    kv_release(kv, &sequences[0].kv);
    assert_int_equal(next(), 1);
    assert_entry(0, 1, 0, 2 * B);
    scheduler_commit(&scheduler);
    close_all();
}

static void the_youngest_refused_fails_whatever_its_phase(void **state) {
    (void)state;
    open_all(2, 200);
    add(0, 5 * B); /* a prompt that does not fit, older than the two that decode */
    add(1, B);
    add(2, B);
    struct sequence *failed;
    assert_int_equal(next(), 2);
    scheduler_commit(&scheduler);
    sequences[1].n_tokens++;
    sequences[2].n_tokens++;
    assert_int_equal(scheduler_next(&scheduler, &batch, &failed), ERR_FULL);
    assert_ptr_equal(failed, &sequences[2]);
    scheduler_remove(&scheduler, failed);
    kv_release(kv, &failed->kv);
    assert_int_equal(next(), 1);
    assert_entry(0, 1, B, 1);
    scheduler_commit(&scheduler);
    scheduler_remove(&scheduler, &sequences[1]);
    kv_release(kv, &sequences[1].kv);
    assert_int_equal(scheduler_next(&scheduler, &batch, &failed), ERR_FULL);
    assert_ptr_equal(failed, &sequences[0]);
    scheduler_remove(&scheduler, failed);
    assert_int_equal(next(), 0);
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

/* A random load: prompts and answers of random length arrive at random steps. Each sequence must end, by
 * reaching its length or by failing when nothing else could run; while some run, each step computes
 * something. */
static void run_load(uint64_t stream) {
    uint64_t drawn = 0;
#define BELOW(n) ((uint32_t)(rng_u64(stream, drawn++) % (n)))
    uint32_t n_blocks = 3 + BELOW(20), chunk_tokens = 1 + BELOW(80), n_done = 0, n_arrived = 0, n_failed = 0;
    uint32_t lengths[MAX_SEQUENCES + 1];
    open_all(n_blocks, chunk_tokens);
    uint64_t n_allocations = mem_count();
    for (uint32_t step = 0; n_done <= MAX_SEQUENCES; step++) {
        assert_true(step < 10000);
        while (n_arrived <= MAX_SEQUENCES && scheduler.n_sequences < MAX_SEQUENCES && BELOW(3) == 0) {
            lengths[n_arrived] = 2 + BELOW(MAX_TOKENS - 1);
            add((int)n_arrived, 1 + BELOW(lengths[n_arrived] - 1));
            n_arrived++;
        }
        struct sequence *failed;
        while (scheduler_next(&scheduler, &batch, &failed) < 0) {
            assert_int_equal(batch.n_rows, 0);
            scheduler_remove(&scheduler, failed);
            kv_release(kv, &failed->kv);
            n_failed++;
            n_done++;
        }
        assert_batch();
        assert_true(scheduler.n_sequences == 0 || batch.n_rows > 0);
        scheduler_commit(&scheduler);
        assert_true(kv_check(kv));
        for (uint32_t i = 0; i < n_arrived; i++) {
            struct sequence *sequence = &sequences[i];
            if (!sequence->is_scheduled || sequence->kv.n_computed < sequence->n_tokens) continue;
            if (++sequence->n_tokens <= lengths[i]) continue;
            scheduler_remove(&scheduler, sequence);
            kv_release(kv, &sequence->kv);
            n_done++;
        }
    }
    if (n_blocks >= (MAX_SEQUENCES + 1) * MAX_TOKENS / B) assert_int_equal(n_failed, 0);
    assert_int_equal(mem_count(), n_allocations);
    assert_int_equal(kv_usage(kv).held_bytes, 0);
    close_all();
#undef BELOW
}

static void every_load_comes_to_its_end(void **state) {
    (void)state;
    for (uint64_t stream = 0; stream < 300; stream++) run_load(stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_come_in_chunks_in_order_of_arrival),
        cmocka_unit_test(decoding_comes_first_and_takes_nothing_from_the_budget),
        cmocka_unit_test(sequences_are_added_and_removed),
        cmocka_unit_test(who_gets_no_slots_waits_until_others_give_some_back),
        cmocka_unit_test(the_youngest_refused_fails_whatever_its_phase),
        cmocka_unit_test(rows_are_streamed_where_a_sequence_asks),
        cmocka_unit_test(every_load_comes_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
