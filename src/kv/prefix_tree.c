#include "kv/prefix_tree.h"

#include <string.h>

#include <xxhash.h>

#include "base/err.h"
#include "base/mem.h"

static uint64_t areas_hash(const struct kv_areas *areas, uint64_t hash) {
    uint64_t fields[] = {areas->offset, areas->k_bytes, areas->v_bytes};
    hash = XXH3_64bits_withSeed(fields, sizeof fields, hash);
    const char *k = codec_get(areas->codecs.k)->name, *v = codec_get(areas->codecs.v)->name;
    hash = XXH3_64bits_withSeed(k, strlen(k), hash);
    return XXH3_64bits_withSeed(v, strlen(v), hash);
}

/* Everything that decides what the bytes of a block mean, folded into 64 bits. */
static uint64_t layout_hash(const struct kv_layout *layout) {
    uint64_t head[] = {BLOCK_TOKENS, layout->n_layers, layout->n_groups};
    uint64_t hash = XXH3_64bits(head, sizeof head);
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        const struct kv_layer *layer = &layout->layers[i];
        uint64_t fields[] = {layer->group,     layer->n_kv_heads, layer->head_dim,
                             layer->rotates_k, layer->rotates_v,  layout->groups[layer->group].window};
        hash = XXH3_64bits_withSeed(fields, sizeof fields, hash);
        for (int class = 0; class < KV_CLASS_COUNT; class ++) hash = areas_hash(&layer->areas[class], hash);
    }
    return hash;
}

int prefix_tree_open(struct prefix_tree *tree, const struct kv_layout *layout, uint32_t n_prefixes) {
    if (n_prefixes >= UINT32_MAX / (1 + KV_MAX_GROUPS))
        return ERR(TOO_LARGE, "KV memory of %u blocks: more than can be named", n_prefixes);
    *tree = (struct prefix_tree){.layout_id = layout_hash(layout),
                                 .n_groups = layout->n_groups,
                                 .n_nodes = n_prefixes + 1,
                                 .n_touched = 1,
                                 .n_buckets = 1};
    while (tree->n_buckets < n_prefixes) tree->n_buckets *= 2;
    tree->nodes = mem_alloc(tree->n_nodes, sizeof *tree->nodes);
    tree->buckets = mem_alloc(tree->n_buckets, sizeof *tree->buckets);
    return tree->nodes && tree->buckets ? 0 : ERR_NO_MEMORY;
}

void prefix_tree_close(struct prefix_tree *tree) {
    mem_free(tree->nodes);
    mem_free(tree->buckets);
    tree->nodes = NULL;
    tree->buckets = NULL;
}

struct block_key prefix_tree_key(const struct prefix_tree *tree, uint32_t parent, uint64_t salt,
                                 const int32_t *tokens) {
    const struct block_key *above = &tree->nodes[parent].key; /* the root's is zero */
    uint64_t named[4 + (BLOCK_TOKENS + 1) / 2] = {tree->layout_id, salt, above->low, above->high};
    memcpy(named + 4, tokens, BLOCK_TOKENS * sizeof *tokens);
    XXH128_hash_t hash = XXH3_128bits(named, sizeof named);
#if BLOCK_KEY_BITS < 64
    return (struct block_key){hash.low64 & ((UINT64_C(1) << BLOCK_KEY_BITS) - 1), 0};
#else
    return (struct block_key){hash.low64, hash.high64};
#endif
}

static uint32_t *bucket_of(const struct prefix_tree *tree, struct block_key key) {
    return &tree->buckets[key.low & (tree->n_buckets - 1)];
}

uint32_t prefix_tree_find(const struct prefix_tree *tree, struct block_key key, uint32_t parent,
                          uint64_t salt, const int32_t *tokens) {
    for (uint32_t i = *bucket_of(tree, key); i != NODE_ROOT; i = tree->nodes[i].next_in_bucket) {
        const struct prefix_node *node = &tree->nodes[i];
        if (block_key_equal(node->key, key) && node->parent == parent && node->salt == salt &&
            memcmp(node->tokens, tokens, sizeof node->tokens) == 0)
            return i;
    }
    return NODE_ROOT;
}

static void link_first(struct prefix_tree *tree, uint32_t index) {
    struct prefix_node *node = &tree->nodes[index], *above = &tree->nodes[node->parent];
    node->previous = NODE_ROOT;
    node->next = above->first_child;
    if (node->next != NODE_ROOT) tree->nodes[node->next].previous = index;
    above->first_child = index;
}

static void unlink_child(struct prefix_tree *tree, uint32_t index) {
    const struct prefix_node *node = &tree->nodes[index];
    if (node->previous != NODE_ROOT)
        tree->nodes[node->previous].next = node->next;
    else
        tree->nodes[node->parent].first_child = node->next;
    if (node->next != NODE_ROOT) tree->nodes[node->next].previous = node->previous;
}

void prefix_tree_touch(struct prefix_tree *tree, uint32_t index) {
    if (index == NODE_ROOT || tree->nodes[index].previous == NODE_ROOT) return;
    unlink_child(tree, index);
    link_first(tree, index);
}

static uint32_t take_node(struct prefix_tree *tree) {
    uint32_t index = tree->first_free;
    if (index != NODE_ROOT)
        tree->first_free = tree->nodes[index].next_in_bucket;
    else if (tree->n_touched < tree->n_nodes)
        index = tree->n_touched++;
    return index;
}

uint32_t prefix_tree_add(struct prefix_tree *tree, struct block_key key, uint32_t parent, uint64_t salt,
                         const int32_t *tokens) {
    uint32_t index = take_node(tree);
    if (index == NODE_ROOT) return NODE_ROOT;
    struct prefix_node *node = &tree->nodes[index];
    uint32_t *bucket = bucket_of(tree, key);
    *node = (struct prefix_node){.key = key,
                                 .salt = salt,
                                 .parent = parent,
                                 .n_blocks = tree->nodes[parent].n_blocks + 1,
                                 .next_in_bucket = *bucket};
    memcpy(node->tokens, tokens, sizeof node->tokens);
    for (unsigned g = 0; g < KV_MAX_GROUPS; g++) node->blocks[g] = BLOCK_NONE;
    link_first(tree, index);
    *bucket = index;
    return index;
}

void prefix_tree_remove(struct prefix_tree *tree, uint32_t index) {
    struct prefix_node *node = &tree->nodes[index];
    ASSERT(index != NODE_ROOT && node->first_child == NODE_ROOT);
    uint32_t *link = bucket_of(tree, node->key);
    while (*link != index) link = &tree->nodes[*link].next_in_bucket;
    *link = node->next_in_bucket;
    unlink_child(tree, index);
    *node = (struct prefix_node){.next_in_bucket = tree->first_free};
    tree->first_free = index;
}

/* A node's children name it as their parent, and each other as neighbours; *n counts them too. */
static bool check_children(const struct prefix_tree *tree, uint32_t index, uint32_t *n) {
    uint32_t previous = NODE_ROOT;
    for (uint32_t i = tree->nodes[index].first_child; i != NODE_ROOT; previous = i, i = tree->nodes[i].next) {
        if (i >= tree->n_touched || ++*n >= tree->n_nodes) return false;
        const struct prefix_node *node = &tree->nodes[i];
        if (node->parent != index || node->previous != previous) return false;
        if (node->n_blocks != tree->nodes[index].n_blocks + 1) return false;
        if (index != NODE_ROOT && node->salt != tree->nodes[index].salt) return false;
        struct block_key key = prefix_tree_key(tree, index, node->salt, node->tokens);
        if (prefix_tree_find(tree, key, index, node->salt, node->tokens) != i) return false;
    }
    return true;
}

bool prefix_tree_check(const struct prefix_tree *tree, uint32_t *n) {
    uint32_t n_free = tree->n_nodes - tree->n_touched, n_in_buckets = 0;
    *n = 0;
    for (uint32_t i = tree->first_free; i != NODE_ROOT; i = tree->nodes[i].next_in_bucket)
        if (i >= tree->n_touched || ++n_free >= tree->n_nodes) return false;
    for (uint32_t b = 0; b < tree->n_buckets; b++)
        for (uint32_t i = tree->buckets[b]; i != NODE_ROOT; i = tree->nodes[i].next_in_bucket)
            if (i >= tree->n_touched || ++n_in_buckets >= tree->n_nodes) return false;
    for (uint32_t i = 0; i < tree->n_touched; i++) /* free ones have no child */
        if (!check_children(tree, i, n)) return false;
    return *n == n_in_buckets && *n + n_free + 1 == tree->n_nodes;
}
