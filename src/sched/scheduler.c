#include "sched/scheduler.h"

#include "base/err.h"
#include "base/mem.h"

int scheduler_open(struct scheduler *scheduler, struct kv_cache *kv, unsigned n_groups,
                   uint32_t max_sequences, uint32_t chunk_tokens) {
    *scheduler = (struct scheduler){
        .kv = kv, .n_groups = n_groups, .chunk_tokens = chunk_tokens, .max_sequences = max_sequences};
    scheduler->sequences = mem_alloc(max_sequences, sizeof(struct sequence *));
    scheduler->in_step = mem_alloc(max_sequences, sizeof(struct sequence *));
    if (scheduler->sequences && scheduler->in_step) return 0;
    scheduler_close(scheduler);
    return ERR_NO_MEMORY;
}

void scheduler_close(struct scheduler *scheduler) {
    mem_free(scheduler->sequences);
    mem_free(scheduler->in_step);
    scheduler->sequences = scheduler->in_step = NULL;
}

int scheduler_add(struct scheduler *scheduler, struct sequence *sequence) {
    ASSERT(!sequence->is_scheduled && sequence->n_tokens > sequence->kv.n_computed);
    if (scheduler->n_sequences == scheduler->max_sequences)
        return ERR(FULL, "%u sequences are running, no more fit", scheduler->n_sequences);
    scheduler->sequences[scheduler->n_sequences++] = sequence;
    sequence->is_scheduled = 1;
    return 0;
}

void scheduler_remove(struct scheduler *scheduler, struct sequence *sequence) {
    ASSERT(scheduler->n_in_step == 0);
    uint32_t i = 0;
    while (i < scheduler->n_sequences && scheduler->sequences[i] != sequence) i++;
    if (i == scheduler->n_sequences) return;
    for (scheduler->n_sequences--; i < scheduler->n_sequences; i++)
        scheduler->sequences[i] = scheduler->sequences[i + 1];
    sequence->is_scheduled = 0;
}

static uint32_t tokens_left(const struct sequence *sequence) {
    return sequence->n_tokens - sequence->kv.n_computed;
}

/* Puts n_rows of a sequence into the batch if the cache has slots for them. */
static int schedule(struct scheduler *scheduler, struct batch *batch, struct sequence *sequence,
                    uint32_t n_rows) {
    TRY(kv_reserve(scheduler->kv, &sequence->kv, n_rows));
    uint32_t first = sequence->kv.n_computed;
    struct batch_sequence *entry =
        batch_append(batch, sequence->tokens + first, n_rows, first, first + n_rows == sequence->n_tokens);
    batch_stream(batch, sequence->stream_begin, sequence->stream_end);
    for (unsigned g = 0; g < scheduler->n_groups; g++) {
        uint32_t n_blocks;
        entry->payloads[g] = kv_payloads(scheduler->kv, &sequence->kv, g, &n_blocks);
    }
    sequence->n_rows = n_rows;
    scheduler->in_step[scheduler->n_in_step++] = sequence;
    return 0;
}

int scheduler_next(struct scheduler *scheduler, struct batch *batch, struct sequence **failed) {
    ASSERT(scheduler->n_in_step == 0);
    batch_clear(batch);
    *failed = NULL;
    int failure = 0;
    uint32_t budget = scheduler->chunk_tokens, youngest = 0;
    for (int prefill = 0; prefill <= 1; prefill++) {
        for (uint32_t i = 0; i < scheduler->n_sequences; i++) {
            struct sequence *sequence = scheduler->sequences[i];
            uint32_t n_rows = tokens_left(sequence);
            if ((n_rows > 1) != prefill) continue;
            if (prefill && n_rows > budget) n_rows = budget;
            if (n_rows == 0) continue;
            int result = schedule(scheduler, batch, sequence, n_rows);
            if (result >= 0) {
                if (prefill) budget -= n_rows;
            } else if (failure == 0 || i >= youngest) {
                failure = result;
                youngest = i;
            }
        }
    }
    if (batch->n_rows > 0 || failure == 0) return 0;
    *failed = scheduler->sequences[youngest];
    return failure;
}

void scheduler_commit(struct scheduler *scheduler) {
    for (uint32_t i = 0; i < scheduler->n_in_step; i++) {
        struct sequence *sequence = scheduler->in_step[i];
        kv_commit(scheduler->kv, &sequence->kv, sequence->tokens, sequence->n_rows);
        sequence->n_rows = 0;
    }
    scheduler->n_in_step = 0;
}
