/* What the files of the façade share. Not for other folders. */
#ifndef CABINET_KV_KV_STATE_H
#define CABINET_KV_KV_STATE_H

#include "kv/block_table.h"
#include "kv/evict_policy.h"
#include "kv/kv_pin.h"
#include "kv/prefix_tree.h"

/* Property tests build with fewer, so that they run out. */
#ifndef KV_MAX_LEASES
#define KV_MAX_LEASES 64
#endif
/* Children of a node that a match compares with, and that it looks at, some of which have other salts. */
enum { KV_COMPARED_CHILDREN = 16, KV_SEEN_CHILDREN = 256 };

/* Keeps the blocks that a sequence which ends at the node would have. */
struct kv_lease {
    uint32_t node; /* NODE_ROOT: not in use */
    uint64_t until_us;
};

/* What a copy holds until it is made: its source has a reference, and the node whose block that is, if it is
 * SEALED, counts as if a sequence ended there. */
struct kv_copy {
    block_id source, target;
    uint32_t node;
};

/* A slab of which some blocks can be demoted, as the latest look saw it. */
struct kv_heat {
    struct evict_rank rank; /* of the one that should be demoted last */
    uint32_t n;             /* how many */
    block_id first;         /* of them; linked by next_in_slab */
};

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
    int32_t *open_tokens;        /* (max_sequences, BLOCK_TOKENS) those computed of each table's OPEN block */
    struct kv_op *ops;           /* copies and demotions due, and */
    struct kv_copy *copies;      /* what they hold; a demotion nothing */
    uint32_t n_ops, n_ops_given; /* given out by kv_ops */
    uint32_t n_copies_due, max_copies;     /* of the ops, the copies */
    bool demotes;                          /* some group does; only then: */
    struct kv_heat *heats;                 /* (n_slabs) */
    block_id *next_in_slab[KV_MAX_GROUPS]; /* (n_blocks) */
    uint32_t *longest[KV_MAX_GROUPS]; /* (n_blocks) computed tokens of the longest sequence that has it */
    struct kv_lease leases[KV_MAX_LEASES];
    uint32_t n_leases;
    uint64_t leased_bytes, now_us;
    double ns_per_token, ns_per_key; /* to compute again */
    uint64_t asked_tokens, hit_tokens, copied_tokens, n_copies, n_evictions, n_demotions, demoted_bytes;
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

#endif
