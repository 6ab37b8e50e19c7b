/* Leases, priorities, and forgetting. */
#include "kv/kv_pin.h"

#include <inttypes.h>

#include "base/err.h"
#include "kv/kv_parts.h"

/* ---- leases ---- */

static uint64_t block_bytes(const struct kv_cache *kv, unsigned group, block_id id) {
    return kv->layout.groups[group].class_bytes[kv->pools[group].blocks[id].class];
}

enum lease_step { LEASE_COUNT, LEASE_HOLD, LEASE_END };

/* Counts, takes or gives up the blocks that a sequence which ends at the node would have. Returns the bytes
 * of those that no other lease holds. */
static uint64_t walk_lease(struct kv_cache *kv, uint32_t index, enum lease_step step) {
    uint64_t bytes = 0, used = 0;
    uint32_t n_blocks = kv->tree.nodes[index].n_blocks, node = index;
    if (step == LEASE_HOLD) kv_idle_enter(kv, index);
    for (uint32_t i = n_blocks; i-- > 0; node = kv->tree.nodes[node].parent) {
        if (step == LEASE_END) kv->tree.nodes[node].used = used = ++kv->n_uses;
        for (unsigned g = 0; g < kv->layout.n_groups; g++) {
            if (i < first_seen_block(kv, g, n_blocks * BLOCK_TOKENS)) continue;
            uint32_t *n_leases = &kv->tree.nodes[node].n_leases[g];
            block_id id = kv->tree.nodes[node].blocks[g];
            ASSERT(id != BLOCK_NONE);
            if (step == LEASE_END && --*n_leases == 0) bytes += block_bytes(kv, g, id);
            if (step == LEASE_END) kv_idle_unref(kv, g, id, false, used);
            if (step != LEASE_END && *n_leases == 0) bytes += block_bytes(kv, g, id);
            if (step != LEASE_HOLD) continue;
            ++*n_leases;
            kv_idle_ref(kv, g, id);
        }
    }
    if (step == LEASE_END) kv_idle_leave(kv, index);
    return bytes;
}

static struct kv_lease *find_lease(struct kv_cache *kv, uint32_t node) {
    for (uint32_t i = 0; i < KV_MAX_LEASES; i++)
        if (kv->leases[i].node == node) return &kv->leases[i];
    return NULL;
}

static void end_lease(struct kv_cache *kv, struct kv_lease *lease) {
    kv->leased_bytes -= walk_lease(kv, lease->node, LEASE_END);
    *lease = (struct kv_lease){0};
    kv->n_leases--;
}

static int begin_lease(struct kv_cache *kv, uint32_t node, uint64_t until_us) {
    struct kv_lease *lease = find_lease(kv, node);
    if (lease == NULL) {
        uint64_t bytes = walk_lease(kv, node, LEASE_COUNT), most = kv->arena.bytes / 2;
        if (bytes + kv->leased_bytes > most)
            return ERR(FULL,
                       "the pin needs %" PRIu64 " bytes, pins may hold half the KV memory, %" PRIu64
                       " bytes, and %" PRIu64 " of them are held (unpin something, or raise --kv-memory)",
                       bytes, most, kv->leased_bytes);
        lease = find_lease(kv, NODE_ROOT); /* an unused one */
        if (lease == NULL)
            return ERR(TOO_LARGE, "%d prefixes are pinned, and no more can be (unpin one)", KV_MAX_LEASES);
        kv->leased_bytes += walk_lease(kv, node, LEASE_HOLD);
        kv->n_leases++;
    }
    *lease = (struct kv_lease){node, until_us};
    return 0;
}

/* The deepest node on the path of the tokens that has a lease, or NODE_ROOT. */
static uint32_t find_leased(struct kv_cache *kv, const int32_t *tokens, uint32_t n_blocks, uint64_t salt) {
    uint32_t node = NODE_ROOT, deepest = NODE_ROOT;
    for (uint32_t i = 0; i < n_blocks; i++, tokens += BLOCK_TOKENS) {
        node =
            prefix_tree_find(&kv->tree, prefix_tree_key(&kv->tree, node, salt, tokens), node, salt, tokens);
        if (node == NODE_ROOT) break;
        if (find_lease(kv, node) != NULL) deepest = node;
    }
    return deepest;
}

/* What the policy holds of the nodes from this one up keeps its place until it is used again. */
static void set_priority(struct kv_cache *kv, uint32_t node, uint8_t priority) {
    for (; node != NODE_ROOT; node = kv->tree.nodes[node].parent) kv->tree.nodes[node].priority = priority;
}

int kv_pin(struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt, uint64_t until_us,
           uint8_t priority) {
    uint32_t n_blocks = n / BLOCK_TOKENS;
    if (until_us == 0) {
        uint32_t node = find_leased(kv, tokens, n_blocks, salt);
        if (node == NODE_ROOT) return ERR(NOT_FOUND, "no beginning of these %" PRIu32 " tokens is pinned", n);
        uint32_t n_tokens = kv->tree.nodes[node].n_blocks * BLOCK_TOKENS;
        set_priority(kv, node, priority);
        end_lease(kv, find_lease(kv, node));
        return (int)n_tokens;
    }
    uint32_t node = kv_find_longest(kv, NODE_ROOT, tokens, n_blocks, salt);
    if (node == NODE_ROOT)
        return ERR(NOT_FOUND,
                   "nothing of these %" PRIu32
                   " tokens is in the cache, where prefixes are kept in blocks of %d",
                   n, BLOCK_TOKENS);
    TRY(begin_lease(kv, node, until_us));
    set_priority(kv, node, priority);
    return (int)(kv->tree.nodes[node].n_blocks * BLOCK_TOKENS);
}

void kv_poll(struct kv_cache *kv, uint64_t now_us) {
    kv->now_us = now_us;
    kv->ages.now_ms = (uint32_t)(now_us / 1000);
    for (uint32_t i = 0; i < KV_MAX_LEASES && kv->n_leases > 0; i++)
        if (kv->leases[i].node != NODE_ROOT && kv->leases[i].until_us <= now_us &&
            kv->leases[i].until_us != KV_FOR_EVER)
            end_lease(kv, &kv->leases[i]);
}

void kv_set_recompute_cost(struct kv_cache *kv, double ns_per_token, double ns_per_key) {
    kv->ns_per_token = ns_per_token;
    kv->ns_per_key = ns_per_key;
}

/* ---- forgetting ---- */

/* Frees what is IDLE of a node that nothing goes on from, or of one that something does. */
static uint64_t drop_node(struct kv_cache *kv, uint32_t node) {
    if (kv->policy->holds(kv->policy_state, leaf_item(kv, node)))
        return kv_idle_free(kv, leaf_item(kv, node));
    uint64_t bytes = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (kv->policy->holds(kv->policy_state, window_item(kv, node, g)))
            bytes += kv_idle_free(kv, window_item(kv, node, g));
    return bytes;
}

/* Of the node and what is below it, the deepest first. Nodes on the way are entered, so that none goes before
 * its turn. */
static uint64_t drop_below(struct kv_cache *kv, uint32_t top) {
    struct prefix_node *nodes = kv->tree.nodes;
    uint32_t parent_of_top = nodes[top].parent, node = top;
    uint64_t bytes = 0;
    bool is_new = true; /* its children are still to be visited */
    kv_idle_enter(kv, parent_of_top);
    kv_idle_enter(kv, top);
    for (;;) {
        if (is_new && nodes[node].first_child != NODE_ROOT) {
            node = nodes[node].first_child;
            kv_idle_enter(kv, node);
            continue;
        }
        uint32_t next = nodes[node].next, parent = nodes[node].parent;
        bool is_top = node == top, has_block = false;
        for (unsigned g = 0; g < kv->layout.n_groups; g++) has_block |= nodes[node].blocks[g] != BLOCK_NONE;
        kv_idle_leave(kv, node); /* without a block and children it is gone now */
        if (has_block) bytes += drop_node(kv, node);
        if (is_top) break;
        is_new = next != NODE_ROOT;
        node = is_new ? next : parent;
        if (is_new) kv_idle_enter(kv, node);
    }
    kv_idle_leave(kv, parent_of_top);
    return bytes;
}

uint64_t kv_drop(struct kv_cache *kv, const int32_t *tokens, uint32_t n, uint64_t salt) {
    uint32_t node = NODE_ROOT, next;
    for (uint32_t i = 0; i < n / BLOCK_TOKENS; i++, tokens += BLOCK_TOKENS) {
        node =
            prefix_tree_find(&kv->tree, prefix_tree_key(&kv->tree, node, salt, tokens), node, salt, tokens);
        if (node == NODE_ROOT) return 0;
    }
    if (node != NODE_ROOT) return drop_below(kv, node);
    uint64_t bytes = 0;
    for (node = kv->tree.nodes[NODE_ROOT].first_child; node != NODE_ROOT; node = next) {
        next = kv->tree.nodes[node].next;
        if (kv->tree.nodes[node].salt == salt) bytes += drop_below(kv, node);
    }
    return bytes;
}
