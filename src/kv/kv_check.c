/* kv_check: the invariants at the head of block.h, by walking everything. */
#include <string.h>

#include "kv/kv_parts.h"

static uint32_t *clear_counts(const struct kv_cache *kv) {
    memset(kv->counts, 0, kv->n_counts * sizeof *kv->counts);
    return kv->counts;
}

/* Invariants 3, 4, 7 and 8 for one table. */
static bool check_table(const struct kv_cache *kv, size_t sequence, unsigned group) {
    const struct block_table *table = &kv->tables[sequence * kv->layout.n_groups + group];
    const struct kv_seq *seq = &kv->noted[sequence];
    if (seq->n_computed > seq->n_reserved || table->n != blocks_for(seq->n_reserved)) return false;
    if (table->first != first_seen_block(kv, group, seq->n_computed)) return false;
    uint32_t node = seq->node, n_full = seq->n_computed / BLOCK_TOKENS;
    for (uint32_t i = table->n; i-- > 0;) {
        bool is_full = i < n_full;
        if (is_full && (node == NODE_ROOT || kv->tree.nodes[node].salt != seq->salt)) return false;
        if (i < table->first) {
            if (table->blocks[i] != BLOCK_NONE || table->payloads[i] != PAYLOAD_NONE) return false;
        } else {
            const struct block *block = &kv->pools[group].blocks[table->blocks[i]];
            if (block->state != (is_full ? BLOCK_SEALED : BLOCK_OPEN)) return false;
            if (block_payload_name(block) != table->payloads[i] || block->node != (is_full ? node : 0))
                return false;
            bool is_demoted =
                block->class == KV_DEMOTED && kv->layout.groups[group].demotes && is_full && i > 0;
            if (!is_demoted && block->class != kv_class_at(&kv->layout.groups[group], i, seq->n_reserved))
                return false;
            bool has_rows = !is_full && i == n_full && seq->n_computed % BLOCK_TOKENS != 0;
            if ((block->staged != PAYLOAD_NONE) != (has_rows && block->class != KV_OPEN)) return false;
        }
        if (is_full) node = kv->tree.nodes[node].parent;
    }
    return node == NODE_ROOT;
}

/* Invariant 11: leases hold what they should, and at most half of the memory. Adds to n_named, (blocks of the
 * group), the references that they have to blocks. */
static bool add_leases(const struct kv_cache *kv, unsigned group, uint32_t *n_named) {
    uint32_t n_leases = 0;
    for (uint32_t i = 0; i < KV_MAX_LEASES; i++) {
        uint32_t node = kv->leases[i].node, n_blocks = kv->tree.nodes[node].n_blocks;
        n_leases += node != NODE_ROOT;
        for (uint32_t b = n_blocks; b-- > first_seen_block(kv, group, n_blocks * BLOCK_TOKENS);) {
            if (kv->tree.nodes[node].blocks[group] == BLOCK_NONE) return false;
            n_named[kv->tree.nodes[node].blocks[group]]++;
            node = kv->tree.nodes[node].parent;
        }
    }
    return n_leases == kv->n_leases && kv->leased_bytes <= kv->arena.bytes / 2;
}

static bool check_lease_counts(const struct kv_cache *kv) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const struct block_pool *pool = &kv->pools[g];
        uint32_t *n_named = clear_counts(kv);
        if (!add_leases(kv, g, n_named)) return false;
        for (block_id id = 0; id < pool->n_blocks; id++) {
            const struct block *block = &pool->blocks[id];
            if (block->node != 0 && kv->tree.nodes[block->node].n_leases[g] != n_named[id]) return false;
            if (n_named[id] > 0) bytes += kv->layout.groups[g].class_bytes[block->class];
        }
    }
    return bytes == kv->leased_bytes;
}

/* Invariant 2: as many references as table entries, leases and copies that name the block; 4: one table for
 * an OPEN one. */
static bool check_references(const struct kv_cache *kv, unsigned group) {
    const struct block_pool *pool = &kv->pools[group];
    uint32_t *n_named = clear_counts(kv);
    for (size_t s = 0; s < kv->opts.max_sequences; s++) {
        const struct block_table *table = &kv->tables[s * kv->layout.n_groups + group];
        for (uint32_t i = table->first; i < table->n; i++)
            if (n_named[table->blocks[i]]++ > 0 && pool->blocks[table->blocks[i]].state == BLOCK_OPEN)
                return false;
    }
    add_leases(kv, group, n_named);
    for (uint32_t i = 0; i < kv->n_ops; i++) {
        if (kv->ops[i].group != group || kv->ops[i].kind != KV_COPY) continue;
        if (pool->blocks[kv->copies[i].target].state == BLOCK_FREE) return false;
        n_named[kv->copies[i].source]++;
    }
    for (block_id id = 0; id < pool->n_blocks; id++)
        if (n_named[id] != pool->blocks[id].n_references) return false;
    return true;
}

static bool is_of_group(const struct block_pool *pool, uint32_t slab_class) {
    for (int class = 0; class < KV_CLASS_COUNT; class ++)
        if (pool->slab_classes[class] == slab_class) return true;
    return false;
}

/* Invariant 1: the slabs know which of their payloads are idle. */
static bool check_idle_slabs(const struct kv_cache *kv, unsigned group) {
    const struct block_pool *pool = &kv->pools[group];
    uint32_t *n_idle = clear_counts(kv);
    for (block_id id = 0; id < pool->n_blocks; id++)
        if (pool->blocks[id].state == BLOCK_IDLE) n_idle[pool->blocks[id].payload / kv->arena.slab_bytes]++;
    for (uint32_t i = 0; i < kv->arena.n_slabs; i++)
        if (n_idle[i] > 0 &&
            (!is_of_group(pool, kv->arena.slabs[i].class_index) || kv->arena.slabs[i].n_idle != n_idle[i]))
            return false;
    return true;
}

/* Invariants 5 and 6 for one node; adds to *n_blocks and *n_items what it has. */
static bool check_node(const struct kv_cache *kv, uint32_t index, uint32_t *n_blocks, uint32_t *n_items) {
    const struct prefix_node *node = &kv->tree.nodes[index];
    bool is_idle_leaf = prefix_tree_is_idle_leaf(&kv->tree, index), has_block = false;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        bool is_item = false;
        if (node->blocks[g] == BLOCK_NONE) {
            if (!is_window(kv, g)) return false;
        } else {
            if (node->blocks[g] >= kv->pools[g].n_blocks) return false;
            const struct block *block = &kv->pools[g].blocks[node->blocks[g]];
            if (block->class == KV_DEMOTED && node->n_blocks == 1) return false;
            if (block->node != index || (is_idle_leaf && block->state != BLOCK_IDLE)) return false;
            is_item = block->state == BLOCK_IDLE && is_window(kv, g);
            has_block = true;
            ++*n_blocks;
        }
        if (kv->policy->holds(kv->policy_state, window_item(kv, index, g)) != is_item) return false;
        *n_items += is_item;
    }
    if (kv->policy->holds(kv->policy_state, leaf_item(kv, index)) != is_idle_leaf) return false;
    *n_items += is_idle_leaf;
    return has_block || !is_idle_leaf;
}

static bool check_tree(const struct kv_cache *kv) {
    uint32_t n_nodes, n_blocks = 0, n_items = 0, n_keyed = 0, *n_sequences = clear_counts(kv);
    if (!prefix_tree_check(&kv->tree, &n_nodes)) return false;
    for (size_t s = 0; s < kv->opts.max_sequences; s++) n_sequences[kv->noted[s].node]++;
    for (uint32_t i = 0; i < KV_MAX_LEASES; i++) n_sequences[kv->leases[i].node]++;
    for (uint32_t i = 0; i < kv->n_ops; i++) n_sequences[kv->copies[i].node]++;
    for (uint32_t b = 0; b < kv->tree.n_buckets; b++)
        for (uint32_t i = kv->tree.buckets[b]; i != NODE_ROOT; i = kv->tree.nodes[i].next_in_bucket) {
            if (kv->tree.nodes[i].n_sequences != n_sequences[i]) return false;
            if (!check_node(kv, i, &n_blocks, &n_items)) return false;
        }
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        n_keyed += kv->pools[g].n_in_state[BLOCK_SEALED] + kv->pools[g].n_in_state[BLOCK_IDLE];
    return n_blocks == n_keyed && kv->policy->check(kv->policy_state, n_items);
}

/* Invariant 12. */
static bool check_reserve(const struct kv_cache *kv) {
    uint64_t n[SLAB_MAX_CLASSES] = {0};
    struct slab_room room = slab_arena_rooms(&kv->arena, false);
    kv_add_reserve(kv, n);
    return slab_arena_fits(&kv->arena, &room, n);
}

bool kv_check(const struct kv_cache *kv) {
    if (!slab_arena_check(&kv->arena) || !check_reserve(kv)) return false;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        if (!block_pool_check(&kv->pools[g]) || !check_idle_slabs(kv, g)) return false;
        for (size_t s = 0; s < kv->opts.max_sequences; s++)
            if (!check_table(kv, s, g)) return false;
        if (!check_references(kv, g)) return false;
    }
    return check_lease_counts(kv) && check_tree(kv);
}
