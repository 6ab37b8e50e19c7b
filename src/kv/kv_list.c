#include "kv/kv_list.h"

#include "kv/kv_parts.h"

static const struct kv_lease *lease_of(const struct kv_cache *kv, uint32_t node) {
    for (uint32_t i = 0; i < KV_MAX_LEASES && kv->n_leases > 0; i++)
        if (kv->leases[i].node == node) return &kv->leases[i];
    return NULL;
}

static bool is_entry(const struct kv_cache *kv, uint32_t index) {
    const struct prefix_node *node = &kv->tree.nodes[index];
    if (node->n_blocks == 0) return false;
    bool goes_on_once = node->first_child != NODE_ROOT && kv->tree.nodes[node->first_child].next == NODE_ROOT;
    return !goes_on_once || lease_of(kv, index) != NULL;
}

static uint64_t node_bytes(const struct kv_cache *kv, const struct prefix_node *node) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (node->blocks[g] != BLOCK_NONE)
            bytes += kv->layout.groups[g].class_bytes[kv->pools[g].blocks[node->blocks[g]].class];
    return bytes;
}

/* With windows a sequence may have passed a group's block and still have another's. */
static uint32_t count_users(const struct kv_cache *kv, const struct prefix_node *node) {
    uint32_t most = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        if (node->blocks[g] == BLOCK_NONE) continue;
        uint32_t n = kv->pools[g].blocks[node->blocks[g]].n_references - node->n_leases[g];
        if (n > most) most = n;
    }
    return most;
}

static void describe(const struct kv_cache *kv, uint32_t index, struct kv_prefix *prefix) {
    const struct prefix_node *node = &kv->tree.nodes[index];
    const struct kv_lease *lease = lease_of(kv, index);
    *prefix = (struct kv_prefix){
        .salt = node->salt,
        .n_tokens = node->n_blocks * BLOCK_TOKENS,
        .n_users = count_users(kv, node),
        .n_hits = node->n_hits,
        .created_us = node->created_us,
        .last_used_us = node->used_us,
        .is_pinned = lease != NULL,
        .pinned_until_us = lease != NULL ? lease->until_us : 0,
        .priority = node->priority,
    };
    bool is_run = true;
    for (uint32_t i = index; i != NODE_ROOT; i = kv->tree.nodes[i].parent) {
        uint64_t bytes = node_bytes(kv, &kv->tree.nodes[i]);
        is_run = is_run && (i == index || !is_entry(kv, i));
        prefix->path_bytes += bytes;
        if (is_run) prefix->run_bytes += bytes;
    }
}

bool kv_list_next(const struct kv_cache *kv, const uint64_t *salt, uint32_t *cursor,
                  struct kv_prefix *prefix) {
    for (uint32_t i = *cursor + 1; i < kv->tree.n_touched; i++) {
        if (!is_entry(kv, i) || (salt != NULL && kv->tree.nodes[i].salt != *salt)) continue;
        *cursor = i;
        describe(kv, i, prefix);
        return true;
    }
    return false;
}

uint32_t kv_list_cached(const struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt) {
    if (n < 2) return 0; /* the last one is computed anyway */
    const uint32_t node = kv_find_longest(kv, NODE_ROOT, tokens, (n - 1) / BLOCK_TOKENS, salt);
    return node == NODE_ROOT ? 0 : kv->tree.nodes[node].n_blocks * BLOCK_TOKENS;
}
