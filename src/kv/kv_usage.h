/* What the cache holds, in figures: of all, of a group, of a sequence. */
#ifndef CABINET_KV_KV_USAGE_H
#define CABINET_KV_KV_USAGE_H

#include "kv/kv_cache.h"

struct kv_usage {
    uint64_t arena_bytes; /* what the cache may use */
    uint64_t held_bytes;  /* payloads of blocks that sequences have, shared ones once */
    uint64_t idle_bytes;  /* payloads of blocks that nobody has: free as soon as they are wanted */
    uint64_t waste_bytes; /* what the slabs in use leave unused (fragmentation) */
    /* Longest sequence that what is free or IDLE, or the whole arena, could hold, in whole blocks; UINT32_MAX
     * if windows end its growth before memory does; with all demoted that can be, and the arena's without. */
    uint64_t free_tokens, capacity_tokens, undemoted_tokens;
    uint32_t n_open, n_sealed, n_idle; /* blocks */
    uint64_t leased_bytes;             /* payloads that leases hold, part of held_bytes */
    uint32_t n_leases;
    /* Since kv_open: tokens that matches found, copied ones included, and that they asked for in vain; tokens
     * copied, in so many copies (one a group); blocks evicted; blocks demoted, and the bytes that this freed.
     */
    uint64_t hit_tokens, miss_tokens, copied_tokens, n_copies, n_evictions, n_demotions, demoted_bytes;
};

/* What a sequence has together with others. */
struct kv_sharing {
    uint32_t n_blocks;
    uint64_t bytes;
};

/* Blocks that a sequence holds, all groups, and the bytes of their payloads. */
uint32_t kv_n_blocks(const struct kv_cache *kv, const struct kv_seq *seq);
uint32_t kv_group_n_blocks(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group);
uint64_t kv_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq);
uint64_t kv_group_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group);
/* Those of them that other sequences have too. Walks the tables. */
struct kv_sharing kv_shared(const struct kv_cache *kv, const struct kv_seq *seq);
/* Most bytes that one sequence of n_tokens takes, all groups, while it grows by up to n_step at once. */
uint64_t kv_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step);
/* The same when all that can be is demoted. */
uint64_t kv_least_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step);
struct kv_usage kv_usage(const struct kv_cache *kv);
/* One group's blocks by state. */
struct kv_group_usage {
    uint32_t n_free, n_open, n_sealed, n_idle;
};
struct kv_group_usage kv_group_usage(const struct kv_cache *kv, unsigned group);
/* Whether n_blocks[g] more blocks of each group g, together, find room in what is free or IDLE. */
bool kv_has_room(const struct kv_cache *kv, const uint64_t *n_blocks);

#endif
