/* A step's K and V on their way into the cache's payloads, one layer at a time.
 *
 * In groups of row codecs a row goes straight to its slot. In a group that converts (kv_layout.h) rows of a
 * block that this step does not fill go to its OPEN payload; a block that it fills is put together in the
 * workspace, what is there of it (batch_sequence.staged) and the new rows, in OPEN form, from which it is
 * then encoded into its payload. So what a block becomes does not depend on how its rows were divided into
 * steps, and attention finds the OPEN form for the rows of this step (kernel/attention.h). */
#ifndef CABINET_MODEL_KV_WRITE_H
#define CABINET_MODEL_KV_WRITE_H

#include "codec/kv_layout.h"
#include "kernel/kernel_set.h"
#include "model/transformer.h"

struct kv_write {
    const struct kernel_set *kernels;
    const struct batch *batch;
    struct workspace *w;
    uint8_t *arena;
    uint32_t n_filled; /* of w->filled: blocks that the step fills, if any group converts */
    uint32_t n_runs;   /* of w->runs: the rows of the batch */
    /* of the layer under way */
    const struct kv_layer *layer;
    bool converts;
};

/* Lists the runs of the batch, and the blocks that it fills. */
void kv_write_begin(struct kv_write *write, const struct kv_layout *layout);
/* The next layer: fetches the rows that its filled blocks have from before. */
void kv_write_layer(struct kv_write *write, const struct kv_layout *layout, uint32_t layer);
/* Asks for the memory that a run of few rows will be stored to, which has a line for each dimension of K:
 * what is done to the rows before that hides the time. */
void kv_write_expect(const struct kv_write *write, const struct kv_run *run);
/* Stores k and v of a run, (n_rows, n_kv_heads, head_dim). Runs may be stored side by side. */
void kv_write_run(const struct kv_write *write, const struct kv_run *run, const float *k, const float *v);
/* When all rows are stored: encodes item `item` of kv_write_n_items. Side by side. */
size_t kv_write_n_items(const struct kv_write *write);
void kv_write_encode(const struct kv_write *write, size_t item);
/* Where the OPEN forms of the blocks begin that sequence `sequence` of the batch fills. */
const uint8_t *kv_write_filled(const struct kv_write *write, uint32_t sequence);

#endif
