/* A sequence's map from position to block, for one group: it grows and shrinks only at its end.
 *
 * Entry i covers positions [i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS). The payload addresses stand beside the
 * block ids because that is what a step carries to the kernels. */
#ifndef CABINET_KV_BLOCK_TABLE_H
#define CABINET_KV_BLOCK_TABLE_H

#include "kv/block_pool.h"

struct block_table {
    block_id *blocks;
    uint64_t *payloads;
    uint32_t n, capacity;
};

/* False, and nothing changed, if the pool has no block. The caller keeps n below capacity. */
static inline bool block_table_push(struct block_table *table, struct block_pool *pool) {
    block_id id = block_pool_take(pool);
    if (id == BLOCK_NONE) return false;
    table->blocks[table->n] = id;
    table->payloads[table->n++] = pool->blocks[id].payload;
    return true;
}

/* Drops entries from the end until n_left remain. */
static inline void block_table_shrink(struct block_table *table, struct block_pool *pool, uint32_t n_left) {
    while (table->n > n_left) block_pool_unref(pool, table->blocks[--table->n]);
}

#endif
