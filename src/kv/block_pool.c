#include "kv/block_pool.h"

#include "base/err.h"
#include "base/mem.h"

static void set_state(struct block_pool *pool, block_id id, enum block_state state) {
    struct block *block = &pool->blocks[id];
    pool->n_in_state[block->state]--;
    pool->n_in_state[state]++;
    block->state = (uint8_t)state;
}

int block_pool_open(struct block_pool *pool, struct slab_arena *arena, uint32_t class_index) {
    uint64_t capacity = slab_arena_capacity(arena, class_index);
    if (capacity >= BLOCK_NONE) return ERR(TOO_LARGE, "KV memory of more than 2^32 blocks");
    *pool = (struct block_pool){.arena = arena, .class_index = class_index, .first_free = BLOCK_NONE};
    pool->blocks = mem_alloc(capacity, sizeof *pool->blocks);
    if (pool->blocks == NULL) return ERR_NO_MEMORY;
    pool->n_blocks = pool->n_in_state[BLOCK_FREE] = (uint32_t)capacity;
    for (block_id id = pool->n_blocks; id-- > 0;) {
        pool->blocks[id] = (struct block){.payload = PAYLOAD_NONE, .next_free = pool->first_free};
        pool->first_free = id;
    }
    return 0;
}

void block_pool_close(struct block_pool *pool) {
    mem_free(pool->blocks);
    pool->blocks = NULL;
}

block_id block_pool_take(struct block_pool *pool) {
    block_id id = pool->first_free;
    if (id == BLOCK_NONE) return BLOCK_NONE;
    uint64_t payload = slab_arena_take(pool->arena, pool->class_index);
    if (payload == PAYLOAD_NONE) return BLOCK_NONE;
    struct block *block = &pool->blocks[id];
    pool->first_free = block->next_free;
    block->payload = payload;
    block->n_references = 1;
    set_state(pool, id, BLOCK_OPEN);
    return id;
}

void block_pool_seal(struct block_pool *pool, block_id id) {
    ASSERT(pool->blocks[id].state == BLOCK_OPEN);
    set_state(pool, id, BLOCK_SEALED);
}

void block_pool_reopen(struct block_pool *pool, block_id id) {
    ASSERT(pool->blocks[id].state == BLOCK_SEALED && pool->blocks[id].n_references == 1);
    set_state(pool, id, BLOCK_OPEN);
}

void block_pool_unref(struct block_pool *pool, block_id id) {
    struct block *block = &pool->blocks[id];
    ASSERT(block->n_references > 0);
    if (--block->n_references > 0) return;
    slab_arena_give(pool->arena, pool->class_index, block->payload);
    block->payload = PAYLOAD_NONE;
    block->next_free = pool->first_free;
    pool->first_free = id;
    set_state(pool, id, BLOCK_FREE);
}

bool block_pool_check(const struct block_pool *pool) {
    uint32_t n_in_state[BLOCK_STATE_COUNT] = {0};
    for (block_id id = 0; id < pool->n_blocks; id++) {
        const struct block *block = &pool->blocks[id];
        if (block->state >= BLOCK_STATE_COUNT) return false;
        n_in_state[block->state]++;
        bool is_free = block->state == BLOCK_FREE;
        if (is_free != (block->n_references == 0) || is_free != (block->payload == PAYLOAD_NONE))
            return false;
        if (block->state == BLOCK_OPEN && block->n_references != 1) return false;
    }
    uint32_t n_listed = 0;
    for (block_id id = pool->first_free; id != BLOCK_NONE; id = pool->blocks[id].next_free)
        if (id >= pool->n_blocks || pool->blocks[id].state != BLOCK_FREE || ++n_listed > pool->n_blocks)
            return false;
    for (int state = 0; state < BLOCK_STATE_COUNT; state++)
        if (n_in_state[state] != pool->n_in_state[state]) return false;
    return n_listed == n_in_state[BLOCK_FREE] &&
           pool->arena->classes[pool->class_index].n_used == pool->n_blocks - n_listed;
}
