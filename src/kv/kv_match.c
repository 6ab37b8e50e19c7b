/* What of a sequence's tokens is there already: whole blocks to share, and rows to copy. */
#include <string.h>

#include "base/err.h"
#include "kv/kv_parts.h"

uint32_t kv_find_longest(const struct kv_cache *kv, uint32_t node, const int32_t *tokens, uint32_t max_blocks,
                         uint64_t salt) {
    uint32_t longest = node;
    uint32_t first_held[KV_MAX_GROUPS] = {0}; /* from here on the window group's blocks are all resident */
    for (uint32_t depth = kv->tree.nodes[node].n_blocks + 1; depth <= max_blocks; depth++) {
        const int32_t *block = tokens + (size_t)(depth - 1) * BLOCK_TOKENS;
        node = prefix_tree_find(&kv->tree, prefix_tree_key(&kv->tree, node, salt, block), node, salt, block);
        if (node == NODE_ROOT) break;
        bool is_hit = true;
        for (unsigned g = 0; g < kv->layout.n_groups; g++) {
            if (kv->tree.nodes[node].blocks[g] == BLOCK_NONE) first_held[g] = depth;
            is_hit &= first_held[g] <= first_seen_block(kv, g, depth * BLOCK_TOKENS);
        }
        if (is_hit) longest = node;
    }
    return longest;
}

static void note_hit(struct kv_cache *kv, uint32_t node) {
    kv->tree.nodes[node].n_hits++;
    kv->tree.nodes[node].used_us = kv->now_us;
    prefix_tree_touch(&kv->tree, node);
}

/* Makes the table of a group end with the blocks that a sequence of n_blocks full ones sees, without those
 * that are to be attached. */
static void reach(struct kv_cache *kv, const struct kv_seq *seq, unsigned group, uint32_t n_blocks) {
    struct block_table *table = table_of(kv, seq, group);
    uint32_t first = first_seen_block(kv, group, n_blocks * BLOCK_TOKENS);
    for (; table->first < first && table->first < table->n; table->first++) {
        kv_idle_unref(kv, group, table->blocks[table->first], true, ++kv->n_uses);
        block_table_set(table, &kv->pools[group], table->first, BLOCK_NONE);
    }
    for (uint32_t i = table->n; i < first; i++) block_table_set(table, &kv->pools[group], i, BLOCK_NONE);
    if (first > table->first) table->first = first;
    table->n = n_blocks;
}

/* Shares the blocks up to `node`, which is deeper than the sequence's. */
static void share(struct kv_cache *kv, struct kv_seq *seq, uint32_t node) {
    uint32_t n_before = seq->n_computed / BLOCK_TOKENS, n_blocks = kv->tree.nodes[node].n_blocks;
    kv_drop_blocks(kv, seq, n_before); /* what it has of the next block is resident now */
    seq->n_computed = seq->n_reserved = n_blocks * BLOCK_TOKENS;
    kv_move_to(kv, seq, node);
    for (unsigned g = 0; g < kv->layout.n_groups; g++) reach(kv, seq, g, n_blocks);
    for (uint32_t i = n_blocks; i-- > n_before; node = kv->tree.nodes[node].parent) {
        note_hit(kv, node);
        for (unsigned g = 0; g < kv->layout.n_groups; g++)
            if (i >= table_of(kv, seq, g)->first) kv_attach(kv, seq, g, i, node);
    }
    kv_note(kv, seq);
}

static uint32_t count_equal(const int32_t *a, const int32_t *b, uint32_t n) {
    uint32_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Its blocks are there, and as rows. */
static bool has_all_rows(const struct kv_cache *kv, const struct prefix_node *node) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (node->blocks[g] == BLOCK_NONE || kv->pools[g].blocks[node->blocks[g]].class == KV_DEMOTED)
            return false;
    return true;
}

/* Of blocks that are full, as far as no block codec has made something else of them. */
static void find_sealed_rows(const struct kv_cache *kv, const struct kv_seq *seq, const int32_t *tokens,
                             uint32_t max, struct kv_rows *best) {
    uint32_t n_seen = 0, n_compared = 0;
    for (uint32_t i = kv->tree.nodes[seq->node].first_child;
         i != NODE_ROOT && n_seen < KV_SEEN_CHILDREN && n_compared < KV_COMPARED_CHILDREN;
         i = kv->tree.nodes[i].next, n_seen++) {
        const struct prefix_node *node = &kv->tree.nodes[i];
        if (node->salt != seq->salt) continue;
        n_compared++;
        uint32_t n = count_equal(node->tokens, tokens, max);
        if (n > best->n_slots && has_all_rows(kv, node)) *best = (struct kv_rows){.node = i, .n_slots = n};
    }
}

/* Rows of blocks that are not full, of sequences that have the same full ones. */
static void find_open_rows(const struct kv_cache *kv, const struct kv_seq *seq, const int32_t *tokens,
                           uint32_t max, struct kv_rows *best) {
    for (uint32_t i = 0; i < kv->opts.max_sequences; i++) {
        const struct kv_seq *other = &kv->noted[i];
        if (other->table == 0 || other->table == seq->table) continue;
        if (other->node != seq->node || other->salt != seq->salt) continue;
        uint32_t n_open = other->n_computed % BLOCK_TOKENS;
        uint32_t n =
            count_equal(kv->open_tokens + (size_t)i * BLOCK_TOKENS, tokens, n_open < max ? n_open : max);
        if (n > best->n_slots) *best = (struct kv_rows){.table = other->table, .n_slots = n};
    }
}

/* Copies of the rows behind the full blocks, if more than the sequence has are anywhere. */
static void copy_rest(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n) {
    uint32_t n_full = seq->n_computed / BLOCK_TOKENS * BLOCK_TOKENS, max = n - 1 - n_full;
    if (max > BLOCK_TOKENS) max = BLOCK_TOKENS;
    struct kv_rows best = {.n_slots = seq->n_computed % BLOCK_TOKENS};
    if (kv_layout_is_row(&kv->layout)) find_sealed_rows(kv, seq, tokens + n_full, max, &best);
    find_open_rows(kv, seq, tokens + n_full, max, &best);
    if (best.node == NODE_ROOT && best.table == 0) return;
    if (kv_copy_rows(kv, seq, &best, tokens + n_full) && best.node != NODE_ROOT) note_hit(kv, best.node);
}

uint32_t kv_extend(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n) {
    uint32_t n_before = seq->n_computed;
    if (seq->table != 0) kv_unreserve(kv, seq);
    if (n > kv->opts.max_tokens) n = kv->opts.max_tokens;
    if (n < 2 || n - 1 <= n_before) return 0;
    uint32_t node = kv_find_longest(kv, seq->node, tokens, (n - 1) / BLOCK_TOKENS, seq->salt);
    if (node != seq->node) {
        if (seq->table == 0 && !kv_take_table(kv, seq)) return 0;
        share(kv, seq, node);
    }
    if (n - 1 > seq->n_computed) copy_rest(kv, seq, tokens, n);
    uint32_t n_gained = seq->n_computed - n_before;
    seq->n_found += n_gained;
    if (seq->table != 0) kv_note(kv, seq);
    return n_gained;
}

uint32_t kv_match(struct kv_cache *kv, struct kv_seq *seq, const int32_t *tokens, uint32_t n, uint64_t salt) {
    ASSERT(seq->table == 0);
    seq->salt = salt;
    seq->n_asked = n;
    return kv_extend(kv, seq, tokens, n);
}

/* ---- forks ---- */

/* Whether each group has the rows of the block behind n_blocks full ones, as rows. */
static bool find_fork_rows(const struct kv_cache *kv, const struct kv_seq *src, uint32_t n_blocks,
                           struct kv_rows *rows) {
    if (n_blocks == src->n_computed / BLOCK_TOKENS) {
        rows->table = src->table;
        return true;
    }
    rows->node = kv_node_at(kv, src, n_blocks + 1);
    return kv_layout_is_row(&kv->layout) && has_all_rows(kv, &kv->tree.nodes[rows->node]);
}

uint32_t kv_fork(struct kv_cache *kv, struct kv_seq *dst, const struct kv_seq *src, uint32_t n_tokens) {
    ASSERT(dst->table == 0 && n_tokens <= src->n_computed);
    dst->salt = src->salt;
    if (n_tokens == 0) return 0;
    uint32_t n_blocks = n_tokens / BLOCK_TOKENS, n_slots = n_tokens % BLOCK_TOKENS;
    for (uint32_t end; (end = kv_end_of_gap(kv, src, n_blocks * BLOCK_TOKENS)) > 0; n_slots = 0)
        n_blocks = end - 1;
    if (n_blocks > 0) {
        if (!kv_take_table(kv, dst)) return 0;
        share(kv, dst, kv_node_at(kv, src, n_blocks));
    }
    struct kv_rows rows = {.n_slots = n_slots};
    if (n_slots > 0 && find_fork_rows(kv, src, n_blocks, &rows)) {
        const int32_t *tokens = rows.node != NODE_ROOT
                                    ? kv->tree.nodes[rows.node].tokens
                                    : kv->open_tokens + (size_t)(src->table - 1) * BLOCK_TOKENS;
        if (kv_copy_rows(kv, dst, &rows, tokens) && rows.node != NODE_ROOT) note_hit(kv, rows.node);
    }
    return dst->n_computed;
}
