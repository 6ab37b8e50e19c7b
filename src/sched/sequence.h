/* A sequence: one timeline of tokens and the cache's view of it. */
#ifndef CABINET_SCHED_SEQUENCE_H
#define CABINET_SCHED_SEQUENCE_H

#include <stdint.h>

#include "kv/kv_cache.h"

struct sequence {
    int32_t *tokens; /* (n_tokens) known so far: prompt and output */
    uint32_t n_tokens, max_tokens;
    struct kv_seq kv;                  /* kv.n_computed of them have K and V */
    uint32_t n_rows;                   /* in the step under way; 0 outside one */
    uint32_t stream_begin, stream_end; /* positions whose logits are streamed; equal: none */
    int is_scheduled;                  /* handed to a scheduler and not removed */
    void *owner;                       /* whose sequence it is; nothing to sched/ */
};

#endif
