/* Doing what kv_ops say, on the arena's bytes. */
#ifndef CABINET_CODEC_KV_COPY_H
#define CABINET_CODEC_KV_COPY_H

#include "codec/kv_layout.h"
#include "codec/kv_op.h"

/* Makes n_ops copies, in their order, between payloads of `arena` that are of the class OPEN or of a group
 * that does not convert. The rows asked for are the same bits afterwards; slots behind them hold anything, as
 * those of a fresh block do: however a codec lays rows out, the payload is moved as one run, which for rows
 * that are spread over every line of it is also the fastest. */
void kv_copy(const struct kv_layout *layout, uint8_t *arena, const struct kv_op *ops, uint32_t n_ops);

#endif
