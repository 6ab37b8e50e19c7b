/* How long blocks stay: told to whoever watches, as it turns out. The cache reads no clock; it is told the
 * time, as precisely as that is done. */
#ifndef CABINET_KV_KV_WATCH_H
#define CABINET_KV_KV_WATCH_H

#include "kv/block_pool.h"
#include "kv/kv_cache.h"

/* `observe` (NULL: nobody any more) is called from inside calls of the cache, which it must not use. */
void kv_watch(struct kv_cache *kv, void (*observe)(void *user, enum block_age age, uint64_t ms), void *user);
/* Time goes on, from whenever; at least every 2^32 ms. */
void kv_tell_time(struct kv_cache *kv, uint64_t now_ms);

#endif
