/* How long blocks stay: told to whoever watches, as it turns out. The cache reads no clock; it is told the
 * time (kv_poll), and knows it as precisely as that is done, and up to 2^32 ms. */
#ifndef CABINET_KV_KV_WATCH_H
#define CABINET_KV_KV_WATCH_H

#include "kv/block_pool.h"
#include "kv/kv_cache.h"

/* `observe` (NULL: nobody any more) is called from inside calls of the cache, which it must not use. */
void kv_watch(struct kv_cache *kv, void (*observe)(void *user, enum block_age age, uint64_t ms), void *user);

#endif
