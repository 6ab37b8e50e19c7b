#include "naive_kv.h"

#include <string.h>

struct world world;

bool naive_is_seen(unsigned group, uint32_t position, uint32_t b) {
    return world.window[group] == 0 || (b + 1) * BLOCK_TOKENS - 1 + world.window[group] > position;
}

bool naive_is_idle(const struct naive_block *block) { return block->is_keyed && block->n_holders == 0; }

/* ---- room, from the list of blocks alone ---- */

/* The class whose payloads lie in a slab, or -1; *n_used of them. Idle ones may be left out. */
static int class_of_slab(uint32_t slab, bool with_idle, uint32_t *n_used) {
    *n_used = 0;
    int class = -1;
    for (uint32_t i = slab * world.slab_bytes; i < (slab + 1) * world.slab_bytes; i++) {
        const struct naive_block *block = &world.blocks[i];
        if (!block->is_used || (!with_idle && naive_is_idle(block))) continue;
        CHECK(class < 0 || class == (int)naive_class(block));
        class = (int)naive_class(block);
        ++*n_used;
    }
    return class;
}

static uint32_t per_slab(unsigned class) { return world.slab_bytes / world.class_bytes[class]; }

uint32_t naive_free_slabs(bool with_idle, uint32_t room[N_CLASSES]) {
    uint32_t n_free = 0, n_used;
    for (int c = 0; c < N_CLASSES; c++) room[c] = 0;
    for (uint32_t slab = 0; slab < world.n_slabs; slab++) {
        int class = class_of_slab(slab, with_idle, &n_used);
        if (class < 0)
            n_free++;
        else
            room[class] += per_slab((unsigned)class) - n_used;
    }
    return n_free;
}

bool naive_can_take(uint32_t n_free, const uint32_t room[N_CLASSES], const uint32_t n[N_CLASSES]) {
    uint32_t n_slabs = 0;
    for (unsigned c = 0; c < N_CLASSES; c++) {
        uint32_t missing = n[c] > room[c] ? n[c] - room[c] : 0;
        n_slabs += (missing + per_slab(c) - 1) / per_slab(c);
    }
    return n_slabs <= n_free;
}

void naive_add_reserve(uint32_t n[N_CLASSES]) {
    for (unsigned g = 0; g < N_GROUPS; g++)
        if (world.demotes[g]) n[N_GROUPS + g] += per_slab(g);
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

uint32_t naive_most_tokens(uint32_t n_free, const uint32_t room[N_CLASSES], bool is_demoted) {
    for (uint32_t n = 0;; n++) {
        uint32_t n_blocks[N_CLASSES] = {0};
        bool is_bounded = n == FAR;
        for (unsigned g = 0; g < N_GROUPS; g++) {
            bool is_full = world.window[g] == 0;
            n_blocks[g] = is_full ? n + 1 : world.most_held[g][n + 1 < FAR ? n + 1 : FAR];
            is_bounded &= !is_full;
            if (!is_demoted || !world.demotes[g] || n_blocks[g] < 2) continue;
            n_blocks[N_GROUPS + g] = n_blocks[g] - 2; /* all but the first and the last */
            n_blocks[g] = 2;
        }
        naive_add_reserve(n_blocks);
        if (!naive_can_take(n_free, room, n_blocks)) return n * BLOCK_TOKENS;
        if (is_bounded) return UINT32_MAX;
    }
}

/* ---- the list of prefixes ---- */

struct naive_prefix *naive_find_prefix(uint64_t salt, const int32_t *tokens, uint32_t n_blocks) {
    for (uint32_t i = 0; i < world.max_prefixes; i++) {
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
    for (uint32_t i = 0; i < world.max_prefixes; i++) {
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
    for (uint32_t i = 0; i < world.max_prefixes; i++) {
        struct naive_prefix *prefix = &world.prefixes[i];
        bool is_empty = prefix->is_used;
        for (int g = 0; g < N_GROUPS; g++) is_empty &= prefix->payloads[g] == NONE;
        if (!is_empty || !naive_is_leaf(prefix)) continue;
        *prefix = (struct naive_prefix){0};
        i = UINT32_MAX; /* from the start: its parent may be next */
    }
}

struct naive_prefix *naive_add_prefix(uint64_t salt, const int32_t *tokens, uint32_t n_blocks) {
    struct naive_prefix *prefix = world.prefixes;
    while (prefix->is_used) prefix++;
    CHECK(prefix < world.prefixes + world.max_prefixes);
    *prefix =
        (struct naive_prefix){.is_used = true, .salt = salt, .n_blocks = n_blocks, .payloads = {NONE, NONE}};
    memcpy(prefix->tokens, tokens, n_blocks * BLOCK_TOKENS * sizeof *tokens);
    return prefix;
}

uint32_t naive_count_prefixes(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < world.max_prefixes; i++) n += world.prefixes[i].is_used;
    return n;
}

/* ---- blocks ---- */

static void own(uint64_t payload, const struct naive_block *block) {
    CHECK(payload + naive_bytes(block) <= world.opts.memory_bytes);
    for (uint32_t i = 0; i < naive_bytes(block); i++) {
        CHECK(world.owner[payload + i] == NOBODY);
        world.owner[payload + i] = (uint16_t)(1 + payload);
    }
    world.blocks[payload] = *block;
}

static void disown(uint64_t payload) {
    const uint32_t n_bytes = naive_bytes(&world.blocks[payload]);
    for (uint32_t i = 0; i < n_bytes; i++) {
        CHECK(world.owner[payload + i] == 1 + payload);
        world.owner[payload + i] = NOBODY;
    }
    world.blocks[payload] = (struct naive_block){0};
}

void naive_own_block(unsigned group, uint64_t payload) {
    own(payload, &(struct naive_block){.is_used = true, .group = group, .n_holders = 1});
}

static void free_block(uint64_t payload) {
    const struct naive_block *block = &world.blocks[payload];
    CHECK(block->is_used && block->n_holders == 0);
    disown(payload);
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
    for (uint32_t i = 0; i < world.max_prefixes; i++) {
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
        bytes += naive_bytes(&world.blocks[victim->payloads[g]]);
        free_block(victim->payloads[g]);
        victim->payloads[g] = NONE;
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

/* ---- demotion ---- */

/* How warm a block is: idle ones first, as the policy has it, then those of the longest sequences. */
struct warmth {
    uint32_t class;
    uint64_t first, second;
};

static bool is_colder(const struct warmth *a, const struct warmth *b) {
    if (a->class != b->class) return a->class < b->class;
    return a->first != b->first ? a->first < b->first : a->second < b->second;
}

static const struct naive_prefix *prefix_of_block(uint64_t payload) {
    for (uint32_t i = 0; i < world.max_prefixes; i++)
        for (unsigned g = 0; g < N_GROUPS; g++)
            if (world.prefixes[i].is_used && world.prefixes[i].payloads[g] == payload)
                return &world.prefixes[i];
    return NULL;
}

static uint32_t longest_holder(uint64_t payload) {
    uint32_t longest = 0;
    for (int i = 0; i < MAX_SEQUENCES + 1; i++) {
        const struct naive_sequence *s = &world.sequences[i];
        for (unsigned g = 0; g < N_GROUPS; g++)
            for (uint32_t b = s->n_passed[g]; b < s->n_blocks; b++)
                if (s->payloads[g][b] == payload && s->n_computed > longest) longest = s->n_computed;
    }
    return longest;
}

static struct warmth warmth_of(uint64_t payload) {
    const struct naive_prefix *prefix = prefix_of_block(payload);
    if (!naive_is_idle(&world.blocks[payload]))
        return (struct warmth){UINT32_MAX, UINT64_MAX - longest_holder(payload), prefix->n_blocks};
    const uint64_t n_hits = prefix->n_hits;
    return (struct warmth){2 * prefix->priority + 1, world.is_by_hits ? n_hits : prefix->used,
                           world.is_by_hits ? prefix->used : 0};
}

static bool can_demote(uint64_t payload) {
    const struct naive_block *block = &world.blocks[payload];
    if (!block->is_used || !block->is_keyed || block->is_demoted || !world.demotes[block->group])
        return false;
    for (uint32_t i = 0; i < world.n_copies; i++)
        if (world.copies[i].source == payload) return false;
    return prefix_of_block(payload)->n_blocks > 1;
}

/* Blocks of a slab that can be demoted, into `payloads`; *warmth is the warmest one's. */
static uint32_t demotable(uint32_t slab, bool with_idle, uint64_t *payloads, struct warmth *warmth) {
    uint32_t n = 0;
    for (uint64_t i = slab * world.slab_bytes; i < (slab + 1) * world.slab_bytes; i++) {
        if (!can_demote(i) || (!with_idle && naive_is_idle(&world.blocks[i]))) continue;
        struct warmth own_warmth = warmth_of(i);
        if (n == 0 || is_colder(warmth, &own_warmth)) *warmth = own_warmth;
        payloads[n++] = i;
    }
    return n;
}

static void rename_block(uint64_t from, uint64_t to) {
    for (unsigned g = 0; g < N_GROUPS; g++) {
        for (int i = 0; i < MAX_SEQUENCES + 1; i++)
            for (uint32_t b = world.sequences[i].n_passed[g]; b < world.sequences[i].n_blocks; b++)
                if (world.sequences[i].payloads[g][b] == from) world.sequences[i].payloads[g][b] = to;
        for (uint32_t i = 0; i < world.max_prefixes; i++)
            if (world.prefixes[i].is_used && world.prefixes[i].payloads[g] == from)
                world.prefixes[i].payloads[g] = to;
    }
}

/* The next demotion that the cache has listed: it says where to. */
static const struct kv_op *next_reencoding(void) {
    const struct kv_op *ops;
    uint32_t n_before = 0;
    for (uint32_t i = 0, n = kv_ops(world.cache, &ops); i < n; i++)
        if (ops[i].kind == KV_REENCODE && n_before++ == world.n_reencodings) return &ops[i];
    CHECK(!"demoted");
    return NULL;
}

static uint64_t demote_slab(uint64_t *payloads, uint32_t n) {
    uint64_t bytes = 0;
    for (; n > 0; n--) {
        const struct kv_op *op = next_reencoding();
        world.n_reencodings++;
        uint32_t i = 0; /* in any order */
        while (i < n && payloads[i] != op->source) i++;
        CHECK(i < n);
        payloads[i] = payloads[n - 1];
        struct naive_block block = world.blocks[op->source];
        uint64_t rows[BLOCK_TOKENS];
        for (uint32_t slot = 0; slot < BLOCK_TOKENS; slot++) rows[slot] = world.content[op->source + slot];
        CHECK(op->group == block.group && op->n_slots == BLOCK_TOKENS);
        block.is_demoted = true;
        own(op->target, &block);
        rename_block(op->source, op->target);
        disown(op->source);
        for (uint32_t slot = 0; slot < BLOCK_TOKENS; slot++) world.content[op->target + slot] = rows[slot];
        bytes += world.class_bytes[block.group] - world.class_bytes[N_GROUPS + block.group];
        world.n_demotions++;
    }
    world.demoted_bytes += bytes;
    return bytes;
}

/* Whether demoting n_here of a slab's n_used blocks helps: it empties, or leaves room that is wanted and can
 * be had without the reserve. */
static bool is_useful(unsigned class, uint32_t n_here, uint32_t n_used, const uint32_t *n) {
    uint32_t room[N_CLASSES], n_free = naive_free_slabs(true, room), after[N_CLASSES] = {0};
    if (n_here == n_used) return true;
    if (n == NULL || n[class] <= room[class]) return false;
    naive_add_reserve(after);
    after[N_GROUPS + class] += n_here;
    return naive_can_take(n_free, room, after);
}

/* Demotes the coldest slab, and adds the bytes that this frees; false if none helps. */
static bool demote_coldest(const uint32_t *n, uint64_t *freed) {
    uint64_t best[MAX_ARENA_BYTES / 4], payloads[MAX_ARENA_BYTES / 4];
    uint32_t n_best = 0;
    struct warmth coldest = {0}, warmth = {0};
    for (uint32_t slab = 0; slab < world.n_slabs; slab++) {
        uint32_t n_used, n_here = demotable(slab, true, payloads, &warmth);
        if (n_here == 0) continue;
        int class = class_of_slab(slab, true, &n_used);
        if (!is_useful((unsigned)class, n_here, n_used, n)) continue;
        if (n_best > 0 && !is_colder(&warmth, &coldest)) continue;
        memcpy(best, payloads, sizeof best);
        n_best = n_here;
        coldest = warmth;
    }
    if (n_best > 0) *freed += demote_slab(best, n_best);
    return n_best > 0;
}

uint32_t naive_free_when_demoted(uint32_t room[N_CLASSES]) {
    uint64_t payloads[MAX_ARENA_BYTES / 4];
    struct warmth warmth = {0};
    uint32_t n_free = naive_free_slabs(false, room), n_demoted[N_CLASSES] = {0};
    for (uint32_t slab = 0; slab < world.n_slabs; slab++) {
        uint32_t n_used, n = demotable(slab, false, payloads, &warmth);
        if (n == 0) continue;
        unsigned class = (unsigned)class_of_slab(slab, false, &n_used);
        n_demoted[N_GROUPS + class] += n;
        room[class] += n;
        if (n < n_used) continue;
        room[class] -= per_slab(class);
        n_free++;
    }
    for (unsigned c = 0; c < N_CLASSES; c++) {
        uint32_t missing = n_demoted[c] > room[c] ? n_demoted[c] - room[c] : 0;
        uint32_t n_slabs = (missing + per_slab(c) - 1) / per_slab(c);
        if (n_slabs > n_free) {
            memset(room, 0, N_CLASSES * sizeof *room);
            return 0;
        }
        n_free -= n_slabs;
        room[c] += n_slabs * per_slab(c) - n_demoted[c];
    }
    return n_free;
}

static bool fits_now(const uint32_t n[N_CLASSES]) {
    uint32_t room[N_CLASSES], n_free = naive_free_slabs(true, room);
    return naive_can_take(n_free, room, n);
}

bool naive_make_room(const uint32_t n_wanted[N_CLASSES]) {
    uint32_t n[N_CLASSES], room[N_CLASSES], n_free;
    uint64_t freed = 0;
    memcpy(n, n_wanted, sizeof n);
    naive_add_reserve(n);
    n_free = naive_free_slabs(false, room);
    if (!naive_can_take(n_free, room, n)) {
        n_free = naive_free_when_demoted(room);
        if (!naive_can_take(n_free, room, n)) return false;
    }
    for (bool goes_on = true; goes_on && !fits_now(n);) {
        goes_on = false;
        while (!fits_now(n) && demote_coldest(n, &freed)) goes_on = true;
        while (!fits_now(n) && naive_evict_one() > 0) goes_on = true;
    }
    return fits_now(n);
}

uint64_t naive_demote(uint64_t bytes) {
    uint64_t freed = 0;
    while (freed < bytes && demote_coldest(NULL, &freed)) continue;
    return freed;
}
