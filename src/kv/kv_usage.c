/* What the cache holds, in figures. */
#include "kv/kv_usage.h"

#include "kv/kv_parts.h"

/* Of n_blocks in a group that demotes, those that stay as they are: a sequence's first one and the last. */
static uint64_t count_undemoted(uint64_t n_blocks) { return n_blocks < 2 ? n_blocks : 2; }

uint64_t kv_least_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step) {
    uint64_t bytes = kv_bytes_for(layout, n_tokens, n_step);
    for (unsigned g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        uint64_t n_blocks = kv_group_blocks(group, n_tokens, n_step);
        if (group->demotes)
            bytes -= (n_blocks - count_undemoted(n_blocks)) *
                     (group->class_bytes[KV_OPEN] - group->class_bytes[KV_DEMOTED]);
    }
    return bytes;
}

uint64_t kv_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        uint64_t n_blocks = kv_group_blocks(group, n_tokens, n_step);
        bytes += n_blocks * group->block_bytes;
        if (!group->converts || n_blocks == 0) continue;
        /* The first block may be larger, and while the last fills it has an OPEN payload beside its own. */
        bytes += group->class_bytes[KV_OPEN];
        if (group->class_bytes[KV_SINK] > group->block_bytes)
            bytes += group->class_bytes[KV_SINK] - group->block_bytes;
    }
    return bytes;
}

const uint64_t *kv_payloads(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group,
                            uint32_t *n) {
    *n = 0;
    if (seq->table == 0) return NULL;
    const struct block_table *table = table_of(kv, seq, group);
    *n = table->n;
    return table->payloads;
}

uint64_t kv_staged_payload(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group) {
    if (seq->table == 0 || seq->n_computed % BLOCK_TOKENS == 0) return PAYLOAD_NONE;
    block_id id = table_of(kv, seq, group)->blocks[seq->n_computed / BLOCK_TOKENS];
    return kv->pools[group].blocks[id].staged;
}

uint32_t kv_group_n_blocks(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group) {
    if (seq->table == 0) return 0;
    const struct block_table *table = table_of(kv, seq, group);
    return table->n - table->first;
}

uint64_t kv_group_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group) {
    const struct kv_group *layout = &kv->layout.groups[group];
    uint32_t n_blocks = kv_group_n_blocks(kv, seq, group);
    if (n_blocks == 0) return 0;
    const struct block_table *table = table_of(kv, seq, group);
    uint64_t bytes = 0; /* only the first and the last can be of another class than the rest */
    for (uint32_t i = table->first; layout->demotes && i < table->n; i++)
        bytes += layout->class_bytes[kv->pools[group].blocks[table->blocks[i]].class];
    if (layout->demotes) return bytes;
    if (n_blocks > 2) bytes = (uint64_t)(n_blocks - 2) * layout->block_bytes;
    for (uint32_t i = table->first; i < table->n; i += n_blocks > 1 ? n_blocks - 1 : 1)
        bytes += layout->class_bytes[kv_class_at(layout, i, seq->n_reserved)];
    return bytes + (kv_staged_payload(kv, seq, group) != PAYLOAD_NONE ? layout->class_bytes[KV_OPEN] : 0);
}

uint64_t kv_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) bytes += kv_group_held_bytes(kv, seq, g);
    return bytes;
}

uint32_t kv_n_blocks(const struct kv_cache *kv, const struct kv_seq *seq) {
    uint32_t n = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) n += kv_group_n_blocks(kv, seq, g);
    return n;
}

struct kv_sharing kv_shared(const struct kv_cache *kv, const struct kv_seq *seq) {
    struct kv_sharing shared = {0};
    if (seq->table == 0) return shared;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const struct block_table *table = table_of(kv, seq, g);
        for (uint32_t i = table->first; i < table->n; i++) {
            const struct block *block = &kv->pools[g].blocks[table->blocks[i]];
            /* Not leases, which are no sequences, nor copies under way out of a block that is not full. */
            uint32_t n_leases = block->node != 0 ? kv->tree.nodes[block->node].n_leases[g] : 0;
            if (block->state == BLOCK_OPEN || block->n_references - n_leases < 2) continue;
            shared.n_blocks++;
            shared.bytes += kv->layout.groups[g].class_bytes[block->class];
        }
    }
    return shared;
}

/* Adds the payloads, by slab class, that n_blocks of a sequence take at most: as they come, or at last. */
static void add_payloads(const struct kv_cache *kv, unsigned group, uint64_t n_blocks, bool is_demoted,
                         uint64_t *n) {
    const uint32_t *slab_classes = kv->pools[group].slab_classes;
    if (is_demoted && kv->layout.groups[group].demotes) {
        n[slab_classes[KV_OPEN]] += count_undemoted(n_blocks);
        n[slab_classes[KV_DEMOTED]] += n_blocks - count_undemoted(n_blocks);
        return;
    }
    if (!kv->layout.groups[group].converts || n_blocks == 0) {
        n[slab_classes[KV_SEALED]] += n_blocks;
        return;
    }
    n[slab_classes[KV_OPEN]]++;
    n[slab_classes[KV_SINK]]++;
    n[slab_classes[KV_SEALED]] += n_blocks - 1;
}

/* The longest sequence, in tokens, whose blocks find room. */
static uint64_t tokens_that_fit(const struct kv_cache *kv, const struct slab_room *room, bool is_demoted) {
    uint64_t fit = 0, too_many = UINT32_MAX / BLOCK_TOKENS + 1; /* blocks */
    while (too_many - fit > 1) {
        uint64_t n_blocks = fit + (too_many - fit) / 2, n[SLAB_MAX_CLASSES] = {0};
        kv_add_reserve(kv, n);
        for (unsigned g = 0; g < kv->layout.n_groups; g++)
            add_payloads(
                kv, g, kv_group_blocks(&kv->layout.groups[g], n_blocks * BLOCK_TOKENS, kv->opts.step_tokens),
                is_demoted, n);
        if (slab_arena_fits(&kv->arena, room, n))
            fit = n_blocks;
        else
            too_many = n_blocks;
    }
    return fit == UINT32_MAX / BLOCK_TOKENS ? UINT32_MAX : fit * BLOCK_TOKENS;
}

static bool fits(const struct kv_cache *kv, const uint64_t *n_blocks, const struct slab_room *room,
                 bool is_demoted) {
    uint64_t n[SLAB_MAX_CLASSES] = {0};
    kv_add_reserve(kv, n);
    for (unsigned g = 0; g < kv->layout.n_groups; g++) add_payloads(kv, g, n_blocks[g], is_demoted, n);
    return slab_arena_fits(&kv->arena, room, n);
}

bool kv_has_room(const struct kv_cache *kv, const uint64_t *n_blocks) {
    struct slab_room room = slab_arena_rooms(&kv->arena, true);
    if (fits(kv, n_blocks, &room, false)) return true;
    if (!kv->demotes) return false;
    room = kv_demoted_room(kv);
    return fits(kv, n_blocks, &room, true);
}

struct kv_group_usage kv_group_usage(const struct kv_cache *kv, unsigned group) {
    const uint32_t *n_in_state = kv->pools[group].n_in_state;
    return (struct kv_group_usage){.n_free = n_in_state[BLOCK_FREE],
                                   .n_open = n_in_state[BLOCK_OPEN],
                                   .n_sealed = n_in_state[BLOCK_SEALED],
                                   .n_idle = n_in_state[BLOCK_IDLE]};
}

struct kv_usage kv_usage(const struct kv_cache *kv) {
    struct kv_usage usage = {.arena_bytes = kv->arena.bytes,
                             .waste_bytes = slab_arena_waste_bytes(&kv->arena),
                             .leased_bytes = kv->leased_bytes,
                             .n_leases = kv->n_leases,
                             .hit_tokens = kv->hit_tokens,
                             .miss_tokens = kv->asked_tokens - kv->hit_tokens,
                             .copied_tokens = kv->copied_tokens,
                             .n_copies = kv->n_copies,
                             .n_evictions = kv->n_evictions,
                             .n_demotions = kv->n_demotions,
                             .demoted_bytes = kv->demoted_bytes};
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const uint32_t *n_in_state = kv->pools[g].n_in_state;
        usage.n_open += n_in_state[BLOCK_OPEN];
        usage.n_sealed += n_in_state[BLOCK_SEALED];
        usage.n_idle += n_in_state[BLOCK_IDLE];
    }
    for (uint32_t i = 0; i < kv->arena.n_classes; i++) {
        const struct slab_class *class = &kv->arena.classes[i];
        usage.held_bytes += (class->n_used - class->n_idle) * class->payload_bytes;
        usage.idle_bytes += class->n_idle * class->payload_bytes;
    }
    struct slab_room empty = {.n_slabs = kv->arena.n_slabs};
    struct slab_room room = kv->demotes ? kv_demoted_room(kv) : slab_arena_rooms(&kv->arena, true);
    usage.free_tokens = tokens_that_fit(kv, &room, true);
    usage.capacity_tokens = tokens_that_fit(kv, &empty, true);
    usage.undemoted_tokens = tokens_that_fit(kv, &empty, false);
    return usage;
}
