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

#include "codec/kv_layout.h"

enum { SLAB_MAX_CLASSES = KV_MAX_GROUPS * KV_CLASS_COUNT };

struct slab_class {
    size_t payload_bytes;
    uint32_t payloads_per_slab;
    uint32_t first_with_room;       /* list of slabs of this class that have a free payload */
    uint32_t n_slabs, n_idle_slabs; /* of the class, and those of them that hold idle payloads only */
    uint64_t n_used, n_idle;        /* payloads handed out, and how many of them are idle */
};

struct slab {
    uint32_t class_index; /* SLAB_FREE while it belongs to no class */
    uint32_t n_used, n_idle;
    uint32_t first_free;     /* payload index, or SLAB_NONE */
    uint32_t next, previous; /* in the class's list of slabs with room, or in the list of free slabs */
};

/* What can be handed out: free slabs, which any class may take, and beside them free payloads of slabs cut.
 */
struct slab_room {
    uint64_t n_slabs, n_payloads[SLAB_MAX_CLASSES];
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

/* Plans slabs over `bytes` for payloads of the given sizes; small ones hold few, so that a slab is soon
 * empty. FULL if not one payload of each class fits. */
int slab_arena_open(struct slab_arena *arena, size_t bytes, const size_t *payload_bytes, uint32_t n_classes,
                    bool is_small);
void slab_arena_close(struct slab_arena *arena);

/* Offset of a payload of that class, or PAYLOAD_NONE when the arena has no room for it. */
uint64_t slab_arena_take(struct slab_arena *arena, uint32_t class_index);
void slab_arena_give(struct slab_arena *arena, uint32_t class_index, uint64_t offset);
/* Notes that a payload handed out is idle: it could be given back at any time. Taken payloads are not. */
void slab_arena_set_idle(struct slab_arena *arena, uint32_t class_index, uint64_t offset, bool is_idle);
/* What is free, or what would be if all idle payloads were given back. */
struct slab_room slab_arena_rooms(const struct slab_arena *arena, bool with_idle);
/* Whether n[i] payloads of each class i find room together. */
bool slab_arena_fits(const struct slab_arena *arena, const struct slab_room *room, const uint64_t *n);
/* Payloads of that class that could be taken now if no other class took any. */
uint64_t slab_arena_room(const struct slab_arena *arena, uint32_t class_index);
/* Payloads of that class in an arena that holds nothing else. */
uint64_t slab_arena_capacity(const struct slab_arena *arena, uint32_t class_index);
/* Bytes of slabs in use that hold no payload handed out. */
uint64_t slab_arena_waste_bytes(const struct slab_arena *arena);
/* Invariant: payloads sum to their slabs, slabs to the arena; every list is sound. */
bool slab_arena_check(const struct slab_arena *arena);

#endif
