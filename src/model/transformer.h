/* The forward pass of a decoder-only transformer over one batch. */
#ifndef CABINET_MODEL_TRANSFORMER_H
#define CABINET_MODEL_TRANSFORMER_H

#include "codec/kv_layout.h"
#include "kernel/kernel_set.h"
#include "model/model.h"
#include "model/rope.h"
#include "model/step_profile.h"
#include "sched/batch.h"

/* Who takes the logits of streamed rows: called on the thread of the step, for batch->streamed[first] and the
 * n_rows - 1 after it, with logits (n_rows, n_vocab) that are overwritten afterwards. */
struct logits_sink {
    void (*deliver)(void *user, uint32_t first, uint32_t n_rows, const float *logits);
    void *user;
};

/* Rows of one sequence that go into one block, one after the other. */
struct kv_run {
    uint32_t sequence; /* of the batch */
    uint32_t first_row, n_rows;
};

/* A block that a step fills, in a group whose full blocks have another form (kv_layout.h). */
struct filled_block {
    uint32_t sequence; /* of the batch */
    uint32_t block;    /* of the sequence */
};

/* Bytes of K and V that a step's rows see, whole slots: each read once for every sequence, or as the step did
 * read them, once for all sequences that see the same tiles. */
struct kv_reads {
    uint64_t alone_bytes, bytes;
};

/* The intermediate numbers of a step: allocated once, for batches up to the bounds given. */
struct workspace {
    uint32_t max_rows, max_wanted;
    float *x;         /* (rows, n_embd) the residual stream */
    float *normed;    /* (rows, n_embd) */
    float *q, *k, *v; /* (rows, heads * head_dim) */
    float *attended;  /* (rows, n_heads * head_dim) */
    float *projected; /* (rows, n_embd) what a layer half adds to x */
    float *gate, *up; /* (rows, n_ff) */
    struct rope ropes[DESCRIPTION_MAX_ROPES];
    float *rope_tables[DESCRIPTION_MAX_ROPES];   /* (rows, n_dims) cosines and sines of each row's position */
    float *logits;                               /* (max_wanted, n_vocab) the result */
    struct activations of_embd, of_heads, of_ff; /* forms of normed, attended, gate */
    struct attention_sequence *sequences;
    struct attention_peer *peers[KV_MAX_GROUPS]; /* (sequences) of the step, by group */
    struct kv_reads reads;                       /* of the latest step */
    struct kv_run *runs;                         /* (max_rows) at most */
    struct filled_block *filled;                 /* (max_filled) */
    uint8_t *filled_rows; /* (max_filled, a layer's OPEN form) of the layer under way */
    void *attention_scratch;
    void *storage;
    size_t storage_bytes;
    struct logits_sink sink;      /* set by whoever has rows streamed */
    struct step_profile *profile; /* set by whoever wants one; NULL: none */
};

/* Bounds of the batches to come; max_tokens of one sequence also chooses among a file's RoPE factors.
 * NO_MEMORY. */
int workspace_open(struct workspace *workspace, const struct model *model, const struct kv_layout *layout,
                   uint32_t max_rows, uint32_t max_sequences, uint32_t max_wanted, uint32_t max_tokens,
                   unsigned n_threads);
void workspace_close(struct workspace *workspace);

/* Computes the batch: writes K and V of its rows into the payloads in `arena` and the logits of its wanted
 * rows into workspace->logits, in the order of batch->wanted. Before that, the logits of streamed rows go to
 * workspace->sink in order, in slices of at most max_wanted rows. Tokens are below n_vocab; the batch is
 * within the bounds. */
void transformer_forward(const struct model *model, const struct kv_layout *layout, uint8_t *arena,
                         struct workspace *workspace, struct team *team, const struct batch *batch);

#endif
