/* Random operations against the KV cache and against a deliberately naive one, with blocks of 3 tokens, at
 * most 7 slabs, two groups, of which any may have a window, keys of 4 bits and texts that often begin alike,
 * so that every corner is near: full pools, cut blocks, passed blocks, slabs that change their class, keys
 * that collide, evictions.
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
#include "kv/kv_usage.h"
#include "naive_kv.h"

static uint64_t seed = 1, n_operations = 1000000;

/* The source of everything random: a run can be repeated from its seed and the number of its cache. */
static uint64_t stream, n_drawn;
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
    uint64_t bytes = 0, shared_bytes = 0, meanings[MAX_TOKENS];
    uint32_t n_shared = 0;
    CHECK(s->kv.n_computed == s->n_computed && s->kv.n_reserved == s->n_reserved && s->kv.salt == s->salt);
    CHECK((s->kv.table != 0) == s->has_tables);
    for (uint32_t i = 0; i < s->n_computed; i++) meanings[i] = meaning(s, i);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n;
        const uint64_t *payloads = kv_payloads(world.cache, &s->kv, g, &n);
        CHECK(n == s->n_blocks);
        for (uint32_t b = 0; b < n; b++) {
            CHECK(payloads[b] == (b < s->n_passed[g] ? NONE : s->payloads[g][b]));
            if (b < s->n_passed[g] || world.blocks[payloads[b]].n_holders == 1) continue;
            n_shared++;
            shared_bytes += world.block_bytes[g];
        }
        uint64_t group_bytes = (n - s->n_passed[g]) * world.block_bytes[g];
        CHECK(kv_group_held_bytes(world.cache, &s->kv, g) == group_bytes);
        bytes += group_bytes;
        for (uint32_t i = s->n_passed[g] * BLOCK_TOKENS; i < s->n_computed; i++)
            CHECK(world.content[s->payloads[g][i / BLOCK_TOKENS] + i % BLOCK_TOKENS] == meanings[i]);
    }
    CHECK(kv_held_bytes(world.cache, &s->kv) == bytes);
    struct kv_sharing shared = kv_shared(world.cache, &s->kv);
    CHECK(shared.n_blocks == n_shared && shared.bytes == shared_bytes);
    if (world.window[0] == 0 && world.window[1] == 0)
        CHECK(bytes == kv_bytes_for(&world.layout, s->n_reserved, 1));
}

static void check_everything(void) {
    CHECK(kv_check(world.cache));
    CHECK(mem_count() == world.n_allocations);
    uint32_t n_sealed = 0, n_open = 0, n_idle = 0, room[N_GROUPS], none[N_GROUPS] = {0};
    uint64_t held = 0, idle = 0;
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) check_sequence(i);
    for (size_t i = 0; i < world.n_slabs * world.slab_bytes; i++) {
        if (world.owner[i] == NOBODY) continue;
        const struct naive_block *block = &world.blocks[world.owner[i] - 1];
        *(naive_is_idle(block) ? &idle : &held) += 1;
        if (i == world.owner[i] - 1u)
            *(naive_is_idle(block) ? &n_idle : block->is_keyed ? &n_sealed : &n_open) += 1;
    }
    struct kv_usage usage = kv_usage(world.cache);
    CHECK(usage.arena_bytes == world.opts.memory_bytes);
    CHECK(usage.held_bytes == held && usage.idle_bytes == idle);
    CHECK(usage.n_sealed == n_sealed && usage.n_open == n_open && usage.n_idle == n_idle);
    uint32_t n_free = naive_free_slabs(true, room);
    CHECK(usage.waste_bytes == (uint64_t)(world.n_slabs - n_free) * world.slab_bytes - held - idle);
    n_free = naive_free_slabs(false, room);
    CHECK(usage.free_tokens == naive_most_tokens(n_free, room));
    CHECK(usage.capacity_tokens == naive_most_tokens(world.n_slabs, none));
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

static void match(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    if (s->has_tables) return;
    plan_text(s, 0);
    s->salt = below(N_SALTS);
    uint32_t n = below(world.opts.max_tokens + 1), n_blocks = n == 0 ? 0 : (n - 1) / BLOCK_TOKENS;
    while (!is_hit(s->salt, s->tokens, n_blocks)) n_blocks--;
    if (count_holders() == world.opts.max_sequences) n_blocks = 0;
    CHECK(kv_match(world.cache, &s->kv, s->tokens, n, s->salt) == n_blocks * BLOCK_TOKENS);
    if (n_blocks == 0) return;
    s->has_tables = true;
    s->n_blocks = n_blocks;
    s->n_computed = s->n_reserved = n_blocks * BLOCK_TOKENS;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        while (!naive_is_seen(g, s->n_computed, s->n_passed[g])) s->n_passed[g]++;
        for (uint32_t b = s->n_passed[g]; b < n_blocks; b++) take_cached(s, g, b);
    }
}

/* Makes room as the cache should, or says why it should not. */
static int expect_reserve(const struct naive_sequence *s, uint32_t n_tokens) {
    if (n_tokens > world.opts.max_tokens) return ERR_TOO_LARGE;
    if (!s->has_tables && count_holders() == world.opts.max_sequences) return ERR_FULL;
    uint32_t n_blocks = blocks_of(n_tokens), n_new[N_GROUPS], room[N_GROUPS];
    for (unsigned g = 0; g < N_GROUPS; g++) n_new[g] = n_blocks > s->n_blocks ? n_blocks - s->n_blocks : 0;
    uint32_t n_free = naive_free_slabs(false, room);
    if (!naive_can_take(n_free, room, n_new)) return ERR_FULL;
    while (n_free = naive_free_slabs(true, room), !naive_can_take(n_free, room, n_new))
        CHECK(naive_evict_one() > 0);
    return 0;
}

static void reserve(uint32_t index, uint32_t n_new) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n_tokens = s->n_computed + n_new;
    int expected = expect_reserve(s, n_tokens);
    s->before = s->kv;
    CHECK(kv_reserve(world.cache, &s->kv, n_new) == expected);
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
    }
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint64_t own = s->payloads[g][b];
        if (prefix->payloads[g] == NONE) {
            prefix->payloads[g] = own;
            world.blocks[own].is_keyed = true;
        } else {
            take_cached(s, g, b);
            naive_leave_block(own, false, 0);
        }
    }
}

static void commit(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    if (!s->has_tables) return;
    uint32_t n_done = below(s->n_reserved - s->n_computed + 1), n_full = s->n_computed / BLOCK_TOKENS;
    for (uint32_t i = s->n_computed; i < s->n_computed + n_done; i++)
        for (unsigned g = 0; g < N_GROUPS; g++) {
            uint64_t payload = s->payloads[g][i / BLOCK_TOKENS];
            CHECK(world.blocks[payload].n_holders == 1 && !world.blocks[payload].is_keyed);
            world.content[payload + i % BLOCK_TOKENS] = meaning(s, i);
        }
    kv_commit(world.cache, &s->kv, s->tokens, n_done);
    uint32_t n_computed = s->n_computed + n_done;
    for (uint32_t b = n_full; b < n_computed / BLOCK_TOKENS; b++) {
        key_block(s, b);
        s->n_computed = (b + 1) * BLOCK_TOKENS;
    }
    s->n_computed = n_computed;
    for (unsigned g = 0; g < N_GROUPS; g++)
        for (; !naive_is_seen(g, s->n_computed, s->n_passed[g]); s->n_passed[g]++)
            naive_leave_block(s->payloads[g][s->n_passed[g]], true, ++world.n_uses);
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
            if (s->n_passed[g] > cut || world.blocks[s->payloads[g][cut]].n_holders > 1) return false;
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

static void drop_blocks(struct naive_sequence *s, uint32_t n_left) {
    for (uint32_t b = s->n_blocks; b-- > n_left;) {
        uint64_t used = ++world.n_uses;
        if (b < s->n_computed / BLOCK_TOKENS) naive_prefix_of(s, b + 1)->used = used;
        for (unsigned g = 0; g < N_GROUPS; g++)
            if (b >= s->n_passed[g]) naive_leave_block(s->payloads[g][b], false, used);
    }
    if (n_left < s->n_blocks) s->n_blocks = n_left;
}

static void truncate_to(uint32_t index, uint32_t n_tokens) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n_kept = n_tokens < s->n_computed ? n_tokens : s->n_computed;
    while (!can_keep(s, n_kept)) n_kept--;
    CHECK(kv_truncate(world.cache, &s->kv, n_tokens) == n_kept);
    drop_blocks(s, blocks_of(n_kept));
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
    plan_text(s, 0);
    naive_clean();
}

static void evict(uint64_t bytes) {
    uint64_t freed = 0, more = 1;
    while (freed < bytes && (more = naive_evict_one()) > 0) freed += more;
    CHECK(kv_evict(world.cache, bytes) == freed);
}

static void operate(void) {
    uint32_t index = below(MAX_SEQUENCES + 1), n_computed = world.sequences[index].n_computed,
             kind = below(100);
    if (kind < 30)
        reserve(index, below(5));
    else if (kind < 35)
        reserve(index, below(MAX_TOKENS));
    else if (kind < 70)
        commit(index);
    else if (kind < 75)
        truncate_to(index, below(n_computed + 2));
    else if (kind < 80) /* the usual cut: a few tokens off the end */
        truncate_to(index, n_computed - below(n_computed < 4 ? n_computed + 1 : 5));
    else if (kind < 89)
        match(index);
    else if (kind < 91)
        evict(below(200));
    else
        release(index);
}

/* ---- caches of random shapes ---- */

/* With full attention no more prefixes than blocks there; else as many as blocks and the sequences' together.
 */
static uint32_t count_max_prefixes(void) {
    uint32_t n_fewest = UINT32_MAX, n_all = world.opts.max_sequences * blocks_of(world.opts.max_tokens);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n = world.n_slabs * (world.slab_bytes / world.block_bytes[g]);
        n_all += n;
        if (world.window[g] == 0 && n < n_fewest) n_fewest = n;
    }
    return n_fewest < UINT32_MAX ? n_fewest : n_all;
}

static void open_cache(void) {
    uint64_t number = world.number;
    world = (struct world){.seed = seed, .number = number};
    world.layout.n_groups = N_GROUPS;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        world.window[g] = world.layout.groups[g].window = below(2) * below(MAX_WINDOW + 1);
        for (uint32_t n_layers = 1 + below(2); n_layers > 0; n_layers--)
            assert_int_equal(
                kv_layout_add(&world.layout, g, 1 + below(2), 2 + 2 * below(2), kv_codecs_both(CODEC_f16)),
                0);
        world.block_bytes[g] = (uint32_t)world.layout.groups[g].block_bytes;
        if (world.block_bytes[g] > world.slab_bytes) world.slab_bytes = world.block_bytes[g];
    }
    /* An arena this small is cut into slabs of the largest payload; what is left over is not used. */
    world.n_slabs = N_GROUPS + below(MAX_SLABS - N_GROUPS + 1);
    world.opts = (struct kv_opts){
        .memory_bytes = world.n_slabs * world.slab_bytes + below(world.slab_bytes),
        .max_sequences = 1 + below(MAX_SEQUENCES),
        .max_tokens = 1 + below(MAX_TOKENS),
        .step_tokens = 1 + below(MAX_STEP),
    };
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
    while (naive_find_victim(&(unsigned){0}) != NULL) { /* in this order, down to the last */
        evict(1);
        check_everything();
    }
    struct kv_usage usage = kv_usage(world.cache);
    CHECK(usage.held_bytes + usage.idle_bytes + usage.waste_bytes == 0 &&
          usage.free_tokens == usage.capacity_tokens);
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
}

int main(int argc, char **argv) {
    if (argc > 1) n_operations = strtoull(argv[1], NULL, 0);
    if (argc > 2) seed = strtoull(argv[2], NULL, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_cache_agrees_with_the_naive_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
