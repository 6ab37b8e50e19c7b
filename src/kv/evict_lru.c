/* Least recently used. */
#include "kv/evict_heap.h"
#include "kv/evict_list.h"

static struct evict_rank lru_rank(const void *state, const struct evict_traits *traits) {
    (void)state;
    return (struct evict_rank){evict_class(traits), traits->used, 0};
}

static void lru_insert(void *state, uint32_t item, const struct evict_traits *traits) {
    evict_heap_insert(state, item, lru_rank(state, traits));
}

const struct evict_policy evict_lru = {
    .name = "lru",
    .create = evict_heap_create,
    .destroy = evict_heap_destroy,
    .rank = lru_rank,
    .insert = lru_insert,
    .remove = evict_heap_remove,
    .victim = evict_heap_victim,
    .holds = evict_heap_holds,
    .check = evict_heap_check,
};
