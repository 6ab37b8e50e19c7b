/* Least recently used. */
#include "kv/evict_heap.h"
#include "kv/evict_list.h"

static void lru_insert(void *state, uint32_t item, const struct evict_traits *traits) {
    evict_heap_insert(state, (struct evict_entry){evict_class(traits), item, traits->used, 0});
}

const struct evict_policy evict_lru = {
    .name = "lru",
    .create = evict_heap_create,
    .destroy = evict_heap_destroy,
    .insert = lru_insert,
    .remove = evict_heap_remove,
    .victim = evict_heap_victim,
    .holds = evict_heap_holds,
    .check = evict_heap_check,
};
