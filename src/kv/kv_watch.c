#include "kv/kv_watch.h"

#include "kv/kv_state.h"

void kv_watch(struct kv_cache *kv, void (*observe)(void *user, enum block_age age, uint64_t ms), void *user) {
    kv->ages.observe = observe;
    kv->ages.user = user;
}
