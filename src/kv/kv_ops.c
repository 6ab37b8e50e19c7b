/* What is due within the arena before the next forward pass, and what it holds until it is done. */
#include <string.h>

#include "base/err.h"
#include "kv/kv_parts.h"

/* Where the rows of an OPEN block are that were computed before this step. */
static uint64_t payload_with_rows(const struct block *block) {
    return block->staged != PAYLOAD_NONE ? block->staged : block->payload;
}

static block_id source_of(const struct kv_cache *kv, const struct kv_rows *rows, unsigned group, uint32_t i) {
    if (rows->node != NODE_ROOT) return kv->tree.nodes[rows->node].blocks[group];
    return kv->tables[(size_t)(rows->table - 1) * kv->layout.n_groups + group].blocks[i];
}

void kv_add_op(struct kv_cache *kv, struct kv_op op, struct kv_copy copy) {
    kv->n_copies_due += op.kind == KV_COPY;
    kv->copies[kv->n_ops] = copy;
    kv->ops[kv->n_ops++] = op;
}

/* Adds a copy for each group, as yet without a target. */
static void hold_sources(struct kv_cache *kv, const struct kv_rows *rows, uint32_t i) {
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        block_id source = source_of(kv, rows, g, i);
        kv_idle_enter(kv, rows->node);
        kv_idle_ref(kv, g, source);
        struct kv_op op = {.kind = KV_COPY,
                           .group = (uint8_t)g,
                           .n_slots = rows->n_slots,
                           .source = payload_with_rows(&kv->pools[g].blocks[source])};
        kv_add_op(kv, op, (struct kv_copy){source, BLOCK_NONE, rows->node});
    }
}

static void let_source_go(struct kv_cache *kv, uint32_t i) {
    const struct kv_copy *copy = &kv->copies[i];
    uint64_t used = ++kv->n_uses;
    kv_idle_unref(kv, kv->ops[i].group, copy->source, false, used);
    if (copy->node == NODE_ROOT) return;
    kv->tree.nodes[copy->node].used = used;
    kv_idle_leave(kv, copy->node);
}

/* An OPEN block behind the full ones, in each group, if there is none yet. */
static bool open_block(struct kv_cache *kv, const struct kv_seq *seq, uint32_t i) {
    uint64_t n_new[SLAB_MAX_CLASSES] = {0};
    if (table_of(kv, seq, 0)->n > i) return true;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) n_new[kv->pools[g].slab_classes[KV_OPEN]]++;
    if (!kv_idle_make_room(kv, n_new)) return false;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        block_id id = block_pool_take(&kv->pools[g], KV_OPEN);
        ASSERT(id != BLOCK_NONE);
        block_table_set(table_of(kv, seq, g), &kv->pools[g], i, id);
        table_of(kv, seq, g)->n = i + 1;
    }
    return true;
}

/* Takes ops out of the list, at i. */
static void remove_ops(struct kv_cache *kv, uint32_t i, uint32_t n) {
    for (uint32_t k = i; k < i + n; k++) kv->n_copies_due -= kv->ops[k].kind == KV_COPY;
    kv->n_ops -= n;
    memmove(kv->ops + i, kv->ops + i + n, (kv->n_ops - i) * sizeof *kv->ops);
    memmove(kv->copies + i, kv->copies + i + n, (kv->n_ops - i) * sizeof *kv->copies);
}

/* The n copies at `first` go behind what was added since: demotions, out of payloads that may be their
 * targets now. Their sources are not demoted meanwhile. */
static uint32_t put_last(struct kv_cache *kv, uint32_t first, uint32_t n) {
    struct kv_op ops[KV_MAX_GROUPS];
    struct kv_copy copies[KV_MAX_GROUPS];
    memcpy(ops, kv->ops + first, n * sizeof *ops);
    memcpy(copies, kv->copies + first, n * sizeof *copies);
    remove_ops(kv, first, n);
    first = kv->n_ops;
    for (uint32_t i = 0; i < n; i++) kv_add_op(kv, ops[i], copies[i]);
    return first;
}

bool kv_copy_rows(struct kv_cache *kv, struct kv_seq *seq, const struct kv_rows *rows,
                  const int32_t *tokens) {
    unsigned n_groups = kv->layout.n_groups;
    uint32_t n_full = seq->n_computed / BLOCK_TOKENS, first_op = kv->n_ops;
    bool is_fresh = seq->table == 0;
    if (kv->n_copies_due + n_groups > kv->max_copies || (is_fresh && !kv_take_table(kv, seq))) return false;
    hold_sources(kv, rows, n_full); /* so that making room does not take them */
    bool has_block = open_block(kv, seq, n_full);
    first_op = put_last(kv, first_op, n_groups);
    if (!has_block) {
        for (uint32_t i = kv->n_ops; i-- > first_op;) let_source_go(kv, i);
        remove_ops(kv, first_op, n_groups);
        if (is_fresh) kv_give_table(kv, seq);
        return false;
    }
    for (unsigned g = 0; g < n_groups; g++) {
        block_id target = table_of(kv, seq, g)->blocks[n_full];
        kv->copies[first_op + g].target = target;
        kv->ops[first_op + g].target = kv->pools[g].blocks[target].payload;
    }
    seq->n_computed = seq->n_reserved = n_full * BLOCK_TOKENS + rows->n_slots;
    memcpy(kv->open_tokens + (size_t)(seq->table - 1) * BLOCK_TOKENS, tokens, rows->n_slots * sizeof *tokens);
    kv_pass_blocks(kv, seq);
    kv_note(kv, seq);
    return true;
}

void kv_cancel_copies(struct kv_cache *kv) {
    for (uint32_t i = 0; i < kv->n_ops;) {
        block_id target = kv->copies[i].target;
        if (target == BLOCK_NONE || kv->pools[kv->ops[i].group].blocks[target].state != BLOCK_FREE) {
            i++;
            continue;
        }
        let_source_go(kv, i); /* perhaps another copy's target, which nobody has any more */
        remove_ops(kv, i, 1);
        if (kv->n_ops_given > i) kv->n_ops_given--;
        i = 0;
    }
}

uint32_t kv_ops(struct kv_cache *kv, const struct kv_op **ops) {
    *ops = kv->ops;
    return kv->n_ops_given = kv->n_ops;
}

void kv_end_ops(struct kv_cache *kv) {
    ASSERT(kv->n_ops == kv->n_ops_given); /* else rows would be missing */
    for (uint32_t i = 0; i < kv->n_ops; i++) {
        if (kv->ops[i].kind != KV_COPY) continue;
        let_source_go(kv, i);
        kv->n_copies++;
        if (kv->ops[i].group == 0) kv->copied_tokens += kv->ops[i].n_slots;
    }
    kv->n_ops = kv->n_ops_given = kv->n_copies_due = 0;
}
