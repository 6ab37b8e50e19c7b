/* What every policy here is built on: a set of items in the order in which they go, as a binary heap that
 * knows where each item is. */
#ifndef CABINET_KV_EVICT_HEAP_H
#define CABINET_KV_EVICT_HEAP_H

#include "kv/evict_policy.h"

/* Of equal ranks the smaller item goes first. */
struct evict_entry {
    struct evict_rank rank;
    uint32_t item;
};

struct evict_heap {
    uint32_t n, n_items;
    struct evict_entry *entries; /* (n_items), the first n in use */
    uint32_t *places;            /* (n_items) 1 + index in the heap, 0 for an item that is not held */
    uint64_t floor;              /* the policy's own */
};

/* By priority, and of one priority the passed ones first. */
static inline uint32_t evict_class(const struct evict_traits *traits) {
    return 2 * (uint32_t)traits->priority + (traits->is_passed ? 0 : 1);
}

static inline bool evict_goes_before(const struct evict_rank *a, const struct evict_rank *b) {
    if (a->class != b->class) return a->class < b->class;
    return a->first != b->first ? a->first < b->first : a->second < b->second;
}

void evict_heap_insert(struct evict_heap *heap, uint32_t item, struct evict_rank rank);

/* The functions of a policy whose state is a heap, but for `rank` and `insert`. */
int evict_heap_create(void **state, uint32_t n_items);
void evict_heap_destroy(void *state);
void evict_heap_remove(void *state, uint32_t item);
uint32_t evict_heap_victim(void *state);
bool evict_heap_holds(const void *state, uint32_t item);
bool evict_heap_check(const void *state, uint32_t n);

#endif
