/* A block: BLOCK_TOKENS consecutive slots of one KV group; the unit of allocation, sharing and transfer.
 *
 *            reserve            its last slot committed
 *     FREE ----------> OPEN ------------------------------> SEALED
 *      ^                |  ^                                 |  |
 *      |   release,     |  |    truncate into the block      |  |
 *      +--- truncate ---+  +---------------------------------+  |
 *      +----------------------------- last reference gone ------+
 *
 * OPEN    its payload is being written; some of its slots hold tokens, the rest nothing
 * SEALED  all slots hold tokens; the payload is not written any more
 * (Blocks that outlive their sequence, and blocks on their way to or from a tier, will add IDLE, SPILLING,
 * LOADING.)
 *
 * Invariants, checked by kv_check:
 *  1 a block has one state; payloads in use sum to the slabs', slabs to the arena
 *  2 a block's references are the table entries that name it; FREE blocks have none and no payload
 *  3 the payload of a SEALED block is not written: no sequence's next slot lies in one
 *  4 an OPEN block is in exactly one table
 *  5 tables grow and shrink at their end, and lose blocks at their front only in a window group, when no
 *    later token sees them; from there a table covers its computed and reserved tokens exactly
 *  6 nothing is allocated between kv_open and kv_close */
#ifndef CABINET_KV_BLOCK_H
#define CABINET_KV_BLOCK_H

#include <stdint.h>

typedef uint32_t block_id;
#define BLOCK_NONE UINT32_MAX

enum block_state { BLOCK_FREE, BLOCK_OPEN, BLOCK_SEALED, BLOCK_STATE_COUNT };

struct block {
    uint64_t payload; /* byte offset in the arena; PAYLOAD_NONE while FREE */
    uint32_t n_references;
    block_id next_free; /* while FREE */
    uint8_t state;      /* enum block_state */
};

#endif
