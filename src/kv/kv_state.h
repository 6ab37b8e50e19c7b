/* What the files of the façade share. Not for other folders. */
#ifndef CABINET_KV_KV_STATE_H
#define CABINET_KV_KV_STATE_H

#include "kv/block_table.h"
#include "kv/evict_policy.h"
#include "kv/kv_cache.h"
#include "kv/prefix_tree.h"

struct kv_cache {
    struct kv_layout layout;
    struct kv_opts opts;
    struct slab_arena arena;
    struct block_ages ages;
    struct block_pool pools[KV_MAX_GROUPS];
    struct prefix_tree tree;
    const struct evict_policy *policy;
    void *policy_state;
    uint64_t n_uses; /* what nodes and items are stamped with */
    uint32_t blocks_per_table;
    struct block_table *tables; /* (max_sequences, n_groups) */
    block_id *table_blocks;     /* the tables' storage: (max_sequences, n_groups, blocks_per_table) */
    uint64_t *table_payloads;
    struct kv_seq *noted;  /* (max_sequences) each table's sequence as it was last seen, for kv_check */
    uint32_t *free_tables; /* a stack of the indices that no sequence holds */
    uint32_t n_free_tables;
    uint32_t *counts; /* (n_counts) scratch of kv_check: as many as blocks of a group, nodes, or slabs */
    uint32_t n_counts;
};

static inline uint32_t blocks_for(uint32_t n_tokens) {
    return n_tokens / BLOCK_TOKENS + (n_tokens % BLOCK_TOKENS != 0);
}

static inline struct block_table *table_of(const struct kv_cache *kv, const struct kv_seq *seq,
                                           unsigned group) {
    return &kv->tables[(size_t)(seq->table - 1) * kv->layout.n_groups + group];
}

static inline bool is_window(const struct kv_cache *kv, unsigned group) {
    return kv->layout.groups[group].window != 0;
}

/* The first block that a token at n_tokens, and so any later one, sees. */
static inline uint32_t first_seen_block(const struct kv_cache *kv, unsigned group, uint32_t n_tokens) {
    return kv_window_begin(kv->layout.groups[group].window, n_tokens) / BLOCK_TOKENS;
}

/* The policy's items: an idle leaf, or one idle window block of a node. The leaf is the smaller number, so of
 * equally old ones it goes first, and its window blocks with it. */
static inline uint32_t leaf_item(const struct kv_cache *kv, uint32_t node) {
    return node * (1 + kv->layout.n_groups);
}
static inline uint32_t window_item(const struct kv_cache *kv, uint32_t node, unsigned group) {
    return leaf_item(kv, node) + 1 + group;
}

/* ---- kv_idle.c: what outlives its sequence, and in what order it goes ---- */

/* One sequence more, or fewer, ends at the node. The last to leave makes a leaf IDLE. */
void kv_idle_enter(struct kv_cache *kv, uint32_t node);
void kv_idle_leave(struct kv_cache *kv, uint32_t node);
/* One reference more, or fewer, to a block; `used` is what its item is stamped with if it goes IDLE. */
void kv_idle_ref(struct kv_cache *kv, unsigned group, block_id id);
void kv_idle_unref(struct kv_cache *kv, unsigned group, block_id id, bool is_passed, uint64_t used);
/* Evicts what the policy says; returns the payload bytes that this frees, 0 if nothing is IDLE. */
uint64_t kv_idle_evict(struct kv_cache *kv);
/* Evicts until n[g] payloads of each group g can be taken. False, and nothing evicted, if no eviction leads
 * there. */
bool kv_idle_make_room(struct kv_cache *kv, const uint64_t *n);

#endif
