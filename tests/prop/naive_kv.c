#include "naive_kv.h"

#include <string.h>

struct world world;

bool naive_is_seen(unsigned group, uint32_t position, uint32_t b) {
    return world.window[group] == 0 || (b + 1) * BLOCK_TOKENS - 1 + world.window[group] > position;
}

bool naive_is_idle(const struct naive_block *block) { return block->is_keyed && block->n_holders == 0; }

/* ---- room, from the list of blocks alone ---- */

/* The group whose payloads lie in a slab, or -1; *n_used of them. Idle ones may be left out. */
static int group_of_slab(uint32_t slab, bool with_idle, uint32_t *n_used) {
    *n_used = 0;
    int group = -1;
    for (uint32_t i = slab * world.slab_bytes; i < (slab + 1) * world.slab_bytes; i++) {
        const struct naive_block *block = &world.blocks[i];
        if (!block->is_used || (!with_idle && naive_is_idle(block))) continue;
        CHECK(group < 0 || group == (int)block->group);
        group = (int)block->group;
        ++*n_used;
    }
    return group;
}

uint32_t naive_free_slabs(bool with_idle, uint32_t room[N_GROUPS]) {
    uint32_t n_free = 0, n_used;
    for (int g = 0; g < N_GROUPS; g++) room[g] = 0;
    for (uint32_t slab = 0; slab < world.n_slabs; slab++) {
        int group = group_of_slab(slab, with_idle, &n_used);
        if (group < 0)
            n_free++;
        else
            room[group] += world.slab_bytes / world.block_bytes[group] - n_used;
    }
    return n_free;
}

bool naive_can_take(uint32_t n_free, const uint32_t room[N_GROUPS], const uint32_t n[N_GROUPS]) {
    uint32_t n_slabs = 0;
    for (int g = 0; g < N_GROUPS; g++) {
        uint32_t per_slab = world.slab_bytes / world.block_bytes[g],
                 missing = n[g] > room[g] ? n[g] - room[g] : 0;
        n_slabs += (missing + per_slab - 1) / per_slab;
    }
    return n_slabs <= n_free;
}

uint32_t naive_most_held(unsigned group, uint32_t n_tokens) {
    uint32_t most = 0;
    for (uint32_t begin = 0; begin < n_tokens; begin++) {
        uint32_t end = begin + world.opts.step_tokens, n = 0;
        for (uint32_t b = 0; b < blocks_of(end < n_tokens ? end : n_tokens); b++)
            n += naive_is_seen(group, begin, b);
        if (n > most) most = n;
    }
    return most;
}

uint32_t naive_most_tokens(uint32_t n_free, const uint32_t room[N_GROUPS]) {
    for (uint32_t n = 0;; n++) {
        uint32_t n_blocks[N_GROUPS];
        bool is_bounded = n == FAR;
        for (unsigned g = 0; g < N_GROUPS; g++) {
            bool is_full = world.window[g] == 0;
            n_blocks[g] = is_full ? n + 1 : world.most_held[g][n + 1 < FAR ? n + 1 : FAR];
            is_bounded &= !is_full;
        }
        if (!naive_can_take(n_free, room, n_blocks)) return n * BLOCK_TOKENS;
        if (is_bounded) return UINT32_MAX;
    }
}

/* ---- the list of prefixes ---- */

struct naive_prefix *naive_find_prefix(uint64_t salt, const int32_t *tokens, uint32_t n_blocks) {
    for (int i = 0; i < MAX_PREFIXES; i++) {
        struct naive_prefix *prefix = &world.prefixes[i];
        if (prefix->is_used && prefix->salt == salt && prefix->n_blocks == n_blocks &&
            memcmp(prefix->tokens, tokens, n_blocks * BLOCK_TOKENS * sizeof *tokens) == 0)
            return prefix;
    }
    return NULL;
}

struct naive_prefix *naive_prefix_of(const struct naive_sequence *s, uint32_t n_blocks) {
    return naive_find_prefix(s->salt, s->tokens, n_blocks);
}

bool naive_begins_with(const struct naive_prefix *prefix, uint64_t salt, const int32_t *tokens,
                       uint32_t n_blocks) {
    return prefix->is_used && prefix->salt == salt && prefix->n_blocks >= n_blocks &&
           memcmp(prefix->tokens, tokens, n_blocks * BLOCK_TOKENS * sizeof *tokens) == 0;
}

void naive_touch(struct naive_prefix *prefix) {
    prefix->touched = ++world.n_touches;
    prefix->used_us = world.now_us;
}

bool naive_is_leaf(const struct naive_prefix *prefix) {
    for (int i = 0; i < MAX_PREFIXES; i++) {
        const struct naive_prefix *longer = &world.prefixes[i];
        if (longer != prefix && naive_begins_with(longer, prefix->salt, prefix->tokens, prefix->n_blocks))
            return false;
    }
    for (int i = 0; i < KV_MAX_LEASES; i++) {
        const struct naive_lease *lease = &world.leases[i];
        if (lease->is_used && naive_find_prefix(lease->salt, lease->tokens, lease->n_blocks) == prefix)
            return false;
    }
    for (uint32_t i = 0; i < world.n_copies; i++) {
        const struct naive_copy *copy = &world.copies[i];
        if (copy->is_of_prefix && naive_find_prefix(copy->salt, copy->tokens, copy->n_blocks) == prefix)
            return false;
    }
    for (int i = 0; i < MAX_SEQUENCES + 1; i++) {
        const struct naive_sequence *s = &world.sequences[i];
        if (s->n_computed / BLOCK_TOKENS == prefix->n_blocks &&
            naive_prefix_of(s, prefix->n_blocks) == prefix)
            return false;
    }
    return true;
}

void naive_clean(void) {
    for (int i = 0; i < MAX_PREFIXES; i++) {
        struct naive_prefix *prefix = &world.prefixes[i];
        bool is_empty = prefix->is_used;
        for (int g = 0; g < N_GROUPS; g++) is_empty &= prefix->payloads[g] == NONE;
        if (!is_empty || !naive_is_leaf(prefix)) continue;
        *prefix = (struct naive_prefix){0};
        i = -1; /* from the start: its parent may be next */
    }
}

struct naive_prefix *naive_add_prefix(uint64_t salt, const int32_t *tokens, uint32_t n_blocks) {
    struct naive_prefix *prefix = world.prefixes;
    while (prefix->is_used) prefix++;
    CHECK(prefix < world.prefixes + MAX_PREFIXES);
    *prefix =
        (struct naive_prefix){.is_used = true, .salt = salt, .n_blocks = n_blocks, .payloads = {NONE, NONE}};
    memcpy(prefix->tokens, tokens, n_blocks * BLOCK_TOKENS * sizeof *tokens);
    return prefix;
}

uint32_t naive_count_prefixes(void) {
    uint32_t n = 0;
    for (int i = 0; i < MAX_PREFIXES; i++) n += world.prefixes[i].is_used;
    return n;
}

/* ---- blocks ---- */

void naive_own_block(unsigned group, uint64_t payload) {
    CHECK(payload + world.block_bytes[group] <= world.opts.memory_bytes);
    for (uint32_t i = 0; i < world.block_bytes[group]; i++) {
        CHECK(world.owner[payload + i] == NOBODY);
        world.owner[payload + i] = (uint16_t)(1 + payload);
    }
    world.blocks[payload] = (struct naive_block){.is_used = true, .group = group, .n_holders = 1};
}

static void free_block(uint64_t payload) {
    const struct naive_block *block = &world.blocks[payload];
    CHECK(block->is_used && block->n_holders == 0);
    for (uint32_t i = 0; i < world.block_bytes[block->group]; i++) {
        CHECK(world.owner[payload + i] == 1 + payload);
        world.owner[payload + i] = NOBODY;
    }
    world.blocks[payload] = (struct naive_block){0};
}

void naive_leave_block(const struct naive_prefix *prefix, uint64_t payload, bool is_passed, uint64_t used) {
    struct naive_block *block = &world.blocks[payload];
    CHECK(block->n_holders > 0);
    if (--block->n_holders > 0) return;
    block->is_passed = is_passed;
    block->used = used;
    block->n_hits = prefix != NULL ? prefix->n_hits : 0;
    block->priority = prefix != NULL ? prefix->priority : 0;
    if (!block->is_keyed) free_block(payload);
}

/* An item of what is idle. */
struct candidate {
    uint32_t class, n_hits;
    uint64_t used;
};

static bool goes_before(const struct candidate *a, const struct candidate *b) {
    if (a->class != b->class) return a->class < b->class;
    if (world.is_by_hits && a->n_hits != b->n_hits) return a->n_hits < b->n_hits;
    return a->used < b->used;
}

static bool is_candidate(const struct naive_prefix *prefix, unsigned part, struct candidate *candidate) {
    if (part == 0) {
        *candidate = (struct candidate){2 * prefix->priority + 1, prefix->n_hits, prefix->used};
        return naive_is_leaf(prefix);
    }
    uint64_t payload = prefix->payloads[part - 1];
    if (world.window[part - 1] == 0 || payload == NONE) return false;
    const struct naive_block *block = &world.blocks[payload];
    *candidate = (struct candidate){2 * block->priority + !block->is_passed, block->n_hits, block->used};
    return naive_is_idle(block);
}

struct naive_prefix *naive_find_victim(unsigned *part) {
    struct naive_prefix *victim = NULL;
    struct candidate best = {0}, candidate;
    for (int i = 0; i < MAX_PREFIXES; i++) {
        struct naive_prefix *prefix = &world.prefixes[i];
        for (unsigned p = 0; p <= N_GROUPS && prefix->is_used; p++) {
            if (!is_candidate(prefix, p, &candidate)) continue;
            if (victim != NULL && !goes_before(&candidate, &best)) continue;
            victim = prefix;
            best = candidate;
            *part = p;
        }
    }
    return victim;
}

uint64_t naive_free(struct naive_prefix *victim, unsigned part) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        if (victim->payloads[g] == NONE || (part != 0 && part != 1 + g)) continue;
        CHECK(naive_is_idle(&world.blocks[victim->payloads[g]]));
        free_block(victim->payloads[g]);
        victim->payloads[g] = NONE;
        bytes += world.block_bytes[g];
    }
    return bytes;
}

uint64_t naive_evict_one(void) {
    unsigned part;
    struct naive_prefix *victim = naive_find_victim(&part);
    if (victim == NULL) return 0;
    for (unsigned g = 0; g < N_GROUPS; g++)
        world.n_evictions += victim->payloads[g] != NONE && (part == 0 || part == 1 + g);
    uint64_t bytes = naive_free(victim, part);
    naive_clean();
    return bytes;
}

/* ---- copies ---- */

void naive_end_copy(uint32_t i) {
    const struct naive_copy copy = world.copies[i];
    for (world.n_copies--; i < world.n_copies; i++) world.copies[i] = world.copies[i + 1];
    struct naive_prefix *prefix = NULL;
    uint64_t used = ++world.n_uses;
    if (copy.is_of_prefix) {
        prefix = naive_find_prefix(copy.salt, copy.tokens, copy.n_blocks);
        CHECK(prefix != NULL && prefix->payloads[copy.group] == copy.source);
        prefix->used = used;
    }
    naive_leave_block(prefix, copy.source, false, used);
}

uint64_t naive_content(uint64_t payload, uint32_t slot) {
    for (uint32_t i = world.n_copies; i-- > 0;) {
        const struct naive_copy *copy = &world.copies[i];
        if (copy->target != payload || slot >= copy->n_slots) continue;
        payload = copy->source;
    }
    return world.content[payload + slot];
}
