/* The scheduler: which tokens run in the next step. Bookkeeping over kv/, without clock, threads or tensors.
 *
 * A step takes first one row of every sequence that decodes (all of its tokens but one are computed), then
 * chunks of prompts in order of arrival, within a budget of rows. A sequence that gets no slots waits for
 * others to give some back; if that leaves a step empty, the youngest that was refused fails. */
#ifndef CABINET_SCHED_SCHEDULER_H
#define CABINET_SCHED_SCHEDULER_H

#include "sched/batch.h"
#include "sched/sequence.h"

struct scheduler {
    struct kv_cache *kv;   /* borrowed */
    unsigned n_groups;     /* of kv's layout */
    uint32_t chunk_tokens; /* most prompt tokens of one step */
    uint32_t n_sequences, max_sequences;
    struct sequence **sequences; /* in order of arrival */
    struct sequence **in_step; /* (batch->n_sequences) whose rows are in the step under way, in batch order */
    uint32_t n_in_step;
};

/* The batches that it fills have room for max_sequences + chunk_tokens rows. */
int scheduler_open(struct scheduler *scheduler, struct kv_cache *kv, unsigned n_groups,
                   uint32_t max_sequences, uint32_t chunk_tokens);
void scheduler_close(struct scheduler *scheduler);

/* Adds a sequence with at least one token that is not computed. FULL when max_sequences are there already. */
int scheduler_add(struct scheduler *scheduler, struct sequence *sequence);
/* Takes a sequence out; its slots stay its own. Not between next and commit. */
void scheduler_remove(struct scheduler *scheduler, struct sequence *sequence);

/* Fills the batch of the next step. 0 and a batch, perhaps empty if there is nothing to do; or FULL with
 * *failed the sequence that can never go on as things are (remove it, then call again). */
int scheduler_next(struct scheduler *scheduler, struct batch *batch, struct sequence **failed);
/* The step's rows are computed. */
void scheduler_commit(struct scheduler *scheduler);

#endif
