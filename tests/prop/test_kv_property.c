/* Random operations against the KV cache and against a deliberately naive one, with blocks of 3 tokens, at
 * most 7 slabs (14 where blocks may be demoted), two groups, of which any may have a window, keys of 4 bits
 * and texts that often begin alike, so that every corner is near: full pools, cut blocks, passed blocks,
 * slabs that change their class, keys that collide, evictions.
 *
 *     test_kv_property [OPERATIONS [SEED]]
 *
 * After each operation kv_check must hold and everything that the cache says must be what the naive cache
 * says. The naive one keeps a list of all prefixes that are cached, for every byte of the arena the block
 * that owns it, and for every slot what was stored there: the salt and all tokens up to this one. Two owners
 * of a byte, or a slot that holds anything else than its sequence's tokens, end the run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kv/evict_list.h"
#include "kv/kv_demote.h"
#include "kv/kv_usage.h"
#include "naive_kv.h"

static uint64_t seed = 1, n_operations = 1000000;

/* The source of everything random: a run can be repeated from its seed and the number of its cache. */
static uint64_t stream, n_drawn;

/* How often the rarer things happened, all caches together: that they are tried is not enough. */
static struct {
    uint64_t n_copies, n_copied_sealed, n_cancelled, n_forked, n_extended, n_pinned, n_refused, n_expired,
        n_dropped, n_demoted, n_demotions;
} happened;

static uint32_t below(uint32_t n) { return (uint32_t)(rng_u64(stream, n_drawn++) % n); }

/* ---- comparing ---- */

/* What a slot holds that belongs to position i. */
static uint64_t meaning(const struct naive_sequence *s, uint32_t i) {
    uint64_t hash = s->salt + 1;
    for (uint32_t k = 0; k <= i; k++)
        hash = (hash ^ (uint64_t)(s->tokens[k] + 7)) * UINT64_C(0x9e3779b97f4a7c15);
    return hash;
}

static void check_sequence(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    uint64_t bytes = 0, undemoted_bytes = 0, shared_bytes = 0, meanings[MAX_TOKENS];
    uint32_t n_shared = 0;
    CHECK(s->kv.n_computed == s->n_computed && s->kv.n_reserved == s->n_reserved && s->kv.salt == s->salt);
    CHECK((s->kv.table != 0) == s->has_tables);
    for (uint32_t i = 0; i < s->n_computed; i++) meanings[i] = meaning(s, i);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n;
        uint64_t group_bytes = 0;
        const uint64_t *payloads = kv_payloads(world.cache, &s->kv, g, &n);
        CHECK(n == s->n_blocks);
        for (uint32_t b = 0; b < n; b++) {
            if (b < s->n_passed[g]) {
                CHECK(payloads[b] == NONE);
                continue;
            }
            const struct naive_block *block = &world.blocks[s->payloads[g][b]];
            CHECK(kv_payload_offset(payloads[b]) == s->payloads[g][b]);
            CHECK(kv_payload_is_demoted(payloads[b]) == block->is_demoted);
            group_bytes += naive_bytes(block);
            undemoted_bytes += world.class_bytes[g];
            if (!block->is_keyed || block->n_holders - block->n_leases == 1) continue;
            n_shared++;
            shared_bytes += naive_bytes(block);
        }
        CHECK(kv_group_held_bytes(world.cache, &s->kv, g) == group_bytes);
        bytes += group_bytes;
        for (uint32_t i = s->n_passed[g] * BLOCK_TOKENS; i < s->n_computed; i++)
            CHECK(naive_content(s->payloads[g][i / BLOCK_TOKENS], i % BLOCK_TOKENS) == meanings[i]);
    }
    CHECK(kv_held_bytes(world.cache, &s->kv) == bytes);
    struct kv_sharing shared = kv_shared(world.cache, &s->kv);
    CHECK(shared.n_blocks == n_shared && shared.bytes == shared_bytes);
    if (world.window[0] == 0 && world.window[1] == 0)
        CHECK(undemoted_bytes == kv_bytes_for(&world.layout, s->n_reserved, 1));
}

static void check_everything(void) {
    CHECK(kv_check(world.cache));
    CHECK(mem_count() == world.n_allocations);
    uint32_t n_sealed = 0, n_open = 0, n_idle = 0, room[N_CLASSES], none[N_CLASSES] = {0};
    uint64_t held = 0, idle = 0, leased = 0;
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) check_sequence(i);
    for (size_t i = 0; i < world.n_slabs * world.slab_bytes; i++) {
        if (world.owner[i] == NOBODY) continue;
        const struct naive_block *block = &world.blocks[world.owner[i] - 1];
        *(naive_is_idle(block) ? &idle : &held) += 1;
        leased += block->n_leases > 0;
        if (i == world.owner[i] - 1u)
            *(naive_is_idle(block) ? &n_idle : block->is_keyed ? &n_sealed : &n_open) += 1;
    }
    struct kv_usage usage = kv_usage(world.cache);
    CHECK(usage.arena_bytes == world.opts.memory_bytes);
    CHECK(usage.held_bytes == held && usage.idle_bytes == idle);
    CHECK(usage.n_sealed == n_sealed && usage.n_open == n_open && usage.n_idle == n_idle);
    CHECK(usage.leased_bytes == leased && leased <= world.opts.memory_bytes / 2);
    CHECK(usage.hit_tokens == world.hit_tokens);
    CHECK(usage.miss_tokens == world.asked_tokens - world.hit_tokens);
    CHECK(usage.copied_tokens == world.copied_tokens && usage.n_copies == world.n_copies_made);
    CHECK(usage.n_evictions == world.n_evictions);
    CHECK(usage.n_demotions == world.n_demotions && usage.demoted_bytes == world.demoted_bytes);
    uint32_t n_free = naive_free_slabs(true, room);
    CHECK(usage.waste_bytes == (uint64_t)(world.n_slabs - n_free) * world.slab_bytes - held - idle);
    n_free = naive_free_when_demoted(room);
    CHECK(usage.free_tokens == naive_most_tokens(n_free, room, true));
    CHECK(usage.capacity_tokens == naive_most_tokens(world.n_slabs, none, true));
    CHECK(usage.undemoted_tokens == naive_most_tokens(world.n_slabs, none, false));
}

/* ---- operations ---- */

static uint32_t count_holders(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) n += world.sequences[i].has_tables;
    return n;
}

/* What a sequence will say from position `from` on: one of few texts, sometimes with a slip. */
static void plan_text(struct naive_sequence *s, uint32_t from) {
    const int32_t *text = world.texts[below(N_TEXTS)];
    for (uint32_t i = from; i < MAX_TOKENS; i++) s->tokens[i] = text[i];
    if (from < MAX_TOKENS && below(3) == 0) s->tokens[from + below(MAX_TOKENS - from)] ^= 1;
}

/* Whether a sequence of these tokens could go on after n_blocks cached ones. */
static bool is_hit(uint64_t salt, const int32_t *tokens, uint32_t n_blocks) {
    for (uint32_t b = 0; b < n_blocks; b++) {
        const struct naive_prefix *prefix = naive_find_prefix(salt, tokens, b + 1);
        if (prefix == NULL) return false;
        for (unsigned g = 0; g < N_GROUPS; g++)
            if (naive_is_seen(g, n_blocks * BLOCK_TOKENS, b) && prefix->payloads[g] == NONE) return false;
    }
    return true;
}

/* The table's entry names the block of the prefix that ends with it. */
static void take_cached(struct naive_sequence *s, unsigned group, uint32_t b) {
    s->payloads[group][b] = naive_prefix_of(s, b + 1)->payloads[group];
    world.blocks[s->payloads[group][b]].n_holders++;
}

static void pass_blocks(struct naive_sequence *s) {
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (; !naive_is_seen(g, s->n_computed, s->n_passed[g]) && s->n_passed[g] < s->n_blocks;
             s->n_passed[g]++)
            if (s->payloads[g][s->n_passed[g]] != NONE)
                naive_leave_block(naive_prefix_of(s, s->n_passed[g] + 1), s->payloads[g][s->n_passed[g]],
                                  true, ++world.n_uses);
}

/* Copies into blocks that are gone are not due any more. */
static void cancel_copies(void) {
    for (uint32_t i = 0; i < world.n_copies;) {
        if (world.blocks[world.copies[i].target].is_used)
            i++;
        else {
            naive_end_copy(i);
            happened.n_cancelled++;
            i = 0;
        }
    }
}

static void drop_blocks(struct naive_sequence *s, uint32_t n_left) {
    for (uint32_t b = s->n_blocks; b-- > n_left;) {
        uint64_t used = ++world.n_uses;
        bool is_full = b < s->n_computed / BLOCK_TOKENS;
        struct naive_prefix *prefix = is_full ? naive_prefix_of(s, b + 1) : NULL;
        if (is_full) {
            prefix->used = used;
            prefix->used_us = world.now_us;
        }
        for (unsigned g = 0; g < N_GROUPS; g++)
            if (b >= s->n_passed[g]) naive_leave_block(prefix, s->payloads[g][b], false, used);
    }
    if (n_left < s->n_blocks) s->n_blocks = n_left;
}

/* Takes over the blocks up to n_blocks of the prefix that its tokens begin with. */
static void share(struct naive_sequence *s, uint32_t n_blocks) {
    uint32_t n_before = s->n_computed / BLOCK_TOKENS;
    drop_blocks(s, n_before);
    s->has_tables = true;
    s->n_computed = s->n_reserved = n_blocks * BLOCK_TOKENS;
    cancel_copies();
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (uint32_t b = s->n_blocks; b < n_blocks; b++) s->payloads[g][b] = NONE; /* as yet */
    s->n_blocks = n_blocks;
    pass_blocks(s);
    for (uint32_t b = n_blocks; b-- > n_before;) {
        struct naive_prefix *prefix = naive_prefix_of(s, b + 1);
        prefix->n_hits++;
        naive_touch(prefix);
        for (unsigned g = 0; g < N_GROUPS; g++)
            if (b >= s->n_passed[g]) take_cached(s, g, b);
    }
}

static uint32_t count_equal(const int32_t *a, const int32_t *b, uint32_t n) {
    uint32_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Where rows are: a prefix of one block more, or a sequence's block that is not full. */
struct rows {
    struct naive_prefix *prefix;
    const struct naive_sequence *sequence;
    uint32_t n_slots;
};

/* Rows can be copied of a block that is there and was not demoted. */
static bool has_rows(uint64_t payload) { return payload != NONE && !world.blocks[payload].is_demoted; }

/* Of the prefixes one block longer those found last, so many, and of them the one that goes on most alike. */
static void find_sealed_rows(const struct naive_sequence *s, uint32_t max, struct rows *best) {
    uint32_t n_full = s->n_computed / BLOCK_TOKENS;
    uint64_t before = UINT64_MAX;
    for (int n = 0; n < COMPARED_CHILDREN; n++) {
        struct naive_prefix *latest = NULL;
        for (uint32_t i = 0; i < world.max_prefixes; i++) {
            struct naive_prefix *prefix = &world.prefixes[i];
            if (prefix->n_blocks != n_full + 1 || !naive_begins_with(prefix, s->salt, s->tokens, n_full))
                continue;
            if (prefix->touched < before && (latest == NULL || prefix->touched > latest->touched))
                latest = prefix;
        }
        if (latest == NULL) return;
        before = latest->touched;
        uint32_t n_equal =
            count_equal(latest->tokens + n_full * BLOCK_TOKENS, s->tokens + n_full * BLOCK_TOKENS, max);
        bool has_all = true;
        for (unsigned g = 0; g < N_GROUPS; g++) has_all &= has_rows(latest->payloads[g]);
        if (has_all && n_equal > best->n_slots) *best = (struct rows){.prefix = latest, .n_slots = n_equal};
    }
}

static void find_open_rows(const struct naive_sequence *s, uint32_t max, struct rows *best) {
    uint32_t n_full = s->n_computed / BLOCK_TOKENS;
    for (uint32_t table = 1; table <= world.opts.max_sequences; table++)
        for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) {
            const struct naive_sequence *other = &world.sequences[i];
            if (other->kv.table != table || other == s || other->salt != s->salt) continue;
            if (other->n_computed / BLOCK_TOKENS != n_full) continue;
            if (count_equal(other->tokens, s->tokens, n_full * BLOCK_TOKENS) < n_full * BLOCK_TOKENS)
                continue;
            uint32_t n = other->n_computed % BLOCK_TOKENS;
            n = count_equal(other->tokens + n_full * BLOCK_TOKENS, s->tokens + n_full * BLOCK_TOKENS,
                            n < max ? n : max);
            if (n > best->n_slots) *best = (struct rows){.sequence = other, .n_slots = n};
        }
}

/* The i-th copy that the cache wants done. */
static const struct kv_op *copy_op(uint32_t i) {
    const struct kv_op *ops;
    uint32_t n_copies = 0, n_ops = kv_ops(world.cache, &ops);
    CHECK(n_ops == world.n_copies + world.n_reencodings);
    for (uint32_t k = 0; k < n_ops; k++)
        if (ops[k].kind == KV_COPY && n_copies++ == i) return &ops[k];
    CHECK(!"copied");
    return NULL;
}

/* The block behind the full ones gets rows, if it can. The payloads of a new one are known only afterwards.
 */
static bool copy_rows(struct naive_sequence *s, const struct rows *rows) {
    uint32_t n_full = s->n_computed / BLOCK_TOKENS, first = world.n_copies, one[N_CLASSES] = {1, 1};
    if (first + N_GROUPS > 2 * world.opts.max_sequences * N_GROUPS) return false;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        struct naive_copy *copy = &world.copies[world.n_copies++];
        *copy = (struct naive_copy){.group = g, .n_slots = rows->n_slots, .salt = s->salt, .target = NONE};
        copy->is_of_prefix = rows->prefix != NULL;
        copy->n_blocks = n_full + 1;
        if (copy->is_of_prefix) memcpy(copy->tokens, rows->prefix->tokens, sizeof copy->tokens);
        copy->source = copy->is_of_prefix ? rows->prefix->payloads[g] : rows->sequence->payloads[g][n_full];
        world.blocks[copy->source].n_holders++;
    }
    bool is_new = s->n_blocks == n_full;
    if (is_new && !naive_make_room(one)) {
        while (world.n_copies > first) naive_end_copy(world.n_copies - 1);
        return false;
    }
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint64_t target = copy_op(first + g)->target;
        if (is_new) naive_own_block(g, s->payloads[g][n_full] = target);
        CHECK(target == s->payloads[g][n_full]);
        world.copies[first + g].target = target;
    }
    s->has_tables = true;
    s->n_blocks = n_full + 1;
    s->n_computed = s->n_reserved = n_full * BLOCK_TOKENS + rows->n_slots;
    pass_blocks(s);
    if (rows->prefix != NULL) {
        rows->prefix->n_hits++;
        naive_touch(rows->prefix);
    }
    return true;
}

/* What a match or an extension should have done, up to n - 1 tokens. */
static void expect_extension(struct naive_sequence *s, uint32_t n) {
    if (s->has_tables) drop_blocks(s, blocks_of(s->n_computed));
    s->n_reserved = s->n_computed;
    cancel_copies();
    uint32_t n_before = s->n_computed, n_full = n_before / BLOCK_TOKENS;
    if (n < 2 || n - 1 <= n_before) return;
    bool has_table = s->has_tables || count_holders() < world.opts.max_sequences;
    uint32_t n_blocks = (n - 1) / BLOCK_TOKENS;
    while (n_blocks > n_full && !is_hit(s->salt, s->tokens, n_blocks)) n_blocks--;
    if (!has_table) return;
    if (n_blocks > n_full) share(s, n_blocks);
    uint32_t max = n - 1 - s->n_computed / BLOCK_TOKENS * BLOCK_TOKENS;
    struct rows best = {.n_slots = s->n_computed % BLOCK_TOKENS};
    if (max > BLOCK_TOKENS) max = BLOCK_TOKENS;
    if (n - 1 > s->n_computed) {
        find_sealed_rows(s, max, &best);
        find_open_rows(s, max, &best);
        if (best.prefix != NULL || best.sequence != NULL) copy_rows(s, &best);
    }
    s->n_found += s->n_computed - n_before;
}

static void match(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    if (s->has_tables) return;
    plan_text(s, 0);
    s->salt = below(N_SALTS);
    uint32_t n = below(world.opts.max_tokens + 1);
    uint32_t n_matched = kv_match(world.cache, &s->kv, s->tokens, n, s->salt);
    s->n_asked = n;
    expect_extension(s, n);
    CHECK(n_matched == s->n_computed);
}

static void extend(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n = below(world.opts.max_tokens + 1), n_before = s->n_computed;
    uint32_t n_gained = kv_extend(world.cache, &s->kv, s->tokens, n);
    expect_extension(s, n);
    happened.n_extended += n_gained > 0;
    CHECK(n_gained == s->n_computed - n_before);
}

static void fork_from(uint32_t index, uint32_t from) {
    struct naive_sequence *s = &world.sequences[index], *source = &world.sequences[from];
    if (s->has_tables || s == source || !source->has_tables) return;
    uint32_t n = below(source->n_computed + 1), n_forked = kv_fork(world.cache, &s->kv, &source->kv, n);
    memcpy(s->tokens, source->tokens, sizeof s->tokens);
    s->salt = source->salt;
    uint32_t n_blocks = n / BLOCK_TOKENS, n_slots = n % BLOCK_TOKENS;
    bool has_table = n > 0 && count_holders() < world.opts.max_sequences;
    for (; !is_hit(s->salt, s->tokens, n_blocks); n_slots = 0) n_blocks--;
    if (has_table && n_blocks > 0) share(s, n_blocks);
    if (has_table && n_slots > 0) {
        struct rows rows = {.n_slots = n_slots};
        bool has_all = true;
        if (n_blocks == source->n_computed / BLOCK_TOKENS)
            rows.sequence = source;
        else
            rows.prefix = naive_prefix_of(source, n_blocks + 1);
        for (unsigned g = 0; g < N_GROUPS && rows.prefix != NULL; g++)
            has_all &= has_rows(rows.prefix->payloads[g]);
        if (has_all) copy_rows(s, &rows);
    }
    happened.n_forked += n_forked % BLOCK_TOKENS != 0;
    CHECK(n_forked == s->n_computed);
}

/* Makes room as the cache should, or says why it should not. */
static int expect_reserve(const struct naive_sequence *s, uint32_t n_tokens) {
    if (n_tokens > world.opts.max_tokens) return ERR_TOO_LARGE;
    if (!s->has_tables && count_holders() == world.opts.max_sequences) return ERR_FULL;
    uint32_t n_blocks = blocks_of(n_tokens), n_new[N_CLASSES] = {0};
    for (unsigned g = 0; g < N_GROUPS; g++) n_new[g] = n_blocks > s->n_blocks ? n_blocks - s->n_blocks : 0;
    return naive_make_room(n_new) ? 0 : ERR_FULL;
}

static void reserve(uint32_t index, uint32_t n_new) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n_tokens = s->n_computed + n_new;
    s->before = s->kv;
    int result = kv_reserve(world.cache, &s->kv, n_new), expected = expect_reserve(s, n_tokens);
    CHECK(result == expected);
    if (expected < 0) {
        CHECK(memcmp(&s->before, &s->kv, sizeof s->kv) == 0);
        return;
    }
    s->has_tables = true;
    if (n_tokens > s->n_reserved) s->n_reserved = n_tokens;
    uint32_t n_blocks = blocks_of(s->n_reserved);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n;
        const uint64_t *payloads = kv_payloads(world.cache, &s->kv, g, &n);
        CHECK(n == n_blocks);
        for (uint32_t b = s->n_blocks; b < n_blocks; b++) naive_own_block(g, s->payloads[g][b] = payloads[b]);
    }
    s->n_blocks = n_blocks;
}

/* Block b of a sequence has become full. */
static void key_block(struct naive_sequence *s, uint32_t b) {
    struct naive_prefix *prefix = naive_prefix_of(s, b + 1);
    if (prefix == NULL) {
        while (naive_count_prefixes() == world.max_prefixes) CHECK(naive_evict_one() > 0);
        prefix = naive_add_prefix(s->salt, s->tokens, b + 1);
        prefix->created_us = world.now_us;
    }
    naive_touch(prefix);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint64_t own = s->payloads[g][b];
        if (prefix->payloads[g] == NONE) {
            prefix->payloads[g] = own;
            world.blocks[own].is_keyed = true;
        } else {
            take_cached(s, g, b);
            naive_leave_block(NULL, own, false, 0);
        }
    }
}

/* As an engine does before the forward pass. */
static void make_copies(void) {
    const struct kv_op *ops;
    CHECK(kv_ops(world.cache, &ops) == world.n_copies + world.n_reencodings);
    for (uint32_t i = 0; i < world.n_copies; i++) {
        const struct naive_copy *copy = &world.copies[i];
        const struct kv_op *op = copy_op(i);
        CHECK(op->group == copy->group && op->n_slots == copy->n_slots);
        CHECK(op->source == copy->source && op->target == copy->target);
        CHECK(world.blocks[copy->target].n_holders > 0 && !world.blocks[copy->target].is_keyed);
        for (uint32_t slot = 0; slot < copy->n_slots; slot++)
            world.content[copy->target + slot] = world.content[copy->source + slot];
        if (copy->group == 0) world.copied_tokens += copy->n_slots;
        happened.n_copies++;
        happened.n_copied_sealed += copy->is_of_prefix;
        world.n_copies_made++;
    }
}

static void commit(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    if (!s->has_tables) return;
    make_copies();
    uint32_t n_done = below(s->n_reserved - s->n_computed + 1), n_full = s->n_computed / BLOCK_TOKENS;
    for (uint32_t i = s->n_computed; i < s->n_computed + n_done; i++)
        for (unsigned g = 0; g < N_GROUPS; g++) {
            uint64_t payload = s->payloads[g][i / BLOCK_TOKENS];
            CHECK(!world.blocks[payload].is_keyed);
            world.content[payload + i % BLOCK_TOKENS] = meaning(s, i);
        }
    kv_commit(world.cache, &s->kv, s->tokens, n_done);
    while (world.n_copies > 0) naive_end_copy(0);
    world.n_reencodings = 0;
    world.asked_tokens += s->n_asked;
    world.hit_tokens += s->n_found;
    s->n_asked = s->n_found = 0;
    uint32_t n_computed = s->n_computed + n_done;
    for (uint32_t b = n_full; b < n_computed / BLOCK_TOKENS; b++) {
        key_block(s, b);
        s->n_computed = (b + 1) * BLOCK_TOKENS;
    }
    s->n_computed = n_computed;
    pass_blocks(s);
    naive_clean();
}

/* Whether a sequence can be cut to n_tokens with every slot where it is. */
static bool can_keep(const struct naive_sequence *s, uint32_t n_tokens) {
    uint32_t n_full = s->n_computed / BLOCK_TOKENS, cut = n_tokens / BLOCK_TOKENS;
    if (n_tokens % BLOCK_TOKENS != 0 && cut < n_full) {
        if (cut + 1 < n_full) return false; /* a block follows */
        struct naive_sequence without = *s;
        const struct naive_prefix *last = naive_prefix_of(s, n_full);
        for (unsigned g = 0; g < N_GROUPS; g++)
            if (s->n_passed[g] > cut || world.blocks[s->payloads[g][cut]].n_holders > 1 ||
                world.blocks[s->payloads[g][cut]].is_demoted)
                return false;
        world.sequences[s - world.sequences].n_computed = 0; /* as if it did not end there */
        bool is_own = naive_is_leaf(last);
        world.sequences[s - world.sequences] = without;
        if (!is_own) return false;
    }
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (uint32_t b = 0; b < blocks_of(n_tokens); b++)
            if (naive_is_seen(g, n_tokens, b) && b < s->n_passed[g] &&
                naive_prefix_of(s, b + 1)->payloads[g] == NONE)
                return false;
    return true;
}

static void truncate_to(uint32_t index, uint32_t n_tokens) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n_kept = n_tokens < s->n_computed ? n_tokens : s->n_computed;
    while (!can_keep(s, n_kept)) n_kept--;
    CHECK(kv_truncate(world.cache, &s->kv, n_tokens) == n_kept);
    drop_blocks(s, blocks_of(n_kept));
    cancel_copies();
    if (n_kept % BLOCK_TOKENS != 0 && n_kept / BLOCK_TOKENS < s->n_computed / BLOCK_TOKENS) {
        struct naive_prefix *last = naive_prefix_of(s, s->n_blocks);
        for (unsigned g = 0; g < N_GROUPS; g++) world.blocks[last->payloads[g]].is_keyed = false;
        *last = (struct naive_prefix){0};
    }
    s->n_computed = s->n_reserved = n_kept;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        if (s->n_passed[g] > s->n_blocks) s->n_passed[g] = s->n_blocks;
        while (s->n_passed[g] > 0 && naive_is_seen(g, n_kept, s->n_passed[g] - 1))
            take_cached(s, g, --s->n_passed[g]);
    }
    naive_clean();
    if (below(2) == 0) plan_text(s, n_kept);
}

static void release(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    kv_release(world.cache, &s->kv);
    drop_blocks(s, 0);
    *s = (struct naive_sequence){0};
    cancel_copies();
    plan_text(s, 0);
    naive_clean();
}

static void evict(uint64_t bytes) {
    uint64_t freed = 0, more = 1;
    while (freed < bytes && (more = naive_evict_one()) > 0) freed += more;
    CHECK(kv_evict(world.cache, bytes) == freed);
}

static void demote(uint64_t bytes) {
    uint64_t freed = kv_demote(world.cache, bytes);
    happened.n_demoted += freed > 0;
    CHECK(freed == naive_demote(bytes));
}

/* ---- what stays ---- */

static uint64_t hold_leased(const struct naive_lease *lease, bool only_counts) {
    uint64_t bytes = 0;
    for (uint32_t b = lease->n_blocks; b-- > 0;)
        for (unsigned g = 0; g < N_GROUPS; g++) {
            if (!naive_is_seen(g, lease->n_blocks * BLOCK_TOKENS, b)) continue;
            struct naive_block *block =
                &world.blocks[naive_find_prefix(lease->salt, lease->tokens, b + 1)->payloads[g]];
            if (block->n_leases == 0) bytes += naive_bytes(block);
            block->n_leases += !only_counts;
            block->n_holders += !only_counts;
        }
    return bytes;
}

static void end_lease(struct naive_lease *lease) {
    lease->is_used = false;
    for (uint32_t b = lease->n_blocks; b-- > 0;) {
        struct naive_prefix *prefix = naive_find_prefix(lease->salt, lease->tokens, b + 1);
        prefix->used = ++world.n_uses;
        for (unsigned g = 0; g < N_GROUPS; g++) {
            if (!naive_is_seen(g, lease->n_blocks * BLOCK_TOKENS, b)) continue;
            world.blocks[prefix->payloads[g]].n_leases--;
            naive_leave_block(prefix, prefix->payloads[g], false, prefix->used);
        }
    }
}

static void set_priority(uint64_t salt, const int32_t *tokens, uint32_t n_blocks, uint32_t priority) {
    for (uint32_t b = n_blocks; b > 0; b--) naive_find_prefix(salt, tokens, b)->priority = priority;
}

static uint64_t leased_bytes(void) {
    uint64_t bytes = 0;
    for (int i = 0; i < MAX_ARENA_BYTES; i++)
        if (world.blocks[i].n_leases > 0) bytes += naive_bytes(&world.blocks[i]);
    return bytes;
}

/* A lease on the longest prefix of `wanted` that is there. */
static int expect_pin(struct naive_lease *wanted, uint32_t priority) {
    while (!is_hit(wanted->salt, wanted->tokens, wanted->n_blocks)) wanted->n_blocks--;
    if (wanted->n_blocks == 0) return ERR_NOT_FOUND;
    struct naive_lease *lease = NULL;
    const struct naive_prefix *prefix = naive_find_prefix(wanted->salt, wanted->tokens, wanted->n_blocks);
    for (int i = KV_MAX_LEASES; i-- > 0;) {
        struct naive_lease *other = &world.leases[i];
        if (!other->is_used && (lease == NULL || !lease->is_used)) lease = other;
        if (other->is_used && naive_find_prefix(other->salt, other->tokens, other->n_blocks) == prefix)
            lease = other;
    }
    if (lease == NULL || !lease->is_used) {
        if (hold_leased(wanted, true) + leased_bytes() > world.opts.memory_bytes / 2) return ERR_FULL;
        if (lease == NULL) return ERR_TOO_LARGE;
        hold_leased(wanted, false);
    }
    *lease = *wanted;
    set_priority(wanted->salt, wanted->tokens, wanted->n_blocks, priority);
    return (int)(wanted->n_blocks * BLOCK_TOKENS);
}

static void pin(void) {
    const struct naive_sequence *s = &world.sequences[below(MAX_SEQUENCES + 1)];
    uint32_t n = below(world.opts.max_tokens + 1), priority = below(N_PRIORITIES);
    struct naive_lease wanted = {true, s->salt, world.now_us + 1 + below(30), n / BLOCK_TOKENS, {0}};
    memcpy(wanted.tokens, s->tokens, sizeof wanted.tokens);
    int result = kv_pin(world.cache, s->tokens, n, s->salt, wanted.until_us, (uint8_t)priority);
    happened.n_pinned += result > 0;
    happened.n_refused += result == ERR_FULL || result == ERR_TOO_LARGE;
    CHECK(result == expect_pin(&wanted, priority));
}

/* The longest pinned prefix of some tokens is so no longer. */
static void unpin(void) {
    const struct naive_sequence *s = &world.sequences[below(MAX_SEQUENCES + 1)];
    uint32_t n = below(world.opts.max_tokens + 1), priority = below(N_PRIORITIES);
    struct naive_lease *longest = NULL;
    for (int i = 0; i < KV_MAX_LEASES; i++) {
        struct naive_lease *lease = &world.leases[i];
        uint32_t n_leased = lease->n_blocks * BLOCK_TOKENS;
        if (!lease->is_used || lease->salt != s->salt || n_leased > n) continue;
        if (count_equal(lease->tokens, s->tokens, n_leased) < n_leased) continue;
        if (longest == NULL || lease->n_blocks > longest->n_blocks) longest = lease;
    }
    int expected = longest == NULL ? (int)ERR_NOT_FOUND : (int)(longest->n_blocks * BLOCK_TOKENS);
    CHECK(kv_pin(world.cache, s->tokens, n, s->salt, 0, (uint8_t)priority) == expected);
    if (longest == NULL) return;
    set_priority(s->salt, s->tokens, longest->n_blocks, priority);
    end_lease(longest);
    naive_clean();
}

static void poll(void) {
    world.now_us += below(10);
    kv_poll(world.cache, world.now_us);
    for (int i = 0; i < KV_MAX_LEASES; i++) {
        if (!world.leases[i].is_used || world.leases[i].until_us > world.now_us) continue;
        end_lease(&world.leases[i]);
        happened.n_expired++;
    }
    naive_clean();
}

static void drop(void) {
    const struct naive_sequence *s = &world.sequences[below(MAX_SEQUENCES + 1)];
    uint32_t n = below(4) == 0 ? 0 : below(world.opts.max_tokens + 1);
    uint64_t freed = 0, more;
    do {
        more = 0;
        for (uint32_t i = 0; i < world.max_prefixes; i++) {
            struct naive_prefix *prefix = &world.prefixes[i];
            uint32_t n_blocks = n / BLOCK_TOKENS;
            if (!naive_begins_with(prefix, s->salt, s->tokens, n_blocks)) continue;
            if (naive_is_leaf(prefix)) more += naive_free(prefix, 0);
            for (unsigned g = 0; g < N_GROUPS; g++)
                if (world.window[g] > 0 && prefix->payloads[g] != NONE &&
                    naive_is_idle(&world.blocks[prefix->payloads[g]]))
                    more += naive_free(prefix, 1 + g);
        }
        naive_clean();
        freed += more;
    } while (more > 0);
    happened.n_dropped += freed > 0;
    CHECK(kv_drop(world.cache, s->tokens, n, s->salt) == freed);
}

/* ---- listing ---- */

static uint64_t prefix_bytes(const struct naive_prefix *prefix) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < N_GROUPS; g++)
        bytes += prefix->payloads[g] != NONE ? naive_bytes(&world.blocks[prefix->payloads[g]]) : 0;
    return bytes;
}

/* Whether a run of blocks ends there: 0, 1, or 2 if it is pinned. */
static int end_of_run(const struct naive_prefix *prefix) {
    int n_next = 0, is_pinned = 0;
    for (uint32_t i = 0; i < world.max_prefixes; i++)
        n_next += world.prefixes[i].n_blocks == prefix->n_blocks + 1 &&
                  naive_begins_with(&world.prefixes[i], prefix->salt, prefix->tokens, prefix->n_blocks);
    for (int i = 0; i < KV_MAX_LEASES; i++)
        is_pinned |=
            world.leases[i].is_used && naive_find_prefix(world.leases[i].salt, world.leases[i].tokens,
                                                         world.leases[i].n_blocks) == prefix;
    return is_pinned ? 2 : n_next != 1;
}

/* The list has no names, so entries are compared as sums over all that is in them. */
static void list(void) {
    uint64_t salt = below(N_SALTS), sums[7] = {0}, expected[7] = {0};
    struct kv_prefix entry;
    for (uint32_t cursor = 0; kv_list_next(world.cache, &salt, &cursor, &entry);) {
        uint64_t fields[7] = {1,
                              entry.n_tokens,
                              entry.run_bytes,
                              entry.path_bytes,
                              entry.n_hits,
                              entry.created_us,
                              entry.last_used_us};
        for (int i = 0; i < 7; i++) sums[i] += fields[i] * (1 + entry.n_tokens * entry.is_pinned);
    }
    for (uint32_t p = 0; p < world.max_prefixes; p++) {
        const struct naive_prefix *prefix = &world.prefixes[p];
        int end = prefix->is_used && prefix->salt == salt ? end_of_run(prefix) : 0;
        if (end == 0) continue;
        uint64_t run = prefix_bytes(prefix), path = run;
        bool is_run = true;
        for (uint32_t b = prefix->n_blocks; --b > 0;) {
            const struct naive_prefix *above = naive_find_prefix(salt, prefix->tokens, b);
            is_run = is_run && end_of_run(above) == 0;
            path += prefix_bytes(above);
            if (is_run) run += prefix_bytes(above);
        }
        uint64_t fields[7] = {1,
                              prefix->n_blocks * BLOCK_TOKENS,
                              run,
                              path,
                              prefix->n_hits,
                              prefix->created_us,
                              prefix->used_us};
        for (int i = 0; i < 7; i++)
            expected[i] += fields[i] * (1 + prefix->n_blocks * BLOCK_TOKENS * (end == 2));
    }
    for (int i = 0; i < 7; i++) CHECK(sums[i] == expected[i]);
}

/* A sequence that holds nothing, if there is one. */
static uint32_t fresh_after(uint32_t index) {
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++)
        if (!world.sequences[(index + i) % (MAX_SEQUENCES + 1)].has_tables)
            return (index + i) % (MAX_SEQUENCES + 1);
    return index;
}

static void operate(void) {
    uint32_t index = below(MAX_SEQUENCES + 1), n_computed = world.sequences[index].n_computed,
             kind = below(100);
    if (kind < 22)
        reserve(index, below(5));
    else if (kind < 25)
        reserve(index, below(MAX_TOKENS));
    else if (kind < 48)
        commit(index);
    else if (kind < 51)
        truncate_to(index, below(n_computed + 2));
    else if (kind < 54) /* the usual cut: a few tokens off the end */
        truncate_to(index, n_computed - below(n_computed < 4 ? n_computed + 1 : 5));
    else if (kind < 66)
        match(fresh_after(index));
    else if (kind < 70)
        extend(index);
    else if (kind < 75)
        fork_from(fresh_after(index), below(MAX_SEQUENCES + 1));
    else if (kind < 76)
        evict(below(200));
    else if (kind < 77)
        demote(1 + below(200));
    else if (kind < 80)
        pin();
    else if (kind < 81)
        unpin();
    else if (kind < 82)
        poll();
    else if (kind < 83)
        drop();
    else if (kind < 84)
        list();
    else
        release(index);
}

/* ---- caches of random shapes ---- */

/* With full attention no more prefixes than blocks there; else as many as blocks and the sequences' together.
 */
static uint32_t count_max_prefixes(void) {
    uint32_t n_fewest = UINT32_MAX;
    uint32_t n_all = (world.opts.max_sequences + KV_MAX_LEASES) * blocks_of(world.opts.max_tokens);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n =
            world.n_slabs * (world.slab_bytes / world.class_bytes[world.demotes[g] ? N_GROUPS + g : g]);
        n_all += n;
        if (world.window[g] == 0 && n < n_fewest) n_fewest = n;
    }
    return n_fewest < UINT32_MAX ? n_fewest : n_all;
}

static void open_cache(void) {
    uint64_t number = world.number;
    world = (struct world){.seed = seed, .number = number};
    world.layout.n_groups = N_GROUPS;
    bool has_demotion = below(2);
    uint32_t n_classes = 0;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        world.window[g] = world.layout.groups[g].window = below(2) * below(MAX_WINDOW + 1);
        for (uint32_t n_layers = 1 + below(2); n_layers > 0; n_layers--)
            assert_int_equal(
                kv_layout_add(&world.layout, g, 1 + below(2), 2 + 2 * below(2), kv_codecs_both(CODEC_f16)),
                0);
        world.class_bytes[g] = (uint32_t)world.layout.groups[g].block_bytes;
        if (world.class_bytes[g] > world.slab_bytes) world.slab_bytes = world.class_bytes[g];
        world.class_bytes[N_GROUPS + g] = world.class_bytes[g] / (1 + below(4)) / 2 * 2; /* even */
        if (world.class_bytes[N_GROUPS + g] < 4) world.class_bytes[N_GROUPS + g] = 4;
        world.demotes[g] = world.layout.groups[g].demotes = has_demotion && below(4) > 0;
        world.layout.groups[g].class_bytes[KV_DEMOTED] = world.class_bytes[N_GROUPS + g];
        n_classes += 1 + world.demotes[g];
    }
    /* An arena this small is cut into slabs of the largest payload; what is left over is not used. */
    world.n_slabs = n_classes + below((has_demotion ? 2 : 1) * MAX_SLABS - n_classes + 1);
    world.opts = (struct kv_opts){
        .memory_bytes = world.n_slabs * world.slab_bytes + below(world.slab_bytes),
        .max_sequences = 1 + below(MAX_SEQUENCES),
        .max_tokens = 1 + below(MAX_TOKENS),
        .step_tokens = 1 + below(MAX_STEP),
    };
    world.is_by_hits = below(3) == 0;
    if (world.is_by_hits) world.opts.retain = &evict_lfu;
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (uint32_t n = 0; n <= FAR; n++)
            world.most_held[g][n] = world.window[g] == 0 ? n : naive_most_held(g, n * BLOCK_TOKENS);
    for (int i = 0; i < N_TEXTS; i++)
        for (uint32_t t = 0; t < MAX_TOKENS; t++)
            world.texts[i][t] = t < 2 * BLOCK_TOKENS ? (int32_t)t : (int32_t)below(2);
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) plan_text(&world.sequences[i], 0);
    world.max_prefixes = count_max_prefixes();
    assert_true(world.opts.memory_bytes <= MAX_ARENA_BYTES);
    assert_int_equal(kv_open(&world.cache, &world.layout, &world.opts), 0);
    world.n_allocations = mem_count();
}

static void close_cache(void) {
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) release(i);
    check_everything();
    world.now_us += 1000;
    poll();
    check_everything();
    while (naive_find_victim(&(unsigned){0}) != NULL) { /* in this order, down to the last */
        evict(1);
        check_everything();
    }
    struct kv_usage usage = kv_usage(world.cache);
    CHECK(usage.held_bytes + usage.idle_bytes + usage.waste_bytes == 0 &&
          usage.free_tokens == usage.capacity_tokens);
    happened.n_demotions += usage.n_demotions;
    kv_close(world.cache);
}

static void the_cache_agrees_with_the_naive_one(void **state) {
    (void)state;
    printf("%llu operations, seed %llu\n", (unsigned long long)n_operations, (unsigned long long)seed);
    for (uint64_t done = 0; done < n_operations; world.number++) {
        stream = rng_u64(seed, world.number);
        n_drawn = 0;
        open_cache();
        for (; world.operation < OPERATIONS_PER_CACHE; world.operation++, done++) {
            operate();
            check_everything();
        }
        close_cache();
    }
    const uint64_t counts[] = {happened.n_copies,   happened.n_copied_sealed, happened.n_cancelled,
                               happened.n_forked,   happened.n_extended,      happened.n_pinned,
                               happened.n_refused,  happened.n_expired,       happened.n_dropped,
                               happened.n_demotions};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        printf("%llu ", (unsigned long long)counts[i]);
        if (n_operations >= 100000) assert_true(counts[i] > n_operations / 10000);
    }
    printf("times something rare, %llu demotions asked for\n", (unsigned long long)happened.n_demoted);
    if (n_operations >= 100000) assert_true(happened.n_demoted > 0);
}

int main(int argc, char **argv) {
    if (argc > 1) n_operations = strtoull(argv[1], NULL, 0);
    if (argc > 2) seed = strtoull(argv[2], NULL, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_cache_agrees_with_the_naive_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
