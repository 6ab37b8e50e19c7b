/* What outlives its sequence: nodes and window blocks nobody has, and how they go. */
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "kv/kv_parts.h"

static bool has_blocks(const struct kv_cache *kv, uint32_t node) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (kv->tree.nodes[node].blocks[g] != BLOCK_NONE) return true;
    return false;
}

/* Bytes of what a node has, of one group or, with `group` past the last, of all. */
static uint64_t bytes_of(const struct kv_cache *kv, uint32_t node, unsigned group) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        block_id id = kv->tree.nodes[node].blocks[g];
        if (id == BLOCK_NONE || (group < kv->layout.n_groups && group != g)) continue;
        bytes += kv->layout.groups[g].class_bytes[kv->pools[g].blocks[id].class];
    }
    return bytes;
}

/* Of a leaf, for `group` past the last, or of one block. */
static struct evict_traits traits_of(const struct kv_cache *kv, uint32_t index, unsigned group,
                                     bool is_passed, uint64_t used) {
    const struct prefix_node *node = &kv->tree.nodes[index];
    double n_keys = ((double)node->n_blocks - 0.5) * BLOCK_TOKENS; /* that a token of the block sees */
    return (struct evict_traits){
        .priority = node->priority,
        .is_passed = is_passed,
        .used = used,
        .n_hits = node->n_hits,
        .bytes = bytes_of(kv, index, group),
        .cost_ns = (uint64_t)(BLOCK_TOKENS * (kv->ns_per_token + kv->ns_per_key * n_keys)),
    };
}

struct evict_rank kv_idle_rank(const struct kv_cache *kv, unsigned group, const struct block *block) {
    struct evict_traits traits = traits_of(kv, block->node, group, false, kv->tree.nodes[block->node].used);
    return kv->policy->rank(kv->policy_state, &traits);
}

/* Hands an item to the policy: a leaf, for `group` past the last, or a window block. */
static void offer(struct kv_cache *kv, uint32_t index, unsigned group, bool is_passed, uint64_t used) {
    bool is_leaf = group >= kv->layout.n_groups;
    struct evict_traits traits = traits_of(kv, index, group, is_passed, used);
    kv->policy->insert(kv->policy_state, is_leaf ? leaf_item(kv, index) : window_item(kv, index, group),
                       &traits);
}

/* After a node has lost a child, a sequence or a block: if it is an idle leaf now it goes to the policy, or,
 * without a block, out of the tree, and then the same is asked of its parent. */
static void settle_node(struct kv_cache *kv, uint32_t node) {
    while (prefix_tree_is_idle_leaf(&kv->tree, node)) {
        if (has_blocks(kv, node)) {
            offer(kv, node, KV_MAX_GROUPS, false, kv->tree.nodes[node].used);
            return;
        }
        uint32_t parent = kv->tree.nodes[node].parent;
        prefix_tree_remove(&kv->tree, node);
        node = parent;
    }
}

void kv_idle_enter(struct kv_cache *kv, uint32_t node) {
    if (node == NODE_ROOT) return;
    if (kv->policy->holds(kv->policy_state, leaf_item(kv, node)))
        kv->policy->remove(kv->policy_state, leaf_item(kv, node));
    kv->tree.nodes[node].n_sequences++;
}

void kv_idle_leave(struct kv_cache *kv, uint32_t node) {
    if (node == NODE_ROOT) return;
    ASSERT(kv->tree.nodes[node].n_sequences > 0);
    kv->tree.nodes[node].n_sequences--;
    settle_node(kv, node);
}

void kv_idle_ref(struct kv_cache *kv, unsigned group, block_id id) {
    const struct block *block = &kv->pools[group].blocks[id];
    if (block->state == BLOCK_IDLE && is_window(kv, group))
        kv->policy->remove(kv->policy_state, window_item(kv, block->node, group));
    block_pool_ref(&kv->pools[group], id);
}

void kv_idle_unref(struct kv_cache *kv, unsigned group, block_id id, bool is_passed, uint64_t used) {
    const struct block *block = &kv->pools[group].blocks[id];
    block_pool_unref(&kv->pools[group], id);
    if (block->state == BLOCK_IDLE && is_window(kv, group)) offer(kv, block->node, group, is_passed, used);
}

/* Frees one IDLE block; returns its bytes. */
static uint64_t evict_block(struct kv_cache *kv, uint32_t node, unsigned group) {
    block_id *id = &kv->tree.nodes[node].blocks[group];
    uint64_t bytes = bytes_of(kv, node, group);
    if (is_window(kv, group)) kv->policy->remove(kv->policy_state, window_item(kv, node, group));
    block_pool_evict(&kv->pools[group], *id);
    *id = BLOCK_NONE;
    return bytes;
}

uint64_t kv_idle_free(struct kv_cache *kv, uint32_t item) {
    uint32_t node = item / (1 + kv->layout.n_groups), part = item % (1 + kv->layout.n_groups);
    uint64_t bytes = 0;
    bool is_leaf = prefix_tree_is_idle_leaf(&kv->tree, node);
    if (is_leaf) kv->policy->remove(kv->policy_state, leaf_item(kv, node));
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if ((part == 0 || part == 1 + g) && kv->tree.nodes[node].blocks[g] != BLOCK_NONE)
            bytes += evict_block(kv, node, g);
    if (is_leaf) settle_node(kv, node);
    return bytes;
}

uint64_t kv_idle_evict(struct kv_cache *kv) {
    uint32_t item = kv->policy->victim(kv->policy_state), n_before = 0, n_after = 0;
    if (item == EVICT_NONE) return 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) n_before += kv->pools[g].n_in_state[BLOCK_IDLE];
    uint64_t bytes = kv_idle_free(kv, item);
    for (unsigned g = 0; g < kv->layout.n_groups; g++) n_after += kv->pools[g].n_in_state[BLOCK_IDLE];
    kv->n_evictions += n_before - n_after;
    return bytes;
}

static bool fits_now(const struct kv_cache *kv, const uint64_t *n) {
    struct slab_room room = slab_arena_rooms(&kv->arena, false);
    return slab_arena_fits(&kv->arena, &room, n);
}

/* Whether eviction leads there, which is certain, or demotion may. */
static bool could_fit(const struct kv_cache *kv, const uint64_t *n) {
    struct slab_room room = slab_arena_rooms(&kv->arena, true);
    if (slab_arena_fits(&kv->arena, &room, n)) return true;
    if (kv->demotes) room = kv_demoted_room(kv);
    return kv->demotes && slab_arena_fits(&kv->arena, &room, n);
}

bool kv_idle_make_room(struct kv_cache *kv, const uint64_t *n_wanted) {
    if (fault_hit()) return false; /* as if memory were short: tests reach each place where it can be */
    uint64_t n[SLAB_MAX_CLASSES];
    memcpy(n, n_wanted, sizeof n);
    kv_add_reserve(kv, n);
    if (!could_fit(kv, n)) return false;
    for (bool goes_on = true; goes_on && !fits_now(kv, n);) {
        goes_on = kv_demote_for(kv, n);
        while (!fits_now(kv, n) && kv_idle_evict(kv) > 0) goes_on = true; /* what stays may be demoted now */
    }
    ASSERT(kv->demotes || fits_now(kv, n));
    return fits_now(kv, n);
}

uint64_t kv_evict(struct kv_cache *kv, uint64_t bytes) {
    uint64_t freed = 0, more = 1;
    while (freed < bytes && (more = kv_idle_evict(kv)) > 0) freed += more;
    return freed;
}
