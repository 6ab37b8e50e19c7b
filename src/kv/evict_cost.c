/* Keeps what saves most time for its bytes: GreedyDual-Size with frequency (Cherkasova, HPL-98-69R1, 1998).
 * An item's value, when it becomes idle, is
 *
 *     floor + (1 + hits) * nanoseconds to compute it again / bytes
 *
 * and the lowest goes. The floor rises to the value of what is evicted, so that what was valuable long ago
 * and is not asked for any more has its turn in the end. */
#include "base/double_bits.h"
#include "kv/evict_heap.h"
#include "kv/evict_list.h"

static struct evict_rank cost_rank(const void *state, const struct evict_traits *traits) {
    const struct evict_heap *heap = state;
    double saved_ns = (1 + (double)traits->n_hits) * (double)traits->cost_ns;
    double bytes = traits->bytes > 0 ? (double)traits->bytes : 1;
    uint64_t value = bits_of_double(double_of_bits(heap->floor) + saved_ns / bytes);
    return (struct evict_rank){evict_class(traits), value, traits->used};
}

static void cost_insert(void *state, uint32_t item, const struct evict_traits *traits) {
    evict_heap_insert(state, item, cost_rank(state, traits));
}

static uint32_t cost_victim(void *state) {
    struct evict_heap *heap = state;
    if (heap->n > 0 && heap->entries[0].rank.first > heap->floor) heap->floor = heap->entries[0].rank.first;
    return evict_heap_victim(heap);
}

const struct evict_policy evict_cost = {
    .name = "cost",
    .create = evict_heap_create,
    .destroy = evict_heap_destroy,
    .rank = cost_rank,
    .insert = cost_insert,
    .remove = evict_heap_remove,
    .victim = cost_victim,
    .holds = evict_heap_holds,
    .check = evict_heap_check,
};
