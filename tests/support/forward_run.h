/* A model, a cache and a workspace, driven step by step without scheduler or sampler: tests decide themselves
 * which rows form a batch, and get the logits of every row. */
#ifndef CABINET_TESTS_FORWARD_RUN_H
#define CABINET_TESTS_FORWARD_RUN_H

#include "kv/kv_cache.h"
#include "model/transformer.h"

struct forward_opts {
    const char *path;
    const struct kernel_set *kernels;
    unsigned n_threads;
    struct kv_rules kv;
    uint32_t max_rows, max_sequences, max_tokens;
};

struct forward_run {
    struct team *team;
    struct model model;
    struct kv_layout layout;
    struct kv_cache *kv;
    uint8_t *arena;
    struct workspace workspace;
    struct batch batch;
};

/* What one sequence contributes to a step: the next n_rows of `tokens` after what it has computed. */
struct forward_part {
    struct kv_seq *seq;
    const int32_t *tokens; /* the whole timeline */
    uint32_t n_rows;
    float *logits; /* (n_rows, n_vocab) are written here; NULL: not wanted */
};

int forward_open(struct forward_run *run, const struct forward_opts *opts);
void forward_close(struct forward_run *run);
int forward_step(struct forward_run *run, const struct forward_part *parts, size_t n_parts);
/* One sequence alone from the start, in chunks of at most `chunk`; logits (n_tokens, n_vocab). */
int forward_all(struct forward_run *run, const int32_t *tokens, uint32_t n_tokens, uint32_t chunk,
                float *logits);
/* The same, but only the last n_last rows are wanted: logits (n_last, n_vocab). */
int forward_last(struct forward_run *run, const int32_t *tokens, uint32_t n_tokens, uint32_t chunk,
                 uint32_t n_last, float *logits);

#endif
