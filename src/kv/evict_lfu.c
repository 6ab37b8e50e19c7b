/* Least frequently used: by how many sequences found it in the cache, of equal ones the least recently used.
 * What is common to many conversations outlives a burst of those that are never seen again. */
#include "kv/evict_heap.h"
#include "kv/evict_list.h"

static struct evict_rank lfu_rank(const void *state, const struct evict_traits *traits) {
    (void)state;
    return (struct evict_rank){evict_class(traits), traits->n_hits, traits->used};
}

static void lfu_insert(void *state, uint32_t item, const struct evict_traits *traits) {
    evict_heap_insert(state, item, lfu_rank(state, traits));
}

const struct evict_policy evict_lfu = {
    .name = "lfu",
    .create = evict_heap_create,
    .destroy = evict_heap_destroy,
    .rank = lfu_rank,
    .insert = lfu_insert,
    .remove = evict_heap_remove,
    .victim = evict_heap_victim,
    .holds = evict_heap_holds,
    .check = evict_heap_check,
};
