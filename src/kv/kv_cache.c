#include "kv/kv_cache.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/evict_list.h"
#include "kv/kv_parts.h"
#include "kv/kv_usage.h"

/* Most that can be due at once: each block that was full at the last commit. */
static uint64_t count_demotions(const struct kv_cache *kv) {
    uint64_t n = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (kv->layout.groups[g].demotes)
            n += slab_arena_capacity(&kv->arena, kv->pools[g].slab_classes[KV_OPEN]);
    return n;
}

static int open_tables(struct kv_cache *kv) {
    size_t n_sequences = kv->opts.max_sequences, n_tables = n_sequences * kv->layout.n_groups;
    kv->blocks_per_table = blocks_for(kv->opts.max_tokens);
    kv->tables = mem_alloc(n_tables, sizeof *kv->tables);
    kv->table_blocks = mem_alloc(n_tables * kv->blocks_per_table, sizeof *kv->table_blocks);
    kv->table_payloads = mem_alloc(n_tables * kv->blocks_per_table, sizeof *kv->table_payloads);
    kv->noted = mem_alloc(n_sequences, sizeof *kv->noted);
    kv->free_tables = mem_alloc(n_sequences, sizeof *kv->free_tables);
    kv->open_tokens = mem_alloc(n_sequences * BLOCK_TOKENS, sizeof *kv->open_tokens);
    kv->max_copies = (uint32_t)(2 * n_tables); /* what a sequence gives up again is not due any more */
    uint64_t max_ops = kv->max_copies + count_demotions(kv);
    kv->ops = mem_alloc(max_ops, sizeof *kv->ops);
    kv->copies = mem_alloc(max_ops, sizeof *kv->copies);
    if (!kv->open_tokens || !kv->ops || !kv->copies) return ERR_NO_MEMORY;
    if (!kv->tables || !kv->table_blocks || !kv->table_payloads || !kv->noted || !kv->free_tables)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n_tables; i++)
        kv->tables[i] = (struct block_table){
            .blocks = kv->table_blocks + i * kv->blocks_per_table,
            .payloads = kv->table_payloads + i * kv->blocks_per_table,
            .capacity = kv->blocks_per_table,
        };
    kv->n_free_tables = kv->opts.max_sequences;
    for (uint32_t i = 0; i < kv->n_free_tables; i++) kv->free_tables[i] = kv->n_free_tables - 1 - i;
    return 0;
}

/* As many nodes as can ever be needed. With full attention each node has a block there. Without, a node lives
 * on for those below it when its window blocks have gone, so running sequences and leases may need one a
 * block. */
static uint64_t count_nodes(const struct kv_cache *kv) {
    uint64_t n_fewest = UINT64_MAX, n_paths = (uint64_t)kv->opts.max_sequences + KV_MAX_LEASES;
    uint64_t n_all = n_paths * kv->blocks_per_table;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        uint64_t n = kv->pools[g].n_blocks;
        n_all += n;
        if (!is_window(kv, g) && n < n_fewest) n_fewest = n;
    }
    return n_fewest < UINT64_MAX ? n_fewest : n_all;
}

static int open_tree(struct kv_cache *kv) {
    uint64_t n_nodes = count_nodes(kv);
    TRY(prefix_tree_open(&kv->tree, &kv->layout, n_nodes < UINT32_MAX ? (uint32_t)n_nodes : UINT32_MAX));
    kv->policy = kv->opts.retain != NULL ? kv->opts.retain : &evict_lru;
    TRY(kv->policy->create(&kv->policy_state, kv->tree.n_nodes * (1 + kv->layout.n_groups)));
    kv->n_counts = kv->tree.n_nodes > kv->arena.n_slabs ? kv->tree.n_nodes : kv->arena.n_slabs;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (kv->pools[g].n_blocks > kv->n_counts) kv->n_counts = kv->pools[g].n_blocks;
    kv->counts = mem_alloc(kv->n_counts, sizeof *kv->counts);
    return kv->counts != NULL ? 0 : ERR_NO_MEMORY;
}

/* A group's payload classes have slabs of their own, or, if no block changes its class, one for all. */
static int open_pools(struct kv_cache *kv) {
    size_t payload_bytes[SLAB_MAX_CLASSES];
    uint32_t n = 0, slab_classes[KV_MAX_GROUPS][KV_CLASS_COUNT];
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const struct kv_group *group = &kv->layout.groups[g];
        for (int class = 0; class < KV_CLASS_COUNT; class ++) {
            bool is_own = class == KV_OPEN || (class == KV_DEMOTED ? group->demotes : group->converts);
            if (is_own) payload_bytes[n++] = group->class_bytes[class];
            slab_classes[g][class] = n - 1;
        }
    }
    TRY(slab_arena_open(&kv->arena, kv->opts.memory_bytes, payload_bytes, n, kv->demotes));
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        TRY(block_pool_open(&kv->pools[g], &kv->arena, &kv->ages, slab_classes[g]));
    return 0;
}

static int open_parts(struct kv_cache *kv) {
    TRY(open_pools(kv));
    TRY(open_tables(kv));
    TRY(kv_demotion_open(kv));
    return open_tree(kv);
}

int kv_open(struct kv_cache **out, const struct kv_layout *layout, const struct kv_opts *opts) {
    bool has_layers = layout->n_groups > 0;
    for (unsigned g = 0; g < layout->n_groups; g++) has_layers &= layout->groups[g].block_bytes > 0;
    if (opts->max_sequences == 0 || opts->max_tokens == 0 || !has_layers)
        return ERR(INVALID, "a KV cache needs at least one layer a group, one sequence and one token");
    struct kv_cache *kv = mem_alloc(1, sizeof *kv);
    if (kv == NULL) return ERR_NO_MEMORY;
    kv->layout = *layout;
    kv->opts = *opts;
    kv->demotes = kv_layout_demotes(layout);
    int result = open_parts(kv);
    if (result < 0) {
        kv_close(kv);
        return result;
    }
    *out = kv;
    return 0;
}

void kv_close(struct kv_cache *kv) {
    if (kv == NULL) return;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) block_pool_close(&kv->pools[g]);
    slab_arena_close(&kv->arena);
    prefix_tree_close(&kv->tree);
    kv_demotion_close(kv);
    if (kv->policy != NULL) kv->policy->destroy(kv->policy_state);
    mem_free(kv->counts);
    mem_free(kv->tables);
    mem_free(kv->table_blocks);
    mem_free(kv->table_payloads);
    mem_free(kv->noted);
    mem_free(kv->free_tables);
    mem_free(kv->open_tokens);
    mem_free(kv->ops);
    mem_free(kv->copies);
    mem_free(kv);
}

/* ---- sequences ---- */

void kv_note(struct kv_cache *kv, const struct kv_seq *seq) { kv->noted[seq->table - 1] = *seq; }

bool kv_take_table(struct kv_cache *kv, struct kv_seq *seq) {
    if (kv->n_free_tables == 0) return false;
    seq->table = kv->free_tables[--kv->n_free_tables] + 1;
    return true;
}

void kv_give_table(struct kv_cache *kv, struct kv_seq *seq) {
    kv->noted[seq->table - 1] = (struct kv_seq){0};
    kv->free_tables[kv->n_free_tables++] = seq->table - 1;
    seq->table = 0;
}

static int refuse(const struct kv_cache *kv, uint64_t n_tokens) {
    struct kv_usage usage = kv_usage(kv);
    return ERR(FULL,
               "KV memory exhausted: %" PRIu64 " tokens take %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64
               " bytes are held (raise --kv-memory or shorten the context)",
               n_tokens, kv_least_bytes_for(&kv->layout, (uint32_t)n_tokens, kv->opts.step_tokens),
               usage.held_bytes, usage.arena_bytes);
}

/* Whether entry i of the table, which may be its last or beyond, wants another payload so that the first
 * n_tokens have slots. */
static bool wants_payload(const struct kv_cache *kv, const struct block_table *table, unsigned group,
                          uint32_t i, uint32_t n_tokens) {
    if (i >= table->n) return true;
    if (i < table->first) return false;
    const struct block *block = &kv->pools[group].blocks[table->blocks[i]];
    return block->class != KV_DEMOTED && block->class != kv_class_at(&kv->layout.groups[group], i, n_tokens);
}

/* Extends every group's table so that the first n_tokens have slots, evicting what must go, or leaves all as
 * they were. A block that this fills gets its final payload now. */
static bool extend_tables(struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_tokens) {
    uint64_t n_new[SLAB_MAX_CLASSES] = {0};
    uint32_t n_blocks = blocks_for(n_tokens);
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const struct block_table *table = table_of(kv, seq, g);
        for (uint32_t i = table->n > 0 ? table->n - 1 : 0; i < n_blocks; i++) {
            enum kv_class class = kv_class_at(&kv->layout.groups[g], i, n_tokens);
            n_new[kv->pools[g].slab_classes[class]] += wants_payload(kv, table, g, i, n_tokens);
        }
    }
    if (!kv_idle_make_room(kv, n_new)) return false;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        for (uint32_t i = table->n > 0 ? table->n - 1 : 0; i < n_blocks; i++) {
            if (!wants_payload(kv, table, g, i, n_tokens)) continue;
            enum kv_class class = kv_class_at(&kv->layout.groups[g], i, n_tokens);
            block_id id = i < table->n ? table->blocks[i] : block_pool_take(&kv->pools[g], class);
            ASSERT(id != BLOCK_NONE);
            if (i < table->n) block_pool_convert(&kv->pools[g], id, class);
            if (i >= table->n) table->n = i + 1;
            block_table_set(table, &kv->pools[g], i, id);
        }
    }
    return true;
}

int kv_reserve(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_new) {
    uint64_t n_tokens = (uint64_t)seq->n_computed + n_new;
    if (n_tokens > kv->opts.max_tokens)
        return ERR(TOO_LARGE, "%" PRIu64 " tokens are more than the context of %" PRIu32, n_tokens,
                   kv->opts.max_tokens);
    bool is_fresh = seq->table == 0;
    if (is_fresh && !kv_take_table(kv, seq))
        return ERR(FULL, "all %" PRIu32 " sequences of the KV cache are in use", kv->opts.max_sequences);
    bool is_more = n_tokens > seq->n_reserved;
    if (is_more && !extend_tables(kv, seq, (uint32_t)n_tokens)) {
        if (is_fresh) kv_give_table(kv, seq);
        return refuse(kv, n_tokens);
    }
    if (is_more) seq->n_reserved = (uint32_t)n_tokens;
    kv_note(kv, seq);
    return 0;
}

void kv_move_to(struct kv_cache *kv, struct kv_seq *seq, uint32_t node) {
    kv_idle_enter(kv, node); /* first, so that it never has nobody */
    kv_idle_leave(kv, seq->node);
    seq->node = node;
}

void kv_attach(struct kv_cache *kv, const struct kv_seq *seq, unsigned group, uint32_t i, uint32_t node) {
    block_id id = kv->tree.nodes[node].blocks[group];
    ASSERT(id != BLOCK_NONE);
    kv_idle_ref(kv, group, id);
    block_table_set(table_of(kv, seq, group), &kv->pools[group], i, id);
}

/* Entry i is full: it becomes the node's block, or is exchanged for the one that the node has. */
static void seal(struct kv_cache *kv, struct kv_seq *seq, uint32_t i, const int32_t *tokens) {
    struct prefix_tree *tree = &kv->tree;
    struct block_key key = prefix_tree_key(tree, seq->node, seq->salt, tokens);
    uint32_t node = prefix_tree_find(tree, key, seq->node, seq->salt, tokens);
    while (node == NODE_ROOT) {
        node = prefix_tree_add(tree, key, seq->node, seq->salt, tokens);
        if (node != NODE_ROOT) tree->nodes[node].created_us = kv->now_us;
        if (node == NODE_ROOT && kv_idle_evict(kv) == 0) UNREACHABLE("running sequences need fewer nodes");
    }
    kv_move_to(kv, seq, node);
    prefix_tree_touch(tree, node);
    tree->nodes[node].used_us = kv->now_us;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        block_id *resident = &tree->nodes[node].blocks[g], own = table_of(kv, seq, g)->blocks[i];
        if (*resident == BLOCK_NONE) {
            *resident = own;
            block_pool_seal(&kv->pools[g], own, node);
        } else {
            kv_attach(kv, seq, g, i, node);
            block_pool_unref(&kv->pools[g], own);
        }
    }
}

void kv_pass_blocks(struct kv_cache *kv, const struct kv_seq *seq) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        for (uint32_t end = first_seen_block(kv, g, seq->n_computed); table->first < end; table->first++) {
            kv_idle_unref(kv, g, table->blocks[table->first], true, ++kv->n_uses);
            block_table_set(table, &kv->pools[g], table->first, BLOCK_NONE);
        }
    }
}

/* Others may want rows of a block that is not full, if they are of the same tokens. */
static void keep_open_tokens(struct kv_cache *kv, const struct kv_seq *seq, const int32_t *tokens) {
    memcpy(kv->open_tokens + (size_t)(seq->table - 1) * BLOCK_TOKENS, tokens,
           seq->n_computed % BLOCK_TOKENS * sizeof *tokens);
}

void kv_commit(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n_done) {
    uint32_t n_reserved = seq->n_reserved - seq->n_computed;
    ASSERT(seq->table != 0 && n_done <= n_reserved);
    ASSERT(n_done == n_reserved || kv_layout_is_row(&kv->layout));
    kv_end_ops(kv);
    kv->asked_tokens += seq->n_asked;
    kv->hit_tokens += seq->n_found;
    seq->n_asked = seq->n_found = 0;
    uint32_t first_full = seq->n_computed / BLOCK_TOKENS;
    seq->n_computed += n_done;
    for (uint32_t i = first_full; i < seq->n_computed / BLOCK_TOKENS; i++)
        seal(kv, seq, i, tokens + (size_t)i * BLOCK_TOKENS);
    keep_open_tokens(kv, seq, tokens + seq->n_computed / BLOCK_TOKENS * BLOCK_TOKENS);
    kv_pass_blocks(kv, seq);
    kv_note(kv, seq);
}

void kv_drop_blocks(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_left) {
    uint32_t node = seq->node, n_full = seq->n_computed / BLOCK_TOKENS;
    for (uint32_t i = table_of(kv, seq, 0)->n; i-- > n_left;) {
        uint64_t used = ++kv->n_uses;
        for (unsigned g = 0; g < kv->layout.n_groups; g++) {
            struct block_table *table = table_of(kv, seq, g);
            if (i >= table->first) kv_idle_unref(kv, g, table->blocks[i], false, used);
        }
        if (i >= n_full) continue;
        kv->tree.nodes[node].used = used;
        kv->tree.nodes[node].used_us = kv->now_us;
        node = kv->tree.nodes[node].parent;
    }
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        if (table->n > n_left) table->n = n_left;
        if (table->first > table->n) table->first = table->n;
    }
    if (node != seq->node) kv_move_to(kv, seq, node);
    kv_cancel_copies(kv);
}

/* ---- truncation ---- */

/* Whether the sequence's last full block can be cut: nobody else has it, nothing follows it, no group has
 * passed it, and it is still rows. */
static bool can_reopen(const struct kv_cache *kv, const struct kv_seq *seq) {
    const struct prefix_node *node = &kv->tree.nodes[seq->node];
    if (!kv_layout_is_row(&kv->layout)) return false;
    if (node->n_sequences != 1 || node->first_child != NODE_ROOT) return false;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        if (table_of(kv, seq, g)->first >= seq->n_computed / BLOCK_TOKENS) return false;
        if (kv->pools[g].blocks[node->blocks[g]].class == KV_DEMOTED) return false;
    }
    return true;
}

/* Takes the key from the last full block; it is OPEN again. */
static void reopen(struct kv_cache *kv, struct kv_seq *seq) {
    uint32_t node = seq->node, last = seq->n_computed / BLOCK_TOKENS - 1;
    memcpy(kv->open_tokens + (size_t)(seq->table - 1) * BLOCK_TOKENS, kv->tree.nodes[node].tokens,
           sizeof kv->tree.nodes[node].tokens);
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        kv->tree.nodes[node].blocks[g] = BLOCK_NONE;
        block_pool_reopen(&kv->pools[g], table_of(kv, seq, g)->blocks[last]);
    }
    kv_move_to(kv, seq, kv->tree.nodes[node].parent); /* without blocks and children it goes */
}

uint32_t kv_node_at(const struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_blocks) {
    uint32_t node = seq->node;
    for (uint32_t depth = seq->n_computed / BLOCK_TOKENS; depth > n_blocks; depth--)
        node = kv->tree.nodes[node].parent;
    return node;
}

uint32_t kv_end_of_gap(const struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_tokens) {
    uint32_t end = 0, n_blocks = n_tokens / BLOCK_TOKENS, above = kv_node_at(kv, seq, n_blocks);
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        uint32_t first = first_seen_block(kv, g, n_tokens), node = above;
        for (uint32_t i = n_blocks; i-- > first; node = kv->tree.nodes[node].parent) {
            if (i >= table_of(kv, seq, g)->first || kv->tree.nodes[node].blocks[g] != BLOCK_NONE) continue;
            if (i + 1 > end) end = i + 1;
            break;
        }
    }
    return end;
}

/* The most of n_tokens that can be kept. */
static uint32_t cut_at(const struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_tokens) {
    uint32_t n_full = seq->n_computed / BLOCK_TOKENS, n_blocks = n_tokens / BLOCK_TOKENS;
    bool is_exact =
        n_tokens % BLOCK_TOKENS == 0 || n_blocks == n_full || (n_blocks + 1 == n_full && can_reopen(kv, seq));
    if (!is_exact) n_tokens = n_blocks * BLOCK_TOKENS;
    /* Where a block of a window is missing, so it is for all cuts down to that block. */
    for (uint32_t end; (end = kv_end_of_gap(kv, seq, n_tokens)) > 0;) n_tokens = (end - 1) * BLOCK_TOKENS;
    return n_tokens;
}

/* Takes back passed blocks that the token at n_computed sees. */
static void regain_blocks(struct kv_cache *kv, const struct kv_seq *seq) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        uint32_t first = first_seen_block(kv, g, seq->n_computed);
        if (first >= table->first) continue;
        uint32_t node = kv_node_at(kv, seq, table->first);
        for (uint32_t i = table->first; i-- > first; node = kv->tree.nodes[node].parent)
            kv_attach(kv, seq, g, i, node);
        table->first = first;
    }
}

/* The last block may have got its final payload for a reservation that is gone now. */
static void revert_last(struct kv_cache *kv, const struct kv_seq *seq) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        block_id last = table->n > table->first ? table->blocks[table->n - 1] : BLOCK_NONE;
        if (last == BLOCK_NONE || kv->pools[g].blocks[last].staged == PAYLOAD_NONE) continue;
        block_pool_revert(&kv->pools[g], last);
        block_table_set(table, &kv->pools[g], table->n - 1, last);
    }
}

void kv_unreserve(struct kv_cache *kv, struct kv_seq *seq) {
    kv_drop_blocks(kv, seq, blocks_for(seq->n_computed));
    revert_last(kv, seq);
    seq->n_reserved = seq->n_computed;
    kv_note(kv, seq);
}

uint32_t kv_truncate(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_tokens) {
    if (seq->table == 0) return 0;
    n_tokens = cut_at(kv, seq, n_tokens < seq->n_computed ? n_tokens : seq->n_computed);
    kv_drop_blocks(kv, seq, blocks_for(n_tokens));
    if (seq->n_computed / BLOCK_TOKENS > n_tokens / BLOCK_TOKENS && n_tokens % BLOCK_TOKENS != 0)
        reopen(kv, seq);
    revert_last(kv, seq);
    seq->n_computed = seq->n_reserved = n_tokens;
    regain_blocks(kv, seq);
    kv_note(kv, seq);
    return n_tokens;
}

void kv_release(struct kv_cache *kv, struct kv_seq *seq) {
    if (seq->table != 0) {
        kv_drop_blocks(kv, seq, 0);
        kv_give_table(kv, seq);
    }
    *seq = (struct kv_seq){0};
}
