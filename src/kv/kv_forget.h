/* Forgetting one prefix and no more than it. */
#ifndef CABINET_KV_KV_FORGET_H
#define CABINET_KV_KV_FORGET_H

#include "kv/kv_cache.h"

/* Forgets the whole blocks of `tokens`, (n), and what begins with them, of that salt: as kv_drop does, and
 * then, from its end upwards, of the prefix itself what nothing else goes on from. What a sequence or a lease
 * has stays, and so does what is above it. Returns the bytes freed. */
uint64_t kv_forget(struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt);

#endif
