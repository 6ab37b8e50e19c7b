/* A sequence's map from position to block, for one group: it grows and shrinks at its end, and a window
 * group's passed blocks leave it at its front.
 *
 * Entry i covers positions [i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS), also after earlier entries have gone.
 * The payloads' names (kv_codecs.h) stand beside the block ids because that is what a step carries to the
 * kernels. */
#ifndef CABINET_KV_BLOCK_TABLE_H
#define CABINET_KV_BLOCK_TABLE_H

#include "kv/block_pool.h"

struct block_table {
    block_id *blocks;   /* entries below `first` are BLOCK_NONE */
    uint64_t *payloads; /* and here PAYLOAD_NONE */
    uint32_t first, n, capacity;
};

/* Names a block at entry i; the reference is the caller's business. BLOCK_NONE empties the entry. */
static inline uint64_t block_payload_name(const struct block *block) {
    return kv_payload_name(block->payload, block->class == KV_DEMOTED);
}
static inline void block_table_set(struct block_table *table, const struct block_pool *pool, uint32_t i,
                                   block_id id) {
    table->blocks[i] = id;
    table->payloads[i] = id == BLOCK_NONE ? PAYLOAD_NONE : block_payload_name(&pool->blocks[id]);
}

#endif
