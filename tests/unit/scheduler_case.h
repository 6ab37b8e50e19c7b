/* The scheduler over a real cache and no model: a test looks at each batch and commits it. */
#ifndef CABINET_TESTS_SCHEDULER_CASE_H
#define CABINET_TESTS_SCHEDULER_CASE_H

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
static inline void open_groups(const uint32_t *windows, int n_groups, uint32_t n_blocks,
                               uint32_t chunk_tokens) {
    layout = (struct kv_layout){0};
    for (int g = 0; g < n_groups; g++) {
        assert_int_equal(kv_layout_group(&layout, windows[g]), g);
        assert_int_equal(kv_layout_add(&layout, (unsigned)g, 1, 4, kv_codecs_both(CODEC_f32)), 0);
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

static inline void open_all(uint32_t n_blocks, uint32_t chunk_tokens) {
    open_groups((const uint32_t[]){0}, 1, n_blocks, chunk_tokens);
}

static inline void close_all(void) {
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

static inline void add(int index, uint32_t n_tokens) {
    sequences[index].n_tokens = n_tokens;
    scheduler_add(&scheduler, &sequences[index]);
}

static inline void add_expecting(int index, uint32_t n_tokens, uint32_t n_expected) {
    sequences[index].n_expected = n_expected;
    add(index, n_tokens);
}

/* Its owner is done with it. */
static inline void finish(int index) {
    scheduler_remove(&scheduler, &sequences[index]);
    kv_release(kv, &sequences[index].kv);
}

/* The number of sequences in the next step. */
static inline uint32_t next_within(uint32_t prefill_budget) {
    struct sequence *failed = &sequences[0];
    uint64_t n_allocations = mem_count();
    assert_int_equal(scheduler_next(&scheduler, &batch, prefill_budget, &failed), 0);
    assert_null(failed);
    assert_int_equal(mem_count(), n_allocations);
    assert_int_equal(scheduler.n_in_step, batch.n_sequences);
    assert_int_equal(scheduler.n_decode_rows + scheduler.n_prefill_rows, batch.n_rows);
    const struct kv_op *ops;
    kv_ops(kv, &ops); /* there are no bytes to copy */
    return batch.n_sequences;
}

static inline uint32_t next(void) { return next_within(UINT32_MAX); }

/* The next call of scheduler_next finds that this one can never go on. */
static inline void assert_next_fails(int index) {
    struct sequence *failed = NULL;
    assert_int_equal(scheduler_next(&scheduler, &batch, UINT32_MAX, &failed), ERR_FULL);
    assert_ptr_equal(failed, &sequences[index]);
    assert_non_null(strstr(err_message(), "KV memory exhausted"));
    assert_int_equal(batch.n_rows, 0);
    assert_int_equal(scheduler.n_in_step, 0);
}

static inline int index_of(const struct sequence *sequence) { return (int)(sequence - sequences); }

/* Entry i of the batch is n_rows of a sequence from `first` on; everything about it is as it must be. */
static inline void assert_entry(uint32_t i, int index, uint32_t first, uint32_t n_rows) {
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
static inline void assert_batch(void) {
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

#endif
