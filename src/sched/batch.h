/* A batch: everything that one step of the model needs to know, as flat arrays.
 *
 * Rows are tokens to compute. Each sequence of the step contributes consecutive rows for consecutive
 * positions: one row when it decodes, a chunk when it is prefilled; any mix is one batch. Slots follow from a
 * row's position: block position / BLOCK_TOKENS of its sequence's payloads, slot position % BLOCK_TOKENS. */
#ifndef CABINET_SCHED_BATCH_H
#define CABINET_SCHED_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "codec/kv_layout.h"

struct batch_sequence {
    uint32_t first_row, n_rows;
    uint32_t first_position; /* of first_row */
    const uint64_t
        *payloads[KV_MAX_GROUPS];   /* its blocks' (kv_codecs.h), by group; borrowed until kv_commit */
    uint64_t staged[KV_MAX_GROUPS]; /* where its rows already are of a block that goes over into another
                                       payload in this step (kv_staged_payload), or PAYLOAD_NONE */
    uint32_t first_filled;          /* the model's own, during the step */
};

struct batch {
    uint32_t n_rows, n_sequences, n_wanted, n_streamed;
    int32_t *tokens;     /* (n_rows) */
    uint32_t *positions; /* (n_rows) */
    uint32_t *wanted;    /* (n_wanted) rows whose logits are kept until the step ends, to sample; ascending */
    uint32_t *streamed;  /* (n_streamed) rows whose logits are handed out during the step; ascending, none of
                            them wanted */
    struct batch_sequence *sequences;
    uint32_t max_rows, max_sequences;
};

/* Room for max_rows rows of max_sequences sequences; every row may be wanted or streamed. */
int batch_open(struct batch *batch, uint32_t max_rows, uint32_t max_sequences);
void batch_close(struct batch *batch);
void batch_clear(struct batch *batch);

/* Appends n_rows tokens of a sequence from first_position on; the caller fills the returned entry's payloads
 * and staged. With want_last the last of these rows' logits are asked for. */
struct batch_sequence *batch_append(struct batch *batch, const int32_t *tokens, uint32_t n_rows,
                                    uint32_t first_position, int want_last);
/* Streams the rows of the sequence appended last whose positions are in [begin, end). */
void batch_stream(struct batch *batch, uint32_t begin, uint32_t end);

#endif
