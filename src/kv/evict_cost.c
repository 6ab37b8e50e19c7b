/* Keeps what saves most time for its bytes: GreedyDual-Size with frequency (Cherkasova, HPL-98-69R1, 1998).
 * An item's value, when it becomes idle, is
 *
 *     floor + (1 + hits) * nanoseconds to compute it again / bytes
 *
 * and the lowest goes. The floor rises to the value of what is evicted, so that what was valuable long ago
 * and is not asked for any more has its turn in the end. */
#include <string.h>

#include "kv/evict_heap.h"
#include "kv/evict_list.h"

/* The bits of a number that is not negative are in order. */
static uint64_t bits_of(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static double number_of(uint64_t bits) {
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static void cost_insert(void *state, uint32_t item, const struct evict_traits *traits) {
    struct evict_heap *heap = state;
    double saved_ns = (1 + (double)traits->n_hits) * (double)traits->cost_ns;
    double bytes = traits->bytes > 0 ? (double)traits->bytes : 1;
    uint64_t value = bits_of(number_of(heap->floor) + saved_ns / bytes);
    evict_heap_insert(heap, (struct evict_entry){evict_class(traits), item, value, traits->used});
}

static uint32_t cost_victim(void *state) {
    struct evict_heap *heap = state;
    if (heap->n > 0 && heap->entries[0].first > heap->floor) heap->floor = heap->entries[0].first;
    return evict_heap_victim(heap);
}

const struct evict_policy evict_cost = {
    .name = "cost",
    .create = evict_heap_create,
    .destroy = evict_heap_destroy,
    .insert = cost_insert,
    .remove = evict_heap_remove,
    .victim = cost_victim,
    .holds = evict_heap_holds,
    .check = evict_heap_check,
};
