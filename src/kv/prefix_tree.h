/* The prefixes of which blocks are resident: a node is a prefix that ends at a block border.
 *
 * Node 0 is the root, the empty prefix; it has no blocks. A node is found by the hash of (layout, salt,
 * parent's key, tokens) and accepted only if parent, salt and tokens are the same. The tree knows nothing of
 * what a block is or who uses it: kv_idle.c moves its blocks and decides when a node goes. */
#ifndef CABINET_KV_PREFIX_TREE_H
#define CABINET_KV_PREFIX_TREE_H

#include <stdbool.h>

#include "base/block_key.h"
#include "codec/kv_layout.h"
#include "kv/block.h"

/* Property tests build with few bits, so that keys collide. */
#ifndef BLOCK_KEY_BITS
#define BLOCK_KEY_BITS 128
#endif

#define NODE_ROOT 0

struct prefix_node {
    struct block_key key;
    uint64_t salt;
    uint64_t used;                /* grows with every use of the node or one below it */
    uint64_t created_us, used_us; /* as kv_poll said the time then */
    uint64_t n_hits;              /* matches that it was part of */
    uint32_t n_blocks;            /* its depth; 0 while it is not in use */
    uint32_t n_sequences;         /* that have it as their last full block, and leases and copies under way */
    uint32_t n_leases[KV_MAX_GROUPS]; /* that hold its block of the group */
    uint8_t priority;                 /* for eviction */
    uint32_t parent;                  /* NODE_ROOT below the root */
    uint32_t first_child;             /* NODE_ROOT: none */
    uint32_t next, previous;          /* children of one parent, the latest used first */
    uint32_t next_in_bucket;          /* or in the list of free nodes */
    block_id blocks[KV_MAX_GROUPS];   /* BLOCK_NONE where it is not resident */
    int32_t tokens[BLOCK_TOKENS];
};

struct prefix_tree {
    uint64_t layout_id;
    unsigned n_groups;
    uint32_t n_nodes;               /* with the root */
    uint32_t n_touched, first_free; /* nodes from n_touched on were never used */
    uint32_t n_buckets;             /* a power of two */
    struct prefix_node *nodes;
    uint32_t *buckets; /* first node of each, NODE_ROOT if empty */
};

/* Room for n_prefixes nodes beside the root. */
int prefix_tree_open(struct prefix_tree *tree, const struct kv_layout *layout, uint32_t n_prefixes);
void prefix_tree_close(struct prefix_tree *tree);

/* The key of the node below `parent` whose block holds these BLOCK_TOKENS tokens. */
struct block_key prefix_tree_key(const struct prefix_tree *tree, uint32_t parent, uint64_t salt,
                                 const int32_t *tokens);
/* That node, or NODE_ROOT if it is not there. */
uint32_t prefix_tree_find(const struct prefix_tree *tree, struct block_key key, uint32_t parent,
                          uint64_t salt, const int32_t *tokens);
/* Adds it, without blocks; NODE_ROOT if all nodes are in use. */
uint32_t prefix_tree_add(struct prefix_tree *tree, struct block_key key, uint32_t parent, uint64_t salt,
                         const int32_t *tokens);
/* Makes it the first of its parent's children. */
void prefix_tree_touch(struct prefix_tree *tree, uint32_t node);
/* Takes a node without children out. */
void prefix_tree_remove(struct prefix_tree *tree, uint32_t node);
/* No child, and nobody who ends at it. False for the root. */
static inline bool prefix_tree_is_idle_leaf(const struct prefix_tree *tree, uint32_t node) {
    return node != NODE_ROOT && tree->nodes[node].first_child == NODE_ROOT &&
           tree->nodes[node].n_sequences == 0;
}
/* Every list is sound, every node is found under its own key; *n of them beside the root. */
bool prefix_tree_check(const struct prefix_tree *tree, uint32_t *n);

#endif
