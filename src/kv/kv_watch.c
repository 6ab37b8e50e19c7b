#include "kv/kv_watch.h"

#include "kv/kv_state.h"

void kv_watch(struct kv_cache *kv, void (*observe)(void *user, enum block_age age, uint64_t ms), void *user) {
    kv->ages.observe = observe;
    kv->ages.user = user;
}

void kv_tell_time(struct kv_cache *kv, uint64_t now_ms) { kv->ages.now_ms = (uint32_t)now_ms; }
