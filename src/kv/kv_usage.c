/* What the cache holds, in figures. */
#include "kv/kv_usage.h"
#include "kv/kv_state.h"

uint64_t kv_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < layout->n_groups; g++)
        bytes += kv_group_blocks(&layout->groups[g], n_tokens, n_step) * layout->groups[g].block_bytes;
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

uint64_t kv_group_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group) {
    if (seq->table == 0) return 0;
    const struct block_table *table = table_of(kv, seq, group);
    return (uint64_t)(table->n - table->first) * kv->layout.groups[group].block_bytes;
}

uint64_t kv_held_bytes(const struct kv_cache *kv, const struct kv_seq *seq) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) bytes += kv_group_held_bytes(kv, seq, g);
    return bytes;
}

uint32_t kv_n_blocks(const struct kv_cache *kv, const struct kv_seq *seq) {
    uint32_t n = 0;
    for (unsigned g = 0; g < kv->layout.n_groups && seq->table != 0; g++) {
        const struct block_table *table = table_of(kv, seq, g);
        n += table->n - table->first;
    }
    return n;
}

struct kv_sharing kv_shared(const struct kv_cache *kv, const struct kv_seq *seq) {
    struct kv_sharing shared = {0};
    if (seq->table == 0) return shared;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const struct block_table *table = table_of(kv, seq, g);
        for (uint32_t i = table->first; i < table->n; i++) {
            if (kv->pools[g].blocks[table->blocks[i]].n_references < 2) continue;
            shared.n_blocks++;
            shared.bytes += kv->layout.groups[g].block_bytes;
        }
    }
    return shared;
}

/* The longest sequence, in tokens, whose blocks find room. */
static uint64_t tokens_that_fit(const struct kv_cache *kv, const struct slab_room *room) {
    uint64_t fit = 0, too_many = UINT32_MAX / BLOCK_TOKENS + 1; /* blocks */
    while (too_many - fit > 1) {
        uint64_t n_blocks = fit + (too_many - fit) / 2, n[SLAB_MAX_CLASSES] = {0};
        for (unsigned g = 0; g < kv->layout.n_groups; g++)
            n[g] = kv_group_blocks(&kv->layout.groups[g], n_blocks * BLOCK_TOKENS, kv->opts.step_tokens);
        if (slab_arena_fits(&kv->arena, room, n))
            fit = n_blocks;
        else
            too_many = n_blocks;
    }
    return fit == UINT32_MAX / BLOCK_TOKENS ? UINT32_MAX : fit * BLOCK_TOKENS;
}

bool kv_has_room(const struct kv_cache *kv, const uint64_t *n_blocks) {
    struct slab_room room = slab_arena_rooms(&kv->arena, true);
    return slab_arena_fits(&kv->arena, &room, n_blocks);
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
                             .waste_bytes = slab_arena_waste_bytes(&kv->arena)};
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const uint32_t *n_in_state = kv->pools[g].n_in_state;
        uint64_t block_bytes = kv->layout.groups[g].block_bytes;
        usage.n_open += n_in_state[BLOCK_OPEN];
        usage.n_sealed += n_in_state[BLOCK_SEALED];
        usage.n_idle += n_in_state[BLOCK_IDLE];
        usage.held_bytes += ((uint64_t)n_in_state[BLOCK_OPEN] + n_in_state[BLOCK_SEALED]) * block_bytes;
        usage.idle_bytes += n_in_state[BLOCK_IDLE] * block_bytes;
    }
    struct slab_room empty = {.n_slabs = kv->arena.n_slabs}, room = slab_arena_rooms(&kv->arena, true);
    usage.free_tokens = tokens_that_fit(kv, &room);
    usage.capacity_tokens = tokens_that_fit(kv, &empty);
    return usage;
}
