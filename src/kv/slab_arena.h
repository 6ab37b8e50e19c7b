/* The cache's memory as numbers: a run of bytes cut into slabs, and each slab into payloads of one class.
 *
 * All slabs have one size, so a slab that empties can serve any class next: no group of layers starves
 * another. Nothing here touches the memory itself; an address is a byte offset from the arena's start. What a
 * slab cannot use (its tail, and payloads not handed out) is fragmentation, and is counted. */
#ifndef CABINET_KV_SLAB_ARENA_H
#define CABINET_KV_SLAB_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SLAB_MAX_CLASSES = 8 };

#define PAYLOAD_NONE UINT64_MAX

struct slab_class {
    size_t payload_bytes;
    uint32_t payloads_per_slab;
    uint32_t first_with_room; /* list of slabs of this class that have a free payload */
    uint64_t n_used;          /* payloads handed out */
};

struct slab {
    uint32_t class_index; /* SLAB_FREE while it belongs to no class */
    uint32_t n_used;
    uint32_t first_free;     /* payload index, or SLAB_NONE */
    uint32_t next, previous; /* in the class's list of slabs with room, or in the list of free slabs */
};

struct slab_arena {
    size_t bytes, slab_bytes;
    uint32_t n_slabs, n_free_slabs;
    uint32_t first_free_slab;
    uint32_t n_classes;
    uint32_t max_payloads_per_slab;
    struct slab_class classes[SLAB_MAX_CLASSES];
    struct slab *slabs;
    uint32_t *next_free; /* (n_slabs, max_payloads_per_slab) */
};

/* Plans slabs over `bytes` for payloads of the given sizes. FULL if not one payload of each class fits. */
int slab_arena_open(struct slab_arena *arena, size_t bytes, const size_t *payload_bytes, uint32_t n_classes);
void slab_arena_close(struct slab_arena *arena);

/* Offset of a payload of that class, or PAYLOAD_NONE when the arena has no room for it. */
uint64_t slab_arena_take(struct slab_arena *arena, uint32_t class_index);
void slab_arena_give(struct slab_arena *arena, uint32_t class_index, uint64_t offset);
/* Payloads of that class that could be taken now if no other class took any. */
uint64_t slab_arena_room(const struct slab_arena *arena, uint32_t class_index);
/* Payloads of that class in an arena that holds nothing else. */
uint64_t slab_arena_capacity(const struct slab_arena *arena, uint32_t class_index);
/* Bytes of slabs in use that hold no payload handed out. */
uint64_t slab_arena_waste_bytes(const struct slab_arena *arena);
/* Invariant: payloads sum to their slabs, slabs to the arena; every list is sound. */
bool slab_arena_check(const struct slab_arena *arena);

#endif
