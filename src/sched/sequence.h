/* A sequence: one timeline of tokens and the cache's view of it. */
#ifndef CABINET_SCHED_SEQUENCE_H
#define CABINET_SCHED_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/kv_cache.h"

enum sequence_state {
    SEQUENCE_UNSCHEDULED, /* in no scheduler's hands */
    SEQUENCE_WAITING,     /* to be admitted, for the first time or again after a preemption */
    SEQUENCE_RUNNING,
};

/* Its place in a doubly linked list (sequence_list.h). */
struct sequence_link {
    struct sequence *previous, *next;
};
/* Its place in a queue (sequence_queue.h). `previous` is the sibling before it, or for a first child the
 * parent. */
struct sequence_node {
    struct sequence *child, *sibling, *previous;
};

/* Zero-initialised it is fresh. The caller sets what stands under "asked" before scheduler_add and leaves it
 * until scheduler_remove, but for `tokens` (which may move) and n_tokens, which grow between steps. */
struct sequence {
    /* asked */
    int32_t *tokens; /* (n_tokens) known so far: prompt and output */
    uint32_t n_tokens, max_tokens;
    uint32_t n_expected; /* tokens that it is expected to have in the end, at most max_tokens; fewer than
                            n_tokens: no more than it has */
    int32_t priority;    /* lower ones go first; equal ones in order of arrival */
    uint64_t salt;       /* only sequences of equal salt share blocks */
    bool skips_cache;    /* computes all its tokens itself */
    uint32_t stream_begin, stream_end; /* positions whose logits are streamed; equal: none. The scheduler
                                          moves `begin` on as they are, so that none is streamed twice */
    void *owner;                       /* whose sequence it is; nothing to sched/ */
    /* became of it; the counts are of the time since scheduler_add, and stay after scheduler_remove */
    struct kv_seq kv;       /* kv.n_computed of its tokens have K and V */
    uint32_t n_rows;        /* in the step under way; 0 outside one */
    uint32_t n_matched;     /* tokens whose K and V it took over instead of computing them, until preempted */
    uint32_t n_preemptions; /* how often it was sent back to wait, and lost its slots */
    /* the scheduler's own */
    enum sequence_state state;
    bool was_admitted, is_holder;
    uint64_t arrival; /* ascends with each scheduler_add */
    struct sequence_link link;
    struct sequence_node node;
};

/* A fresh one with room for max_tokens tokens. Any thread may make and free it; when it is freed it is in no
 * scheduler's hands and holds no slots. */
int sequence_new(struct sequence **sequence, uint32_t max_tokens);
void sequence_free(struct sequence *sequence);

static inline bool sequence_is_scheduled(const struct sequence *sequence) {
    return sequence->state != SEQUENCE_UNSCHEDULED;
}
/* Tokens that still have to be computed before the next one can be picked. */
static inline uint32_t sequence_tokens_left(const struct sequence *sequence) {
    return sequence->n_tokens - sequence->kv.n_computed;
}
/* Whether a goes before b; never so of two that are equal, as no two arrivals are. */
static inline bool sequence_precedes(const struct sequence *a, const struct sequence *b) {
    return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
}

#endif
