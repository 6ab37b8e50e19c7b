/* One group's blocks: their states, reference counts and free list, over the payloads of the shared arena. */
#ifndef CABINET_KV_BLOCK_POOL_H
#define CABINET_KV_BLOCK_POOL_H

#include <stdbool.h>

#include "kv/block.h"
#include "kv/slab_arena.h"

enum block_age {
    BLOCK_AGE_LIFE, /* from taken to evicted */
    BLOCK_AGE_LAST, /* IDLE before it was evicted */
    BLOCK_AGE_GAP   /* IDLE before somebody used it again */
};

/* The time, and who wants to know how old blocks get. */
struct block_ages {
    uint32_t now_ms; /* goes round */
    void (*observe)(void *user, enum block_age age, uint64_t ms);
    void *user;
};

struct block_pool {
    struct slab_arena *arena;              /* borrowed */
    uint32_t slab_classes[KV_CLASS_COUNT]; /* of this group's payloads; one for all that are alike */
    uint32_t n_blocks;
    struct block_ages *ages; /* borrowed */
    block_id first_free;
    uint32_t n_in_state[BLOCK_STATE_COUNT];
    struct block *blocks;
};

/* As many blocks as the arena could hold payloads of the smallest class. */
int block_pool_open(struct block_pool *pool, struct slab_arena *arena, struct block_ages *ages,
                    const uint32_t slab_classes[KV_CLASS_COUNT]);
void block_pool_close(struct block_pool *pool);

/* FREE -> OPEN with one reference; BLOCK_NONE if there is no payload for it. */
block_id block_pool_take(struct block_pool *pool, enum kv_class class);
/* Gives an OPEN block another payload, of `class`; the one it has is staged. There is room. */
void block_pool_convert(struct block_pool *pool, block_id id, enum kv_class class);
/* Takes that back. */
void block_pool_revert(struct block_pool *pool, block_id id);
/* OPEN -> SEALED, as the block of `node`; what was staged goes. */
void block_pool_seal(struct block_pool *pool, block_id id, uint32_t node);
/* Gives a SEALED or IDLE block a payload of the class DEMOTED in place of its OPEN one. There is room. */
void block_pool_demote(struct block_pool *pool, block_id id);
/* SEALED with a single reference -> OPEN, no node's any more. */
void block_pool_reopen(struct block_pool *pool, block_id id);
/* One more reference to an OPEN or SEALED block, or IDLE -> SEALED. */
void block_pool_ref(struct block_pool *pool, block_id id);
/* Drops one reference; with the last an OPEN block and its payload are FREE, a SEALED one is IDLE. */
void block_pool_unref(struct block_pool *pool, block_id id);
/* IDLE -> FREE, with its payload. */
void block_pool_evict(struct block_pool *pool, block_id id);
/* Invariants 1, 2 and 6 as far as they concern the pool itself. */
bool block_pool_check(const struct block_pool *pool);

#endif
