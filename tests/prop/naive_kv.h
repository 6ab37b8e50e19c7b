/* The deliberately naive cache that test_kv_property.c compares with: a list of all prefixes that are cached,
 * for every byte of the arena the block that owns it, and for every slot what was stored there. */
#ifndef CABINET_TESTS_PROP_NAIVE_KV_H
#define CABINET_TESTS_PROP_NAIVE_KV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kv/kv_list.h"
#include "kv/kv_pin.h"

_Static_assert(BLOCK_TOKENS == 3 && BLOCK_KEY_BITS == 4 && KV_MAX_LEASES == 3,
               "this program is to be built with tiny blocks and keys, and few leases");

enum {
    N_GROUPS = 2,
    N_CLASSES = 2 * N_GROUPS, /* of payloads: a group's, and behind them, the same group's demoted ones */
    MAX_SLABS = 7,
    MAX_SEQUENCES = 5,
    MAX_TOKENS = 40,
    MAX_BLOCKS = MAX_TOKENS / BLOCK_TOKENS + 1,
    MAX_ARENA_BYTES = 4096,
    MAX_PREFIXES = 1024,
    N_TEXTS = 3,
    N_SALTS = 2,
    OPERATIONS_PER_CACHE = 500,
    MAX_WINDOW = 12,
    MAX_STEP = 8,
    FAR = (MAX_WINDOW + MAX_STEP) / BLOCK_TOKENS + 4, /* blocks; a window group never holds more */
    NOBODY = 0,
    COMPARED_CHILDREN = 16,
    MAX_COPIES = 2 * MAX_SEQUENCES * N_GROUPS,
    N_PRIORITIES = 3,
};

#define NONE UINT64_MAX

/* What is known of a block, kept at its payload's first byte. */
struct naive_block {
    bool is_used;
    unsigned group;
    bool is_demoted;
    uint32_t n_holders; /* table entries, leases, and copies from it that are due */
    uint32_t n_leases;  /* of them */
    bool is_keyed;
    /* While nobody has it: whether the last to have it had gone on, when that was, and what was known then.
     */
    bool is_passed;
    uint64_t used;
    uint32_t n_hits, priority;
};

struct naive_prefix {
    bool is_used;
    uint64_t salt;
    uint32_t n_blocks;
    int32_t tokens[MAX_TOKENS];
    uint64_t payloads[N_GROUPS]; /* of its last block, or NONE */
    uint64_t used, touched;      /* when nobody had it any more, and when it was last found or computed */
    uint32_t n_hits, priority;
    uint64_t created_us, used_us;
};

/* Rows that are to be copied before the next commit. */
struct naive_copy {
    unsigned group;
    uint32_t n_slots;
    uint64_t source, target;
    bool is_of_prefix; /* else of a block that was not full */
    uint64_t salt;
    uint32_t n_blocks; /* that prefix */
    int32_t tokens[MAX_TOKENS];
};

struct naive_lease {
    bool is_used;
    uint64_t salt, until_us;
    uint32_t n_blocks;
    int32_t tokens[MAX_TOKENS];
};

struct naive_sequence {
    struct kv_seq kv;     /* what the cache under test is given */
    struct kv_seq before; /* a copy of it */
    bool has_tables;
    uint64_t salt;
    uint32_t n_computed, n_reserved, n_blocks;
    uint32_t n_passed[N_GROUPS]; /* blocks at the front that are gone */
    uint64_t payloads[N_GROUPS][MAX_BLOCKS];
    int32_t tokens[MAX_TOKENS]; /* what is stored, (n_computed), and what will be */
    uint32_t n_asked, n_found;  /* until a commit */
};

struct world {
    struct kv_cache *cache;
    struct kv_layout layout;
    struct kv_opts opts;
    bool demotes[N_GROUPS];
    uint32_t class_bytes[N_CLASSES], window[N_GROUPS], slab_bytes, n_slabs, max_prefixes;
    uint32_t most_held[N_GROUPS][FAR + 1];              /* blocks of a sequence of so many blocks, at worst */
    struct naive_sequence sequences[MAX_SEQUENCES + 1]; /* one more than the cache has tables for */
    struct naive_prefix prefixes[MAX_PREFIXES];
    struct naive_block blocks[MAX_ARENA_BYTES]; /* at the payload's offset */
    uint16_t owner[MAX_ARENA_BYTES];   /* 1 + payload of the block that the byte belongs to, or NOBODY */
    uint64_t content[MAX_ARENA_BYTES]; /* at payload + slot: what is stored there */
    int32_t texts[N_TEXTS][MAX_TOKENS];
    struct naive_copy copies[MAX_COPIES];
    uint32_t n_copies, n_reencodings; /* that are due */
    struct naive_lease leases[KV_MAX_LEASES];
    bool is_by_hits; /* evicts those least often hit, else those longest unused */
    uint64_t now_us, n_touches;
    uint64_t asked_tokens, hit_tokens, copied_tokens, n_copies_made, n_evictions, n_demotions, demoted_bytes;
    uint64_t n_allocations, seed, number, operation, n_uses;
};

extern struct world world;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("seed %llu, cache %llu, operation %llu, line %d: %s", (unsigned long long)world.seed,   \
                     (unsigned long long)world.number, (unsigned long long)world.operation, __LINE__,        \
                     #condition);                                                                            \
    } while (0)

static inline uint32_t blocks_of(uint32_t n_tokens) { return (n_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS; }

/* Whether a token at `position` or any later one sees a slot of block b: its last one is passed last. */
bool naive_is_seen(unsigned group, uint32_t position, uint32_t b);
bool naive_is_idle(const struct naive_block *block);
static inline unsigned naive_class(const struct naive_block *block) {
    return block->group + (block->is_demoted ? N_GROUPS : 0);
}
static inline uint32_t naive_bytes(const struct naive_block *block) {
    return world.class_bytes[naive_class(block)];
}
/* How many slabs are free, and how many payloads of each class fit into the others. */
uint32_t naive_free_slabs(bool with_idle, uint32_t room[N_CLASSES]);
/* Whether n[c] more payloads of each class c find room. */
bool naive_can_take(uint32_t n_free, const uint32_t room[N_CLASSES], const uint32_t n[N_CLASSES]);
/* Adds what is always kept free: to demote what a slab holds. */
void naive_add_reserve(uint32_t n[N_CLASSES]);
/* Makes room as the cache should: demotes, coldest slab first, then evicts, and so on. False if that does not
 * lead there, and nothing changed if that could be seen beforehand. */
bool naive_make_room(const uint32_t n[N_CLASSES]);
/* As much as is wanted of what a demotion frees. Returns the bytes. */
uint64_t naive_demote(uint64_t bytes);
/* What is free if everything goes that is idle and everything else is demoted that can be. */
uint32_t naive_free_when_demoted(uint32_t room[N_CLASSES]);
/* Blocks that a sequence holds at worst while it grows to n_tokens, step_tokens at a time. */
uint32_t naive_most_held(unsigned group, uint32_t n_tokens);
uint32_t naive_most_tokens(uint32_t n_free, const uint32_t room[N_CLASSES], bool is_demoted);
struct naive_prefix *naive_find_prefix(uint64_t salt, const int32_t *tokens, uint32_t n_blocks);
struct naive_prefix *naive_prefix_of(const struct naive_sequence *s, uint32_t n_blocks);
/* Nothing longer is cached, and no sequence's full blocks end there. */
bool naive_is_leaf(const struct naive_prefix *prefix);
/* Forgets prefixes that have no block left and hold nothing together. */
void naive_clean(void);
/* Whether the prefix begins with these blocks. */
bool naive_begins_with(const struct naive_prefix *prefix, uint64_t salt, const int32_t *tokens,
                       uint32_t n_blocks);
/* It was found in the cache, or computed. */
void naive_touch(struct naive_prefix *prefix);
struct naive_prefix *naive_add_prefix(uint64_t salt, const int32_t *tokens, uint32_t n_blocks);
uint32_t naive_count_prefixes(void);
void naive_own_block(unsigned group, uint64_t payload);
/* A table entry less, or a lease, or a copy that was due. `prefix` is whose block it is, or NULL. */
void naive_leave_block(const struct naive_prefix *prefix, uint64_t payload, bool is_passed, uint64_t used);
/* What goes first: the lowest priority, of that passed window blocks, then leaves with all that they have and
 * single window blocks, those used longest ago, or least often hit, first, of one time the leaf. *part is 0
 * for a leaf, else 1 + group. NULL if nothing is idle. */
struct naive_prefix *naive_find_victim(unsigned *part);
/* Frees what is idle of a victim; returns the bytes. */
uint64_t naive_free(struct naive_prefix *victim, unsigned part);
/* Bytes freed; 0 if nothing is idle. */
uint64_t naive_evict_one(void);
/* Gives up the source of copy i, which is not due any more or made. */
void naive_end_copy(uint32_t i);
/* What a slot holds, or will when the copies that are due are made. */
uint64_t naive_content(uint64_t payload, uint32_t slot);

#endif
