/* Which blocks are stored smaller when memory is short.
 *
 * Blocks go slab by slab, as only an empty slab serves another class; room to demote what a slab holds is
 * kept free at all times (the reserve), and the slab that this empties is the next reserve. Where a slab also
 * holds what cannot be demoted (first blocks, blocks that are not full), demoting the others leaves holes in
 * it for new blocks: that is done if it does not cost the reserve.
 *
 * The coldest slab goes first; a slab is as cold as its warmest block that can be demoted. Cold are IDLE
 * blocks, in the policy's order, then those of the longest sequences, and of one sequence the first; what
 * several have counts for the longest. Nothing is demoted twice, and what a step demotes is little more than
 * what it makes room for: so the work of a step is in proportion to the tokens that it adds. */
#include "kv/kv_demote.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/evict_heap.h"
#include "kv/kv_parts.h"

#define SLAB_NONE UINT32_MAX
#define IN_COPY UINT32_MAX /* in kv->longest: a copy is due from the block */

int kv_demotion_open(struct kv_cache *kv) {
    if (!kv->demotes) return 0;
    kv->heats = mem_alloc(kv->arena.n_slabs, sizeof *kv->heats);
    if (kv->heats == NULL) return ERR_NO_MEMORY;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        if (!kv->layout.groups[g].demotes) continue;
        kv->next_in_slab[g] = mem_alloc(kv->pools[g].n_blocks, sizeof *kv->next_in_slab[g]);
        kv->longest[g] = mem_alloc(kv->pools[g].n_blocks, sizeof *kv->longest[g]);
        if (kv->next_in_slab[g] == NULL || kv->longest[g] == NULL) return ERR_NO_MEMORY;
    }
    return 0;
}

void kv_demotion_close(struct kv_cache *kv) {
    mem_free(kv->heats);
    for (unsigned g = 0; g < KV_MAX_GROUPS; g++) {
        mem_free(kv->next_in_slab[g]);
        mem_free(kv->longest[g]);
    }
}

static uint32_t slab_class(const struct kv_cache *kv, unsigned group, enum kv_class class) {
    return kv->pools[group].slab_classes[class];
}

void kv_add_reserve(const struct kv_cache *kv, uint64_t *n) {
    for (unsigned g = 0; g < kv->layout.n_groups && kv->demotes; g++)
        if (kv->layout.groups[g].demotes)
            n[slab_class(kv, g, KV_DEMOTED)] +=
                kv->arena.classes[slab_class(kv, g, KV_OPEN)].payloads_per_slab;
}

/* ---- looking ---- */

/* How long the sequences are that have a group's blocks, and which blocks are to be copied from. */
static void find_longest(const struct kv_cache *kv, unsigned group) {
    uint32_t *longest = kv->longest[group];
    memset(longest, 0, kv->pools[group].n_blocks * sizeof *longest);
    for (size_t t = 0; t < kv->opts.max_sequences; t++) {
        const struct block_table *table = &kv->tables[t * kv->layout.n_groups + group];
        uint32_t n_computed = kv->noted[t].n_computed;
        for (uint32_t i = table->first; kv->noted[t].table != 0 && i < table->n; i++)
            if (n_computed > longest[table->blocks[i]]) longest[table->blocks[i]] = n_computed;
    }
    for (uint32_t i = 0; i < kv->n_ops; i++)
        if (kv->ops[i].kind == KV_COPY && kv->ops[i].group == group) longest[kv->copies[i].source] = IN_COPY;
}

static bool can_demote(const struct kv_cache *kv, unsigned group, block_id id) {
    const struct block *block = &kv->pools[group].blocks[id];
    return (block->state == BLOCK_SEALED || block->state == BLOCK_IDLE) && block->class == KV_OPEN &&
           kv->tree.nodes[block->node].n_blocks > 1 && kv->longest[group][id] != IN_COPY;
}

static struct evict_rank rank_of(const struct kv_cache *kv, unsigned group, block_id id) {
    const struct block *block = &kv->pools[group].blocks[id];
    if (block->state == BLOCK_IDLE) return kv_idle_rank(kv, group, block);
    return (struct evict_rank){UINT32_MAX, UINT64_MAX - kv->longest[group][id],
                               kv->tree.nodes[block->node].n_blocks};
}

/* Fills heats with the blocks that can be demoted, IDLE ones included or not. */
static void look(const struct kv_cache *kv, bool with_idle) {
    for (uint32_t s = 0; s < kv->arena.n_slabs; s++) kv->heats[s] = (struct kv_heat){.first = BLOCK_NONE};
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        if (!kv->layout.groups[g].demotes) continue;
        find_longest(kv, g);
        for (block_id id = 0; id < kv->pools[g].n_blocks; id++) {
            const struct block *block = &kv->pools[g].blocks[id];
            if (!can_demote(kv, g, id) || (block->state == BLOCK_IDLE && !with_idle)) continue;
            struct kv_heat *heat = &kv->heats[block->payload / kv->arena.slab_bytes];
            struct evict_rank rank = rank_of(kv, g, id);
            if (heat->n++ == 0 || evict_goes_before(&heat->rank, &rank)) heat->rank = rank;
            kv->next_in_slab[g][id] = heat->first;
            heat->first = id;
        }
    }
}

static unsigned group_of_slab(const struct kv_cache *kv, uint32_t slab) {
    unsigned g = 0;
    while (slab_class(kv, g, KV_OPEN) != kv->arena.slabs[slab].class_index) g++;
    return g;
}

/* Takes n payloads of a class out of the room; false if there are not so many. */
static bool take_room(const struct kv_cache *kv, struct slab_room *room, uint32_t class, uint64_t n) {
    uint32_t per_slab = kv->arena.classes[class].payloads_per_slab;
    uint64_t missing = n > room->n_payloads[class] ? n - room->n_payloads[class] : 0;
    uint64_t n_slabs = (missing + per_slab - 1) / per_slab;
    if (n_slabs > room->n_slabs) return false;
    room->n_slabs -= n_slabs;
    room->n_payloads[class] += n_slabs * per_slab - n;
    return true;
}

struct slab_room kv_demoted_room(const struct kv_cache *kv) {
    struct slab_room room = slab_arena_rooms(&kv->arena, true);
    uint64_t n_demoted[SLAB_MAX_CLASSES] = {0};
    look(kv, false);
    for (uint32_t s = 0; s < kv->arena.n_slabs; s++) {
        const struct slab *slab = &kv->arena.slabs[s];
        const uint32_t n = kv->heats[s].n, n_held = slab->n_used - slab->n_idle;
        if (n == 0) continue;
        n_demoted[slab_class(kv, group_of_slab(kv, s), KV_DEMOTED)] += n;
        room.n_payloads[slab->class_index] += n;
        if (n < n_held) continue;
        room.n_payloads[slab->class_index] -= kv->arena.classes[slab->class_index].payloads_per_slab;
        room.n_slabs++;
    }
    for (uint32_t c = 0; c < kv->arena.n_classes; c++)
        if (!take_room(kv, &room, c, n_demoted[c])) return (struct slab_room){0};
    return room;
}

/* ---- demoting ---- */

/* All tables that have the block name its new payload. */
static void rename_payload(struct kv_cache *kv, unsigned group, block_id id) {
    const struct block_pool *pool = &kv->pools[group];
    uint32_t i = kv->tree.nodes[pool->blocks[id].node].n_blocks - 1;
    for (size_t t = 0; t < kv->opts.max_sequences; t++) {
        struct block_table *table = &kv->tables[t * kv->layout.n_groups + group];
        if (i >= table->first && i < table->n && table->blocks[i] == id) block_table_set(table, pool, i, id);
    }
}

static uint64_t demote_block(struct kv_cache *kv, unsigned group, block_id id) {
    struct block_pool *pool = &kv->pools[group];
    struct block *block = &pool->blocks[id];
    const size_t *class_bytes = kv->layout.groups[group].class_bytes;
    const uint64_t bytes = class_bytes[KV_OPEN] - class_bytes[KV_DEMOTED], source = block->payload;
    block_pool_demote(pool, id);
    rename_payload(kv, group, id);
    struct kv_op op = {.kind = KV_REENCODE,
                       .group = (uint8_t)group,
                       .n_slots = BLOCK_TOKENS,
                       .source = source,
                       .target = block->payload};
    kv_add_op(kv, op, (struct kv_copy){BLOCK_NONE, BLOCK_NONE, NODE_ROOT});
    if (kv->tree.nodes[block->node].n_leases[group] > 0) kv->leased_bytes -= bytes;
    kv->n_demotions++;
    kv->demoted_bytes += bytes;
    return bytes;
}

/* Demotes what can be of a slab; returns the bytes that this frees. */
static uint64_t demote_slab(struct kv_cache *kv, uint32_t slab) {
    unsigned group = group_of_slab(kv, slab);
    uint64_t bytes = 0;
    for (block_id id = kv->heats[slab].first, next; id != BLOCK_NONE; id = next) {
        next = kv->next_in_slab[group][id];
        bytes += demote_block(kv, group, id);
    }
    kv->heats[slab].n = 0;
    return bytes;
}

/* Whether holes in a slab that does not empty help, and leave the reserve as it is. n may be NULL. */
static bool is_useful(const struct kv_cache *kv, uint32_t slab, const struct slab_room *room,
                      const uint64_t *n) {
    const uint32_t n_here = kv->heats[slab].n, class = kv->arena.slabs[slab].class_index;
    if (n_here == kv->arena.slabs[slab].n_used) return true;
    if (n == NULL || n[class] <= room->n_payloads[class]) return false;
    uint64_t after[SLAB_MAX_CLASSES] = {0};
    kv_add_reserve(kv, after);
    after[slab_class(kv, group_of_slab(kv, slab), KV_DEMOTED)] += n_here;
    return slab_arena_fits(&kv->arena, room, after);
}

static uint32_t find_coldest(const struct kv_cache *kv, const uint64_t *n) {
    const struct slab_room room = slab_arena_rooms(&kv->arena, false);
    uint32_t coldest = SLAB_NONE;
    for (uint32_t s = 0; s < kv->arena.n_slabs; s++) {
        if (kv->heats[s].n == 0 || !is_useful(kv, s, &room, n)) continue;
        if (coldest == SLAB_NONE || evict_goes_before(&kv->heats[s].rank, &kv->heats[coldest].rank))
            coldest = s;
    }
    return coldest;
}

bool kv_demote_for(struct kv_cache *kv, const uint64_t *n) {
    bool did = false;
    if (!kv->demotes) return false;
    look(kv, true);
    for (;;) {
        struct slab_room room = slab_arena_rooms(&kv->arena, false);
        uint32_t slab = slab_arena_fits(&kv->arena, &room, n) ? SLAB_NONE : find_coldest(kv, n);
        if (slab == SLAB_NONE) return did;
        demote_slab(kv, slab);
        did = true;
    }
}

uint64_t kv_demote(struct kv_cache *kv, uint64_t bytes) {
    uint64_t freed = 0;
    if (!kv->demotes) return 0;
    look(kv, true);
    for (uint32_t slab; freed < bytes && (slab = find_coldest(kv, NULL)) != SLAB_NONE;)
        freed += demote_slab(kv, slab);
    return freed;
}
