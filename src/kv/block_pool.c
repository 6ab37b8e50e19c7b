#include "kv/block_pool.h"

#include "base/err.h"
#include "base/mem.h"

static void tell_age(const struct block_pool *pool, enum block_age age, uint32_t since_ms) {
    const struct block_ages *ages = pool->ages;
    if (ages->observe != NULL) ages->observe(ages->user, age, (uint32_t)(ages->now_ms - since_ms));
}

static void set_state(struct block_pool *pool, block_id id, enum block_state state) {
    struct block *block = &pool->blocks[id];
    pool->n_in_state[block->state]--;
    pool->n_in_state[state]++;
    block->state = (uint8_t)state;
}

int block_pool_open(struct block_pool *pool, struct slab_arena *arena, struct block_ages *ages,
                    const uint32_t slab_classes[KV_CLASS_COUNT]) {
    uint64_t capacity = 0;
    *pool = (struct block_pool){.arena = arena, .ages = ages, .first_free = BLOCK_NONE};
    for (int class = 0; class < KV_CLASS_COUNT; class ++) {
        pool->slab_classes[class] = slab_classes[class];
        uint64_t n = slab_arena_capacity(arena, slab_classes[class]);
        if (n > capacity) capacity = n;
    }
    if (capacity >= BLOCK_NONE) return ERR(TOO_LARGE, "KV memory of more than 2^32 blocks");
    pool->blocks = mem_alloc(capacity, sizeof *pool->blocks);
    if (pool->blocks == NULL) return ERR_NO_MEMORY;
    pool->n_blocks = pool->n_in_state[BLOCK_FREE] = (uint32_t)capacity;
    for (block_id id = pool->n_blocks; id-- > 0;) {
        pool->blocks[id] =
            (struct block){.payload = PAYLOAD_NONE, .staged = PAYLOAD_NONE, .next_free = pool->first_free};
        pool->first_free = id;
    }
    return 0;
}

void block_pool_close(struct block_pool *pool) {
    mem_free(pool->blocks);
    pool->blocks = NULL;
}

block_id block_pool_take(struct block_pool *pool, enum kv_class class) {
    block_id id = pool->first_free;
    if (id == BLOCK_NONE) return BLOCK_NONE;
    uint64_t payload = slab_arena_take(pool->arena, pool->slab_classes[class]);
    if (payload == PAYLOAD_NONE) return BLOCK_NONE;
    struct block *block = &pool->blocks[id];
    pool->first_free = block->next_free;
    block->payload = payload;
    block->class = (uint8_t)class;
    block->n_references = 1;
    block->taken_ms = pool->ages->now_ms;
    set_state(pool, id, BLOCK_OPEN);
    return id;
}

void block_pool_convert(struct block_pool *pool, block_id id, enum kv_class class) {
    struct block *block = &pool->blocks[id];
    ASSERT(block->state == BLOCK_OPEN && block->class == KV_OPEN && class != KV_OPEN);
    block->staged = block->payload;
    block->payload = slab_arena_take(pool->arena, pool->slab_classes[class]);
    ASSERT(block->payload != PAYLOAD_NONE);
    block->class = (uint8_t)class;
}

void block_pool_revert(struct block_pool *pool, block_id id) {
    struct block *block = &pool->blocks[id];
    ASSERT(block->state == BLOCK_OPEN && block->staged != PAYLOAD_NONE);
    slab_arena_give(pool->arena, pool->slab_classes[block->class], block->payload);
    block->payload = block->staged;
    block->staged = PAYLOAD_NONE;
    block->class = KV_OPEN;
}

static void drop_staged(struct block_pool *pool, struct block *block) {
    if (block->staged == PAYLOAD_NONE) return;
    slab_arena_give(pool->arena, pool->slab_classes[KV_OPEN], block->staged);
    block->staged = PAYLOAD_NONE;
}

void block_pool_seal(struct block_pool *pool, block_id id, uint32_t node) {
    ASSERT(pool->blocks[id].state == BLOCK_OPEN && node != 0);
    drop_staged(pool, &pool->blocks[id]);
    pool->blocks[id].node = node;
    set_state(pool, id, BLOCK_SEALED);
}

void block_pool_demote(struct block_pool *pool, block_id id) {
    struct block *block = &pool->blocks[id];
    const bool is_idle = block->state == BLOCK_IDLE;
    ASSERT((is_idle || block->state == BLOCK_SEALED) && block->class == KV_OPEN);
    const uint32_t from = pool->slab_classes[KV_OPEN], to = pool->slab_classes[KV_DEMOTED];
    const uint64_t payload = slab_arena_take(pool->arena, to);
    ASSERT(payload != PAYLOAD_NONE);
    if (is_idle) slab_arena_set_idle(pool->arena, from, block->payload, false);
    slab_arena_give(pool->arena, from, block->payload);
    if (is_idle) slab_arena_set_idle(pool->arena, to, payload, true);
    block->payload = payload;
    block->class = KV_DEMOTED;
}

void block_pool_reopen(struct block_pool *pool, block_id id) {
    ASSERT(pool->blocks[id].state == BLOCK_SEALED && pool->blocks[id].n_references == 1);
    ASSERT(pool->blocks[id].class == KV_OPEN);
    pool->blocks[id].node = 0;
    set_state(pool, id, BLOCK_OPEN);
}

static void free_block(struct block_pool *pool, block_id id) {
    struct block *block = &pool->blocks[id];
    drop_staged(pool, block);
    slab_arena_give(pool->arena, pool->slab_classes[block->class], block->payload);
    block->payload = PAYLOAD_NONE;
    block->node = 0;
    block->next_free = pool->first_free;
    pool->first_free = id;
    set_state(pool, id, BLOCK_FREE);
}

static void set_idle(struct block_pool *pool, block_id id, bool is_idle) {
    struct block *block = &pool->blocks[id];
    if (is_idle) block->idle_ms = pool->ages->now_ms;
    slab_arena_set_idle(pool->arena, pool->slab_classes[block->class], block->payload, is_idle);
    set_state(pool, id, is_idle ? BLOCK_IDLE : BLOCK_SEALED);
}

void block_pool_ref(struct block_pool *pool, block_id id) {
    struct block *block = &pool->blocks[id];
    ASSERT(block->state != BLOCK_FREE);
    if (block->n_references++ > 0) return;
    tell_age(pool, BLOCK_AGE_GAP, block->idle_ms);
    set_idle(pool, id, false);
}

void block_pool_unref(struct block_pool *pool, block_id id) {
    struct block *block = &pool->blocks[id];
    ASSERT(block->n_references > 0);
    if (--block->n_references > 0) return;
    if (block->state == BLOCK_SEALED)
        set_idle(pool, id, true);
    else
        free_block(pool, id);
}

void block_pool_evict(struct block_pool *pool, block_id id) {
    ASSERT(pool->blocks[id].state == BLOCK_IDLE);
    tell_age(pool, BLOCK_AGE_LAST, pool->blocks[id].idle_ms);
    tell_age(pool, BLOCK_AGE_LIFE, pool->blocks[id].taken_ms);
    set_idle(pool, id, false);
    free_block(pool, id);
}

/* Every payload that the arena has handed out for the pool's classes is some block's. */
static bool check_payloads(const struct block_pool *pool) {
    uint64_t n_used[SLAB_MAX_CLASSES] = {0}, n_idle[SLAB_MAX_CLASSES] = {0};
    for (block_id id = 0; id < pool->n_blocks; id++) {
        const struct block *block = &pool->blocks[id];
        if (block->class >= KV_CLASS_COUNT) return false;
        bool is_staged = block->staged != PAYLOAD_NONE;
        if (block->class == KV_DEMOTED &&
            (pool->slab_classes[KV_DEMOTED] == pool->slab_classes[KV_OPEN] || block->state == BLOCK_OPEN))
            return false;
        if (is_staged && (block->state != BLOCK_OPEN || block->class == KV_OPEN)) return false;
        n_used[pool->slab_classes[KV_OPEN]] += is_staged;
        n_used[pool->slab_classes[block->class]] += block->state != BLOCK_FREE;
        n_idle[pool->slab_classes[block->class]] += block->state == BLOCK_IDLE;
    }
    for (int class = 0; class < KV_CLASS_COUNT; class ++) {
        uint32_t index = pool->slab_classes[class];
        const struct slab_class *slabs = &pool->arena->classes[index];
        if (slabs->n_used != n_used[index] || slabs->n_idle != n_idle[index]) return false;
    }
    return true;
}

bool block_pool_check(const struct block_pool *pool) {
    uint32_t n_in_state[BLOCK_STATE_COUNT] = {0};
    for (block_id id = 0; id < pool->n_blocks; id++) {
        const struct block *block = &pool->blocks[id];
        if (block->state >= BLOCK_STATE_COUNT) return false;
        n_in_state[block->state]++;
        bool is_free = block->state == BLOCK_FREE, is_idle = block->state == BLOCK_IDLE;
        bool is_keyed = block->state == BLOCK_SEALED || is_idle;
        if ((is_free || is_idle) != (block->n_references == 0)) return false;
        if (is_free != (block->payload == PAYLOAD_NONE) || is_keyed != (block->node != 0)) return false;
    }
    uint32_t n_listed = 0;
    for (block_id id = pool->first_free; id != BLOCK_NONE; id = pool->blocks[id].next_free)
        if (id >= pool->n_blocks || pool->blocks[id].state != BLOCK_FREE || ++n_listed > pool->n_blocks)
            return false;
    for (int state = 0; state < BLOCK_STATE_COUNT; state++)
        if (n_in_state[state] != pool->n_in_state[state]) return false;
    return n_listed == n_in_state[BLOCK_FREE] && check_payloads(pool);
}
