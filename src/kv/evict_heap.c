#include "kv/evict_heap.h"

#include "base/err.h"
#include "base/mem.h"

void evict_heap_destroy(void *state) {
    struct evict_heap *heap = state;
    if (heap == NULL) return;
    mem_free(heap->entries);
    mem_free(heap->places);
    mem_free(heap);
}

int evict_heap_create(void **state, uint32_t n_items) {
    struct evict_heap *heap = mem_alloc(1, sizeof *heap);
    if (heap == NULL) return ERR_NO_MEMORY;
    heap->n_items = n_items;
    heap->entries = mem_alloc(n_items, sizeof *heap->entries);
    heap->places = mem_alloc(n_items, sizeof *heap->places);
    if (heap->entries == NULL || heap->places == NULL) {
        evict_heap_destroy(heap);
        return ERR_NO_MEMORY;
    }
    *state = heap;
    return 0;
}

static bool goes_before(const struct evict_entry *a, const struct evict_entry *b) {
    if (evict_goes_before(&a->rank, &b->rank)) return true;
    return !evict_goes_before(&b->rank, &a->rank) && a->item < b->item;
}

static void place(struct evict_heap *heap, uint32_t at, struct evict_entry entry) {
    heap->entries[at] = entry;
    heap->places[entry.item] = at + 1;
}

/* Puts an entry where it belongs, starting from the hole `at`. */
static void settle(struct evict_heap *heap, uint32_t at, struct evict_entry entry) {
    while (at > 0 && goes_before(&entry, &heap->entries[(at - 1) / 2])) {
        place(heap, at, heap->entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (uint32_t child; (child = 2 * at + 1) < heap->n; at = child) {
        if (child + 1 < heap->n && goes_before(&heap->entries[child + 1], &heap->entries[child])) child++;
        if (!goes_before(&heap->entries[child], &entry)) break;
        place(heap, at, heap->entries[child]);
    }
    place(heap, at, entry);
}

void evict_heap_insert(struct evict_heap *heap, uint32_t item, struct evict_rank rank) {
    ASSERT(item < heap->n_items && heap->places[item] == 0);
    heap->n++;
    settle(heap, heap->n - 1, (struct evict_entry){rank, item});
}

void evict_heap_remove(void *state, uint32_t item) {
    struct evict_heap *heap = state;
    ASSERT(item < heap->n_items && heap->places[item] != 0);
    uint32_t hole = heap->places[item] - 1;
    heap->places[item] = 0;
    heap->n--;
    if (hole < heap->n) settle(heap, hole, heap->entries[heap->n]);
}

uint32_t evict_heap_victim(void *state) {
    const struct evict_heap *heap = state;
    return heap->n == 0 ? EVICT_NONE : heap->entries[0].item;
}

bool evict_heap_holds(const void *state, uint32_t item) {
    const struct evict_heap *heap = state;
    return item < heap->n_items && heap->places[item] != 0;
}

bool evict_heap_check(const void *state, uint32_t n) {
    const struct evict_heap *heap = state;
    for (uint32_t i = 0; i < heap->n; i++) {
        uint32_t item = heap->entries[i].item;
        if (item >= heap->n_items || heap->places[item] != i + 1) return false;
        if (i > 0 && !goes_before(&heap->entries[(i - 1) / 2], &heap->entries[i])) return false;
    }
    return heap->n == n;
}
