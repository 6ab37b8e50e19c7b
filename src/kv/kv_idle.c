/* What outlives its sequence: nodes and window blocks nobody has, and how they go. */
#include "base/err.h"
#include "kv/kv_state.h"

static bool has_blocks(const struct kv_cache *kv, uint32_t node) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (kv->tree.nodes[node].blocks[g] != BLOCK_NONE) return true;
    return false;
}

/* After a node has lost a child, a sequence or a block: if it is an idle leaf now it goes to the policy, or,
 * without a block, out of the tree, and then the same is asked of its parent. */
static void settle_node(struct kv_cache *kv, uint32_t node) {
    while (prefix_tree_is_idle_leaf(&kv->tree, node)) {
        if (has_blocks(kv, node)) {
            kv->policy->insert(kv->policy_state, leaf_item(kv, node), false, kv->tree.nodes[node].used);
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
    if (block->state == BLOCK_IDLE && is_window(kv, group))
        kv->policy->insert(kv->policy_state, window_item(kv, block->node, group), is_passed, used);
}

/* Frees one IDLE block; returns its bytes. */
static uint64_t evict_block(struct kv_cache *kv, uint32_t node, unsigned group) {
    block_id *id = &kv->tree.nodes[node].blocks[group];
    if (is_window(kv, group)) kv->policy->remove(kv->policy_state, window_item(kv, node, group));
    uint64_t bytes = kv->layout.groups[group].class_bytes[kv->pools[group].blocks[*id].class];
    block_pool_evict(&kv->pools[group], *id);
    *id = BLOCK_NONE;
    return bytes;
}

uint64_t kv_idle_evict(struct kv_cache *kv) {
    uint32_t item = kv->policy->victim(kv->policy_state);
    if (item == EVICT_NONE) return 0;
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

bool kv_idle_make_room(struct kv_cache *kv, const uint64_t *n) {
    struct slab_room room = slab_arena_rooms(&kv->arena, true);
    if (!slab_arena_fits(&kv->arena, &room, n)) return false;
    while (room = slab_arena_rooms(&kv->arena, false), !slab_arena_fits(&kv->arena, &room, n)) {
        uint64_t bytes = kv_idle_evict(kv);
        ASSERT(bytes > 0);
    }
    return true;
}

uint64_t kv_evict(struct kv_cache *kv, uint64_t bytes) {
    uint64_t freed = 0, more = 1;
    while (freed < bytes && (more = kv_idle_evict(kv)) > 0) freed += more;
    return freed;
}
