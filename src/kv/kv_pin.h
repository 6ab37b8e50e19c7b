/* What stays in the cache, beyond what eviction policies decide by themselves: leases, priorities,
 * forgetting. */
#ifndef CABINET_KV_KV_PIN_H
#define CABINET_KV_KV_PIN_H

#include "kv/kv_cache.h"

#define KV_FOR_EVER UINT64_MAX

/* Keeps the resident beginning of `tokens`, in whole blocks, until the time of kv_poll is until_us (0: ends
 * that lease, KV_FOR_EVER: none), and lets eviction take it after what has a lower priority, also when the
 * lease is over. Returns the tokens pinned or unpinned. NOT_FOUND if not one block of it is resident; FULL,
 * with the bytes needed and left, if leases would hold more than half the memory; TOO_LARGE if there are too
 * many. */
int kv_pin(struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt, uint64_t until_us,
           uint8_t priority);
/* Forgets what begins with these tokens, in whole blocks, all of that salt for n = 0, unless a sequence or a
 * lease has it. Returns the bytes freed. */
uint64_t kv_drop(struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt);
/* Tells the time, in microseconds from whenever; leases end. */
void kv_poll(struct kv_cache *kv, uint64_t now_us);
/* What computing a token takes, for policies that ask: so much by itself, and for each token before it. */
void kv_set_recompute_cost(struct kv_cache *kv, double ns_per_token, double ns_per_key);

#endif
