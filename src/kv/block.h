/* A block: BLOCK_TOKENS consecutive slots of one KV group; the unit of allocation, sharing and transfer.
 *
 *            reserve            its last slot committed          last reference gone
 *     FREE ----------> OPEN -----------------------------> SEALED ------------------> IDLE
 *      ^                | ^                                 |  ^                       | |
 *      |   release,     | |   truncate into the block       |  |   a match, a commit   | |
 *      +--- truncate ---+ +---------------------------------+  +---- of the same ------+ |
 *      |                                                             tokens              |
 *      +----------------------------------- evicted -------------------------------------+
 *
 * OPEN    its payload is being written; some of its slots hold tokens, the rest nothing. In a group that
 *         converts, a reservation that fills it exchanges its payload for one of its final class; the one
 *         with the rows so far is staged beside it until the commit
 * SEALED  all slots hold tokens; keyed: it is the block of its group at a node of the prefix tree
 * IDLE    as SEALED, but nobody has it: kept for those to come until its memory is wanted
 * (Blocks on their way to or from a tier will add SPILLING, LOADING.)
 * An OPEN block whose tokens turn out to be resident goes FREE: its table takes the resident block.
 *
 * Who has a block: sequences, by their tables; leases (kv_pin.h); copies that are due, which have their
 * source until they are made (kv_ops). A copy's target is an OPEN block like any other.
 *
 * Invariants, checked by kv_check:
 *
 *  1 a block has one state; payloads in use sum to the slabs', slabs to the arena
 *
 *  2 a block's references are the table entries, leases and copies due that name it; FREE and IDLE ones
 *    have none
 *
 *  3 the payload of a SEALED or IDLE block is not written: no sequence's next slot, and no copy's target,
 *    lies in one. A demotion gives the block another payload, in all tables, between two forward passes
 *
 *  4 an OPEN block is in one table, or in none while it is a copy's source, never in two
 *
 *  5 every node of the tree but the root has its parent, a block in each full-attention group, and, if it has
 *    no block at all (window groups only), a child or somebody who ends at it: a sequence, a lease, a copy
 *
 *  6 IDLE <=> keyed and unreferenced. The policy holds exactly the IDLE leaves (nodes without children that
 *    nobody ends at, each with all its blocks) and the IDLE blocks of window groups; passed ones go first
 *
 *  7 tables grow and shrink at their end, and in a window group blocks leave them at the front when no later
 *    token sees them; from there a table covers its computed and reserved tokens exactly
 *
 *  8 a table's full blocks are those of the nodes from the root to the sequence's: same tokens, same parents,
 *    never the same hash alone
 *
 *  9 all nodes below one child of the root have its salt: different salts never share, and never copy
 *
 * 10 nothing is allocated between kv_open and kv_close
 *
 * 11 a lease has what a sequence that ends at its node would have; all leases together at most half the arena
 *
 * 12 in a group that demotes, a payload of the class DEMOTED is a SEALED or IDLE block's that is not its
 *    sequences' first; and there is always room to demote what one slab holds, of each such group
 *
 * All that is IDLE can be evicted: a block of full attention that nobody has has no node below that somebody
 * has, so leaf by leaf its turn comes, and window blocks are held one by one. */
#ifndef CABINET_KV_BLOCK_H
#define CABINET_KV_BLOCK_H

#include <stdint.h>

typedef uint32_t block_id;
#define BLOCK_NONE UINT32_MAX

enum block_state { BLOCK_FREE, BLOCK_OPEN, BLOCK_SEALED, BLOCK_IDLE, BLOCK_STATE_COUNT };

struct block {
    uint64_t payload; /* byte offset in the arena; PAYLOAD_NONE while FREE */
    uint64_t staged;  /* while it fills in the step under way: the OPEN payload with the rows from before */
    uint32_t n_references;
    uint32_t node;              /* of the prefix tree, while SEALED or IDLE; else 0 */
    block_id next_free;         /* while FREE */
    uint8_t state;              /* enum block_state */
    uint8_t class;              /* enum kv_class of the payload */
    uint32_t taken_ms, idle_ms; /* since when it is not FREE, and, while IDLE, since when */
};

#endif
