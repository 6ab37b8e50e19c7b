/* Least recently used: a binary heap over (passed first, then by use). Two items of one use: the smaller
 * number. */
#include "base/err.h"
#include "base/mem.h"
#include "kv/evict_policy.h"

struct entry {
    uint64_t order;
    uint32_t item;
};

struct lru {
    uint32_t n, n_items;
    struct entry *heap; /* (n_items), the first n in use */
    uint32_t *places;   /* (n_items) 1 + index in the heap, 0 for an item that is not held */
};

#define NOT_PASSED (UINT64_C(1) << 63)

static void lru_destroy(void *state) {
    struct lru *lru = state;
    if (lru == NULL) return;
    mem_free(lru->heap);
    mem_free(lru->places);
    mem_free(lru);
}

static int lru_create(void **state, uint32_t n_items) {
    struct lru *lru = mem_alloc(1, sizeof *lru);
    if (lru == NULL) return ERR_NO_MEMORY;
    lru->n_items = n_items;
    lru->heap = mem_alloc(n_items, sizeof *lru->heap);
    lru->places = mem_alloc(n_items, sizeof *lru->places);
    if (lru->heap == NULL || lru->places == NULL) {
        lru_destroy(lru);
        return ERR_NO_MEMORY;
    }
    *state = lru;
    return 0;
}

static bool goes_before(const struct entry *a, const struct entry *b) {
    return a->order != b->order ? a->order < b->order : a->item < b->item;
}

static void place(struct lru *lru, uint32_t at, struct entry entry) {
    lru->heap[at] = entry;
    lru->places[entry.item] = at + 1;
}

/* Puts an entry where it belongs, starting from the hole `at`. */
static void settle(struct lru *lru, uint32_t at, struct entry entry) {
    while (at > 0 && goes_before(&entry, &lru->heap[(at - 1) / 2])) {
        place(lru, at, lru->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (uint32_t child; (child = 2 * at + 1) < lru->n; at = child) {
        if (child + 1 < lru->n && goes_before(&lru->heap[child + 1], &lru->heap[child])) child++;
        if (!goes_before(&lru->heap[child], &entry)) break;
        place(lru, at, lru->heap[child]);
    }
    place(lru, at, entry);
}

static void lru_insert(void *state, uint32_t item, bool is_passed, uint64_t used) {
    struct lru *lru = state;
    ASSERT(item < lru->n_items && lru->places[item] == 0);
    lru->n++;
    settle(lru, lru->n - 1, (struct entry){is_passed ? used : used | NOT_PASSED, item});
}

static void lru_remove(void *state, uint32_t item) {
    struct lru *lru = state;
    ASSERT(item < lru->n_items && lru->places[item] != 0);
    uint32_t hole = lru->places[item] - 1;
    lru->places[item] = 0;
    lru->n--;
    if (hole < lru->n) settle(lru, hole, lru->heap[lru->n]);
}

static uint32_t lru_victim(const void *state) {
    const struct lru *lru = state;
    return lru->n == 0 ? EVICT_NONE : lru->heap[0].item;
}

static bool lru_holds(const void *state, uint32_t item) {
    const struct lru *lru = state;
    return item < lru->n_items && lru->places[item] != 0;
}

static bool lru_check(const void *state, uint32_t n) {
    const struct lru *lru = state;
    for (uint32_t i = 0; i < lru->n; i++) {
        if (lru->heap[i].item >= lru->n_items || lru->places[lru->heap[i].item] != i + 1) return false;
        if (i > 0 && !goes_before(&lru->heap[(i - 1) / 2], &lru->heap[i])) return false;
    }
    return lru->n == n;
}

const struct evict_policy evict_lru = {
    .name = "lru",
    .create = lru_create,
    .destroy = lru_destroy,
    .insert = lru_insert,
    .remove = lru_remove,
    .victim = lru_victim,
    .holds = lru_holds,
    .check = lru_check,
};
