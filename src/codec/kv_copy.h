/* Doing what kv_ops say, on the arena's bytes.
 *
 * A copy moves the payload as one run, between payloads of the class OPEN or of a group that does not
 * convert: the rows asked for are the same bits afterwards; slots behind them hold anything, as those of a
 * fresh block do. However a codec lays rows out, that is also the fastest for rows that are spread over every
 * line of it. */
#ifndef CABINET_CODEC_KV_COPY_H
#define CABINET_CODEC_KV_COPY_H

#include "codec/kv_layout.h"
#include "codec/kv_op.h"

/* Parts of an op that can be done side by side. An op begins when the one before it in the list is done: it
 * may write to what that one reads. */
size_t kv_op_n_items(const struct kv_layout *layout, const struct kv_op *op);
void kv_op_do(const struct kv_layout *layout, uint8_t *arena, const struct kv_op *op, size_t item);
/* All of n_ops, in their order. */
void kv_copy(const struct kv_layout *layout, uint8_t *arena, const struct kv_op *ops, uint32_t n_ops);

#endif
