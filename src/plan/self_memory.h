/* Bytes that Cabinet's pool holds for conversations, to the byte: whole blocks in the form that each has. */
#ifndef CABINET_PLAN_SELF_MEMORY_H
#define CABINET_PLAN_SELF_MEMORY_H

#include "codec/kv_layout.h"

/* Payloads of each group, by enum kv_class; a group that does not convert has them all as KV_OPEN. */
struct self_payloads {
    uint64_t n[KV_MAX_GROUPS][KV_CLASS_COUNT];
};

/* Adds those of n_sequences between two steps, each with n_tokens in the cache, of which the first n_shared,
 * counted in whole blocks, are the same blocks for all. */
void self_payloads_add(struct self_payloads *payloads, const struct kv_layout *layout, uint64_t n_sequences,
                       uint64_t n_tokens, uint64_t n_shared);
uint64_t self_payload_bytes(const struct self_payloads *payloads, const struct kv_layout *layout);
/* Bytes of the slabs that hold them, of slab_bytes each, when nothing else is in the pool. */
uint64_t self_slab_bytes(const struct self_payloads *payloads, const struct kv_layout *layout,
                         uint64_t slab_bytes);

#endif
