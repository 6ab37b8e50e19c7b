/* A sequence's map from position to block, for one group: it grows and shrinks at its end, and a window
 * group's passed blocks leave it at its front.
 *
 * Entry i covers positions [i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS), also after earlier entries have gone.
 * The payload addresses stand beside the block ids because that is what a step carries to the kernels. */
#ifndef CABINET_KV_BLOCK_TABLE_H
#define CABINET_KV_BLOCK_TABLE_H

#include "kv/block_pool.h"

struct block_table {
    block_id *blocks;   /* entries below `first` are BLOCK_NONE */
    uint64_t *payloads; /* and here PAYLOAD_NONE */
    uint32_t first, n, capacity;
};

/* False, and nothing changed, if the pool has no block. The caller keeps n below capacity. */
static inline bool block_table_push(struct block_table *table, struct block_pool *pool) {
    block_id id = block_pool_take(pool);
    if (id == BLOCK_NONE) return false;
    table->blocks[table->n] = id;
    table->payloads[table->n++] = pool->blocks[id].payload;
    return true;
}

/* Drops entries from the end until n_left remain; with none left the table begins at position 0 again. */
static inline void block_table_shrink(struct block_table *table, struct block_pool *pool, uint32_t n_left) {
    while (table->n > n_left && table->n > table->first) block_pool_unref(pool, table->blocks[--table->n]);
    if (n_left == 0) table->n = table->first = 0;
}

/* Gives back the entries below `first`. */
static inline void block_table_pass(struct block_table *table, struct block_pool *pool, uint32_t first) {
    for (; table->first < first; table->first++) {
        block_pool_unref(pool, table->blocks[table->first]);
        table->blocks[table->first] = BLOCK_NONE;
        table->payloads[table->first] = PAYLOAD_NONE;
    }
}

#endif
