#include "kv/slab_arena.h"

#include "base/err.h"
#include "base/mem.h"

#define SLAB_NONE UINT32_MAX
#define SLAB_FREE UINT32_MAX

enum {
    HUGE_PAGE = 2 << 20,
    LARGEST_SLAB = 64 << 20,
    SMALL_PAGE = 4096,
    MIN_SLABS = 16,          /* fewer would let one class hold a large share of the arena for one payload */
    GOOD_WASTE_DIVISOR = 64, /* a slab whose tail is below 1/64 of it is good enough */
    SMALL_SLAB_PAYLOADS = 8, /* of the largest class, at most, in a small slab */
    GOOD_SMALL_DIVISOR = 16,
};

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

/* The largest share of a slab that some class could not use, in parts per 2^20. */
static uint64_t worst_waste(size_t slab_bytes, const size_t *payload_bytes, uint32_t n_classes) {
    uint64_t worst = 0;
    for (uint32_t i = 0; i < n_classes; i++) {
        uint64_t waste = ((uint64_t)(slab_bytes % payload_bytes[i]) << 20) / slab_bytes;
        if (waste > worst) worst = waste;
    }
    return worst;
}

/* The smallest number of huge pages that wastes little, or, for small slabs, of the largest payload; in an
 * arena too small for that, the largest payload. */
static size_t choose_slab_bytes(size_t arena_bytes, const size_t *payload_bytes, uint32_t n_classes,
                                bool is_small) {
    size_t largest = 0;
    for (uint32_t i = 0; i < n_classes; i++)
        if (payload_bytes[i] > largest) largest = payload_bytes[i];
    const size_t one = largest < SMALL_PAGE ? largest : round_up(largest, SMALL_PAGE);
    const size_t first = is_small ? one : round_up(largest, HUGE_PAGE), step = is_small ? one : HUGE_PAGE;
    const size_t most = is_small ? SMALL_SLAB_PAYLOADS * one : LARGEST_SLAB;
    const uint64_t good = (1u << 20) / (is_small ? GOOD_SMALL_DIVISOR : GOOD_WASTE_DIVISOR);
    size_t best = 0;
    uint64_t best_waste = UINT64_MAX;
    for (size_t candidate = first; candidate <= most && candidate <= arena_bytes / MIN_SLABS;
         candidate += step) {
        uint64_t waste = worst_waste(candidate, payload_bytes, n_classes);
        if (waste < best_waste) {
            best_waste = waste;
            best = candidate;
        }
        if (waste <= good) break;
    }
    return best != 0 ? best : one;
}

static uint32_t *next_free_of(const struct slab_arena *arena, uint32_t slab) {
    return arena->next_free + (size_t)slab * arena->max_payloads_per_slab;
}

int slab_arena_open(struct slab_arena *arena, size_t bytes, const size_t *payload_bytes, uint32_t n_classes,
                    bool is_small) {
    ASSERT(n_classes >= 1 && n_classes <= SLAB_MAX_CLASSES);
    *arena = (struct slab_arena){.bytes = bytes, .n_classes = n_classes, .first_free_slab = SLAB_NONE};
    arena->slab_bytes = choose_slab_bytes(bytes, payload_bytes, n_classes, is_small);
    size_t n_slabs = bytes / arena->slab_bytes;
    if (n_slabs < n_classes || n_slabs >= SLAB_NONE)
        return ERR(FULL, "%zu bytes of KV memory hold no block: one takes %zu bytes", bytes,
                   arena->slab_bytes);
    arena->n_slabs = arena->n_free_slabs = (uint32_t)n_slabs;
    for (uint32_t i = 0; i < n_classes; i++) {
        uint32_t per_slab = (uint32_t)(arena->slab_bytes / payload_bytes[i]);
        arena->classes[i] = (struct slab_class){
            .payload_bytes = payload_bytes[i], .payloads_per_slab = per_slab, .first_with_room = SLAB_NONE};
        if (per_slab > arena->max_payloads_per_slab) arena->max_payloads_per_slab = per_slab;
    }
    arena->slabs = mem_alloc(n_slabs, sizeof *arena->slabs);
    arena->next_free = mem_alloc(n_slabs * arena->max_payloads_per_slab, sizeof *arena->next_free);
    if (arena->slabs == NULL || arena->next_free == NULL) {
        slab_arena_close(arena);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = arena->n_slabs; i-- > 0;) { /* the lowest addresses are taken first */
        arena->slabs[i] = (struct slab){.class_index = SLAB_FREE, .next = arena->first_free_slab};
        arena->first_free_slab = i;
    }
    return 0;
}

void slab_arena_close(struct slab_arena *arena) {
    mem_free(arena->slabs);
    mem_free(arena->next_free);
    arena->slabs = NULL;
    arena->next_free = NULL;
}

static void list_with_room(struct slab_arena *arena, uint32_t index) {
    struct slab *slab = &arena->slabs[index];
    struct slab_class *class = &arena->classes[slab->class_index];
    slab->previous = SLAB_NONE;
    slab->next = class->first_with_room;
    if (slab->next != SLAB_NONE) arena->slabs[slab->next].previous = index;
    class->first_with_room = index;
}

static void unlist_with_room(struct slab_arena *arena, uint32_t index) {
    struct slab *slab = &arena->slabs[index];
    struct slab_class *class = &arena->classes[slab->class_index];
    if (slab->previous != SLAB_NONE)
        arena->slabs[slab->previous].next = slab->next;
    else
        class->first_with_room = slab->next;
    if (slab->next != SLAB_NONE) arena->slabs[slab->next].previous = slab->previous;
}

/* Gives a free slab to a class; false if there is none. */
static bool cut_slab(struct slab_arena *arena, uint32_t class_index) {
    uint32_t index = arena->first_free_slab;
    if (index == SLAB_NONE) return false;
    struct slab *slab = &arena->slabs[index];
    arena->first_free_slab = slab->next;
    arena->n_free_slabs--;
    *slab = (struct slab){.class_index = class_index};
    arena->classes[class_index].n_slabs++;
    uint32_t n = arena->classes[class_index].payloads_per_slab, *next = next_free_of(arena, index);
    for (uint32_t i = 0; i < n; i++) next[i] = i + 1 < n ? i + 1 : SLAB_NONE;
    list_with_room(arena, index);
    return true;
}

static bool is_idle(const struct slab *slab) { return slab->n_used > 0 && slab->n_idle == slab->n_used; }

uint64_t slab_arena_take(struct slab_arena *arena, uint32_t class_index) {
    struct slab_class *class = &arena->classes[class_index];
    if (class->first_with_room == SLAB_NONE && !cut_slab(arena, class_index)) return PAYLOAD_NONE;
    uint32_t index = class->first_with_room;
    struct slab *slab = &arena->slabs[index];
    uint32_t payload = slab->first_free;
    class->n_idle_slabs -= is_idle(slab);
    slab->first_free = next_free_of(arena, index)[payload];
    slab->n_used++;
    class->n_used++;
    if (slab->first_free == SLAB_NONE) unlist_with_room(arena, index);
    return (uint64_t)index * arena->slab_bytes + (uint64_t)payload * class->payload_bytes;
}

void slab_arena_give(struct slab_arena *arena, uint32_t class_index, uint64_t offset) {
    struct slab_class *class = &arena->classes[class_index];
    uint32_t index = (uint32_t)(offset / arena->slab_bytes);
    ASSERT(index < arena->n_slabs && arena->slabs[index].class_index == class_index);
    struct slab *slab = &arena->slabs[index];
    uint32_t payload = (uint32_t)(offset % arena->slab_bytes / class->payload_bytes);
    bool was_full = slab->first_free == SLAB_NONE;
    next_free_of(arena, index)[payload] = slab->first_free;
    slab->first_free = payload;
    class->n_idle_slabs -= is_idle(slab);
    slab->n_used--;
    class->n_used--;
    class->n_idle_slabs += is_idle(slab);
    if (was_full) list_with_room(arena, index);
    if (slab->n_used > 0) return;
    unlist_with_room(arena, index);
    class->n_slabs--;
    *slab = (struct slab){.class_index = SLAB_FREE, .next = arena->first_free_slab};
    arena->first_free_slab = index;
    arena->n_free_slabs++;
}

uint64_t slab_arena_capacity(const struct slab_arena *arena, uint32_t class_index) {
    return (uint64_t)arena->n_slabs * arena->classes[class_index].payloads_per_slab;
}

void slab_arena_set_idle(struct slab_arena *arena, uint32_t class_index, uint64_t offset, bool idle) {
    struct slab_class *class = &arena->classes[class_index];
    struct slab *slab = &arena->slabs[offset / arena->slab_bytes];
    ASSERT(slab->class_index == class_index);
    class->n_idle_slabs -= is_idle(slab);
    slab->n_idle += idle ? 1 : -1u;
    class->n_idle += idle ? 1 : -UINT64_C(1);
    class->n_idle_slabs += is_idle(slab);
}

struct slab_room slab_arena_rooms(const struct slab_arena *arena, bool with_idle) {
    struct slab_room room = {.n_slabs = arena->n_free_slabs};
    for (uint32_t i = 0; i < arena->n_classes; i++) {
        const struct slab_class *class = &arena->classes[i];
        uint32_t n_emptied = with_idle ? class->n_idle_slabs : 0;
        uint64_t n_stay = class->n_used - (with_idle ? class->n_idle : 0);
        room.n_slabs += n_emptied;
        room.n_payloads[i] = (uint64_t)(class->n_slabs - n_emptied) * class->payloads_per_slab - n_stay;
    }
    return room;
}

bool slab_arena_fits(const struct slab_arena *arena, const struct slab_room *room, const uint64_t *n) {
    uint64_t n_slabs = 0;
    for (uint32_t i = 0; i < arena->n_classes; i++) {
        uint32_t per_slab = arena->classes[i].payloads_per_slab;
        uint64_t n_missing = n[i] > room->n_payloads[i] ? n[i] - room->n_payloads[i] : 0;
        n_slabs += (n_missing + per_slab - 1) / per_slab;
    }
    return n_slabs <= room->n_slabs;
}

uint64_t slab_arena_room(const struct slab_arena *arena, uint32_t class_index) {
    struct slab_room room = slab_arena_rooms(arena, false);
    return room.n_slabs * arena->classes[class_index].payloads_per_slab + room.n_payloads[class_index];
}

uint64_t slab_arena_waste_bytes(const struct slab_arena *arena) {
    uint64_t waste = (uint64_t)(arena->n_slabs - arena->n_free_slabs) * arena->slab_bytes;
    for (uint32_t i = 0; i < arena->n_classes; i++)
        waste -= arena->classes[i].n_used * arena->classes[i].payload_bytes;
    return waste;
}

/* Payloads on a slab's free list, or a wrong number if the list is broken. */
static uint32_t count_free(const struct slab_arena *arena, uint32_t index, uint32_t limit) {
    uint32_t n = 0;
    for (uint32_t i = arena->slabs[index].first_free; i != SLAB_NONE; i = next_free_of(arena, index)[i])
        if (i >= limit || ++n > limit) return SLAB_NONE;
    return n;
}

/* The counts that a class keeps of its slabs. */
static bool check_class(const struct slab_arena *arena, uint32_t class_index) {
    const struct slab_class *class = &arena->classes[class_index];
    uint64_t n_used = 0, n_idle = 0;
    uint32_t n_slabs = 0, n_idle_slabs = 0, n_with_room = 0, n_listed = 0;
    for (uint32_t i = 0; i < arena->n_slabs; i++) {
        const struct slab *slab = &arena->slabs[i];
        if (slab->class_index != class_index) continue;
        if (slab->n_used == 0 || slab->n_idle > slab->n_used) return false;
        if (slab->n_used + count_free(arena, i, class->payloads_per_slab) != class->payloads_per_slab)
            return false;
        n_slabs++;
        n_used += slab->n_used;
        n_idle += slab->n_idle;
        n_idle_slabs += is_idle(slab);
        n_with_room += slab->n_used < class->payloads_per_slab;
    }
    for (uint32_t s = class->first_with_room; s != SLAB_NONE; s = arena->slabs[s].next)
        if (arena->slabs[s].class_index != class_index || ++n_listed > arena->n_slabs) return false;
    return n_listed == n_with_room && n_slabs == class->n_slabs && n_used == class->n_used &&
           n_idle == class->n_idle && n_idle_slabs == class->n_idle_slabs;
}

bool slab_arena_check(const struct slab_arena *arena) {
    uint32_t n_slabs = arena->n_free_slabs, n_free = 0;
    for (uint32_t i = 0; i < arena->n_classes; i++) {
        if (!check_class(arena, i)) return false;
        n_slabs += arena->classes[i].n_slabs;
    }
    for (uint32_t i = 0; i < arena->n_slabs; i++) n_free += arena->slabs[i].class_index == SLAB_FREE;
    return n_slabs == arena->n_slabs && n_free == arena->n_free_slabs;
}
