/* What the files of the façade do for each other. Not for other folders. */
#ifndef CABINET_KV_KV_PARTS_H
#define CABINET_KV_KV_PARTS_H

#include "kv/kv_state.h"

/* ---- kv_cache.c: parts of a sequence's life ---- */

bool kv_take_table(struct kv_cache *kv, struct kv_seq *seq);
void kv_give_table(struct kv_cache *kv, struct kv_seq *seq);
void kv_note(struct kv_cache *kv, const struct kv_seq *seq);
/* Makes `node` the sequence's last full block. */
void kv_move_to(struct kv_cache *kv, struct kv_seq *seq, uint32_t node);
/* References the node's block of a group from entry i of the sequence's table. */
void kv_attach(struct kv_cache *kv, const struct kv_seq *seq, unsigned group, uint32_t i, uint32_t node);
/* Gives back, at the front of window groups, what no token from n_computed on sees. */
void kv_pass_blocks(struct kv_cache *kv, const struct kv_seq *seq);
/* Drops the entries from n_left on, last block first, and goes back to the node of the last that stays. */
void kv_drop_blocks(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_left);
/* Forgets what is reserved and not computed. */
void kv_unreserve(struct kv_cache *kv, struct kv_seq *seq);
/* The ancestor of the sequence's node that is n_blocks deep. */
uint32_t kv_node_at(const struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_blocks);
/* Of the full blocks that a token at n_tokens sees, one past the last that is neither in the sequence's table
 * nor resident; 0 if there is none: then it can be cut there. */
uint32_t kv_end_of_gap(const struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_tokens);

/* ---- kv_ops.c: copies ---- */

/* Rows to copy: of the blocks of a node, or of the OPEN blocks of a table. */
struct kv_rows {
    uint32_t node;  /* or NODE_ROOT */
    uint32_t table; /* 1 + index */
    uint32_t n_slots;
};
/* Adds an op; there is room for it. `copy` is what it holds. */
void kv_add_op(struct kv_cache *kv, struct kv_op op, struct kv_copy copy);
/* Gives the sequence n_slots rows of the block behind its full ones; `tokens`, (n_slots), are theirs. False,
 * and nothing changed, if there is no room for it. */
bool kv_copy_rows(struct kv_cache *kv, struct kv_seq *seq, const struct kv_rows *rows, const int32_t *tokens);
/* Copies into blocks that are FREE now are not due any more. */
void kv_cancel_copies(struct kv_cache *kv);
/* The ops that kv_ops gave out are done. */
void kv_end_ops(struct kv_cache *kv);

/* ---- kv_match.c ---- */

/* The deepest node on the path of `tokens` that a sequence can go on from, at most max_blocks deep, beginning
 * at `node`, n_blocks deep, which it holds already. */
uint32_t kv_find_longest(const struct kv_cache *kv, uint32_t node, const int32_t *tokens, uint32_t max_blocks,
                         uint64_t salt);

/* ---- kv_idle.c: what outlives its sequence, and in what order it goes ---- */

/* One sequence more, or fewer, ends at the node. The last to leave makes a leaf IDLE. */
void kv_idle_enter(struct kv_cache *kv, uint32_t node);
void kv_idle_leave(struct kv_cache *kv, uint32_t node);
/* One reference more, or fewer, to a block; `used` is what its item is stamped with if it goes IDLE. */
void kv_idle_ref(struct kv_cache *kv, unsigned group, block_id id);
void kv_idle_unref(struct kv_cache *kv, unsigned group, block_id id, bool is_passed, uint64_t used);
/* Frees what is IDLE of an item that the policy holds; returns the bytes. */
uint64_t kv_idle_free(struct kv_cache *kv, uint32_t item);
/* Evicts what the policy says; returns the payload bytes that this frees, 0 if nothing is IDLE. */
uint64_t kv_idle_evict(struct kv_cache *kv);
/* Demotes and evicts until n[c] payloads of each slab class c can be taken. False if that does not lead
 * there: nothing evicted then, unless demotion seemed to help and did not. */
bool kv_idle_make_room(struct kv_cache *kv, const uint64_t *n);
/* What the policy would say of an IDLE block, as if no window had passed it. */
struct evict_rank kv_idle_rank(const struct kv_cache *kv, unsigned group, const struct block *block);

/* ---- kv_demote.c ---- */

int kv_demotion_open(struct kv_cache *kv);
void kv_demotion_close(struct kv_cache *kv);
/* Adds to n the payloads for which room is kept, so that the blocks of a slab can be demoted at any time. */
void kv_add_reserve(const struct kv_cache *kv, uint64_t *n);
/* What could be handed out if all IDLE blocks went and all others that can be were demoted: at most. */
struct slab_room kv_demoted_room(const struct kv_cache *kv);
/* Demotes, the coldest first, until n[c] payloads of each slab class c can be taken, or nothing is left that
 * leads there. Returns whether anything was demoted. */
bool kv_demote_for(struct kv_cache *kv, const uint64_t *n);

#endif
