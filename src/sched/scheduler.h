/* The scheduler: which tokens run in the next step. Bookkeeping over kv/, without clock, threads or tensors.
 *
 *            add                     admitted
 *     ------------------> WAITING --------------> RUNNING
 *     <------------------   ^                       |  |
 *          remove           +------- preempted -----+  |
 *     <-----------------------------  remove  ---------+
 *
 * Rules, cited by number:
 *  1 order is (priority, arrival), in both states; a preempted sequence keeps its place in it
 *  2 a step takes first the decode rows (running sequences that lack one token), then chunks of running
 *    sequences that lack more, then admits waiting ones, each in order. Chunks and admitted rows are
 *    *prefill* rows and share one budget. They shrink to what memory is left before they cost anybody
 *    anything
 *  3 the first waiting sequence alone is tried: no smaller one overtakes it, so that none starves
 *  4 it is admitted if what it will grow by, with what the running ones will, fits into what is free; or if
 *    nothing runs. Admission preempts nobody
 *  5 a running sequence that gets no slots takes them from the last of the order: first what waiting
 *    sequences brought along, then the last running one is preempted: it gives all back and waits. A
 *    sequence takes only from those after it; if there are none it waits in place, with what it holds
 *  6 so the first running sequence that has tokens left advances in every step, or is reported as failed
 *    when nothing is left to take: every sequence finishes if it fits into memory alone
 *  7 a preempted sequence is computed again from its tokens, prompt and output alike
 *  8 a sequence takes over what has become resident of its prompt, before each of its chunks. While a
 *    running one before it in the order *promises* the block that it needs next, by having the same full
 *    blocks and the same tokens behind them, it gets no rows and follows in the wake: the prompt is computed
 *    once. Promises are looked up, not kept: who leaves, or is preempted, promises nothing any more */
#ifndef CABINET_SCHED_SCHEDULER_H
#define CABINET_SCHED_SCHEDULER_H

#include "sched/batch.h"
#include "sched/sequence_list.h"
#include "sched/sequence_queue.h"

struct scheduler {
    struct kv_cache *kv;            /* borrowed, as is the layout */
    const struct kv_layout *layout; /* of kv */
    uint32_t chunk_tokens;          /* most prefill rows of one step */
    uint32_t max_sequences;         /* running at once */
    uint32_t n_waiting, n_running;
    uint64_t n_preemptions;                 /* since scheduler_open */
    uint32_t n_decode_rows, n_prefill_rows; /* of the latest step */
    /* (n_in_step == batch->n_sequences) whose rows are in the step under way, in batch order */
    struct sequence **in_step;
    uint32_t n_in_step;
    /* its own */
    struct sequence_queue waiting;
    struct sequence_list running; /* in order */
    struct sequence_list holders; /* waiting sequences that hold slots from before scheduler_add */
    uint64_t n_arrivals;
    uint64_t n_chances; /* counts what may let somebody fit who did not: departures, prompts computed */
    const struct sequence *refused; /* who, waiting, did not fit when n_chances was refused_at */
    uint64_t refused_at;
};

/* kv is of `layout`. The batches that the scheduler fills have room for max_sequences + chunk_tokens rows of
 * max_sequences sequences. */
int scheduler_open(struct scheduler *scheduler, struct kv_cache *kv, const struct kv_layout *layout,
                   uint32_t max_sequences, uint32_t chunk_tokens);
void scheduler_close(struct scheduler *scheduler);

/* Queues a sequence with at least one token that is not computed; any number may wait. One that holds slots
 * from before goes on from there, unless others need them first; a fresh one takes what the cache has of it
 * when it is admitted, up to the first row whose logits are wanted. */
void scheduler_add(struct scheduler *scheduler, struct sequence *sequence);
/* Takes a sequence out, in whatever state; its slots stay its own. Not between next and commit. */
void scheduler_remove(struct scheduler *scheduler, struct sequence *sequence);

/* Fills the batch of the next step, with at most min(prefill_budget, chunk_tokens) prefill rows; a budget of
 * 0 counts only while something decodes, else as chunk_tokens. 0 and a batch, empty only if there is nothing
 * to do; or FULL, an empty batch, and *failed the sequence that can never go on as things are (remove it,
 * give its slots back, then call again). Allocates nothing. */
int scheduler_next(struct scheduler *scheduler, struct batch *batch, uint32_t prefill_budget,
                   struct sequence **failed);
/* The step's rows are computed. */
void scheduler_commit(struct scheduler *scheduler);

#endif
