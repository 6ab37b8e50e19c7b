#include "kv/kv_forget.h"

#include "kv/kv_parts.h"
#include "kv/kv_pin.h"

/* The deepest resident node on the path of the tokens, or NODE_ROOT. */
static uint32_t find_deepest(const struct kv_cache *kv, const int32_t *tokens, uint32_t n_blocks,
                             uint64_t salt) {
    uint32_t deepest = NODE_ROOT;
    for (uint32_t i = 0; i < n_blocks; i++, tokens += BLOCK_TOKENS) {
        struct block_key key = prefix_tree_key(&kv->tree, deepest, salt, tokens);
        uint32_t node = prefix_tree_find(&kv->tree, key, deepest, salt, tokens);
        if (node == NODE_ROOT) break;
        deepest = node;
    }
    return deepest;
}

uint64_t kv_forget(struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt) {
    uint32_t n_blocks = n / BLOCK_TOKENS;
    if (n_blocks == 0) return 0;
    uint64_t bytes = kv_drop(kv, tokens, n_blocks * BLOCK_TOKENS, salt);
    uint32_t node = find_deepest(kv, tokens, n_blocks, salt), parent;
    for (; kv->policy->holds(kv->policy_state, leaf_item(kv, node)); node = parent) {
        parent = kv->tree.nodes[node].parent;
        bytes += kv_idle_free(kv, leaf_item(kv, node));
        if (parent == NODE_ROOT) break;
    }
    return bytes;
}
