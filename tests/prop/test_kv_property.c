/* Random operations against the KV cache and against a deliberately naive one, with blocks of 3 tokens, at
 * most 7 slabs and two groups, of which any may have a window, so that every corner is near: full pools, cut
 * blocks, passed blocks, slabs that change their class.
 *
 *     test_kv_property [OPERATIONS [SEED]]
 *
 * After each operation kv_check must hold and everything that the cache says must be what the naive cache
 * says. The naive one keeps, for every byte of the arena, who owns it, and for every slot, which token was
 * stored there: two owners of a byte, or a token that is no longer where it was stored, end the run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kv/kv_cache.h"

_Static_assert(BLOCK_TOKENS == 3, "this program is to be built with tiny blocks");

enum {
    N_GROUPS = 2,
    MAX_SLABS = 7,
    MAX_SEQUENCES = 5,
    MAX_TOKENS = 40,
    MAX_BLOCKS = MAX_TOKENS / BLOCK_TOKENS + 1,
    MAX_ARENA_BYTES = 4096,
    OPERATIONS_PER_CACHE = 500,
    MAX_WINDOW = 12,
    MAX_STEP = 8,
    FAR = (MAX_WINDOW + MAX_STEP) / BLOCK_TOKENS + 4, /* blocks; a window group never holds more */
    NOBODY = 0,
};

static uint64_t seed = 1, n_operations = 1000000;

/* The source of everything random: a run can be repeated from its seed and the number of its cache. */
static uint64_t stream, n_drawn;
static uint32_t below(uint32_t n) { return (uint32_t)(rng_u64(stream, n_drawn++) % n); }

struct naive_sequence {
    struct kv_seq kv;     /* what the cache under test is given */
    struct kv_seq before; /* a copy of it */
    bool has_tables;
    uint32_t n_computed, n_reserved, n_blocks;
    uint32_t n_passed[N_GROUPS]; /* blocks at the front that are gone */
    uint64_t payloads[N_GROUPS][MAX_BLOCKS];
    uint32_t tokens[MAX_TOKENS]; /* what was stored, (n_computed) */
};

struct world {
    struct kv_cache *cache;
    struct kv_layout layout;
    struct kv_opts opts;
    uint32_t block_bytes[N_GROUPS], window[N_GROUPS], slab_bytes, n_slabs;
    uint32_t most_held[N_GROUPS][FAR + 1];              /* blocks of a sequence of so many blocks, at worst */
    struct naive_sequence sequences[MAX_SEQUENCES + 1]; /* one more than the cache has tables for */
    uint8_t owner[MAX_ARENA_BYTES];                     /* 1 + sequence * N_GROUPS + group, or NOBODY */
    uint32_t content[MAX_ARENA_BYTES];                  /* at payload + slot: the token stored there */
    uint64_t n_allocations, number, operation;
    uint32_t next_token;
};

static struct world world;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("seed %llu, cache %llu, operation %llu, line %d: %s", (unsigned long long)seed,         \
                     (unsigned long long)world.number, (unsigned long long)world.operation, __LINE__,        \
                     #condition);                                                                            \
    } while (0)

static uint32_t blocks_of(uint32_t n_tokens) { return (n_tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS; }

/* Whether a token at `position` or any later one sees a slot of block b: its last one is passed last. */
static bool is_seen(unsigned group, uint32_t position, uint32_t b) {
    return world.window[group] == 0 || (b + 1) * BLOCK_TOKENS - 1 + world.window[group] > position;
}

/* ---- what must be, from the map of owners alone ---- */

/* The group whose payloads lie in a slab, or -1; *n_used of them. */
static int group_of_slab(uint32_t slab, uint32_t *n_used) {
    *n_used = 0;
    int group = -1;
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++)
        for (int g = 0; g < N_GROUPS; g++)
            for (uint32_t b = world.sequences[i].n_passed[g]; b < world.sequences[i].n_blocks; b++) {
                if (world.sequences[i].payloads[g][b] / world.slab_bytes != slab) continue;
                CHECK(group < 0 || group == g);
                group = g;
                ++*n_used;
            }
    return group;
}

/* How many slabs are free, and how many payloads of each group fit into the others. */
static uint32_t free_slabs(uint32_t room[N_GROUPS]) {
    uint32_t n_free = 0, n_used;
    for (int g = 0; g < N_GROUPS; g++) room[g] = 0;
    for (uint32_t slab = 0; slab < world.n_slabs; slab++) {
        int group = group_of_slab(slab, &n_used);
        if (group < 0)
            n_free++;
        else
            room[group] += world.slab_bytes / world.block_bytes[group] - n_used;
    }
    return n_free;
}

/* Whether group g can get n[g] more payloads, for each. */
static bool can_take(uint32_t n_free, const uint32_t room[N_GROUPS], const uint32_t n[N_GROUPS]) {
    uint32_t n_slabs = 0;
    for (int g = 0; g < N_GROUPS; g++) {
        uint32_t per_slab = world.slab_bytes / world.block_bytes[g],
                 missing = n[g] > room[g] ? n[g] - room[g] : 0;
        n_slabs += (missing + per_slab - 1) / per_slab;
    }
    return n_slabs <= n_free;
}

/* Blocks that a sequence holds at worst while it grows to n_tokens, step_tokens at a time. */
static uint32_t count_most_held(unsigned group, uint32_t n_tokens) {
    uint32_t most = 0;
    for (uint32_t begin = 0; begin < n_tokens; begin++) {
        uint32_t end = begin + world.opts.step_tokens, n = 0;
        for (uint32_t b = 0; b < blocks_of(end < n_tokens ? end : n_tokens); b++)
            n += is_seen(group, begin, b);
        if (n > most) most = n;
    }
    return most;
}

static uint32_t most_tokens(uint32_t n_free, const uint32_t room[N_GROUPS]) {
    for (uint32_t n = 0;; n++) {
        uint32_t n_blocks[N_GROUPS];
        bool is_bounded = n == FAR;
        for (unsigned g = 0; g < N_GROUPS; g++) {
            bool is_full = world.window[g] == 0;
            n_blocks[g] = is_full ? n + 1 : world.most_held[g][n + 1 < FAR ? n + 1 : FAR];
            is_bounded &= !is_full;
        }
        if (!can_take(n_free, room, n_blocks)) return n * BLOCK_TOKENS;
        if (is_bounded) return UINT32_MAX;
    }
}

/* ---- comparing ---- */

static void check_sequence(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    uint64_t bytes = 0;
    CHECK(s->kv.n_computed == s->n_computed && s->kv.n_reserved == s->n_reserved);
    CHECK((s->kv.table != 0) == s->has_tables);
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n;
        const uint64_t *payloads = kv_payloads(world.cache, &s->kv, g, &n);
        CHECK(n == s->n_blocks);
        for (uint32_t b = 0; b < n; b++)
            CHECK(payloads[b] == (b < s->n_passed[g] ? UINT64_MAX : s->payloads[g][b]));
        uint64_t group_bytes = (n - s->n_passed[g]) * world.block_bytes[g];
        CHECK(kv_group_held_bytes(world.cache, &s->kv, g) == group_bytes);
        bytes += group_bytes;
        for (uint32_t i = s->n_passed[g] * BLOCK_TOKENS; i < s->n_computed; i++)
            CHECK(world.content[s->payloads[g][i / BLOCK_TOKENS] + i % BLOCK_TOKENS] == s->tokens[i]);
    }
    CHECK(kv_held_bytes(world.cache, &s->kv) == bytes);
    if (world.window[0] == 0 && world.window[1] == 0)
        CHECK(bytes == kv_bytes_for(&world.layout, s->n_reserved, 1));
}

static void check_everything(void) {
    CHECK(kv_check(world.cache));
    CHECK(mem_count() == world.n_allocations);
    uint32_t n_sealed = 0, n_blocks = 0, room[N_GROUPS], none[N_GROUPS] = {0};
    uint64_t held = 0;
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) {
        check_sequence(i);
        for (unsigned g = 0; g < N_GROUPS; g++) {
            n_sealed += world.sequences[i].n_computed / BLOCK_TOKENS - world.sequences[i].n_passed[g];
            n_blocks += world.sequences[i].n_blocks - world.sequences[i].n_passed[g];
        }
    }
    for (size_t i = 0; i < MAX_ARENA_BYTES; i++) held += world.owner[i] != NOBODY;
    uint32_t n_free = free_slabs(room);
    struct kv_usage usage = kv_usage(world.cache);
    CHECK(usage.arena_bytes == world.opts.memory_bytes);
    CHECK(usage.held_bytes == held);
    CHECK(usage.waste_bytes == (uint64_t)(world.n_slabs - n_free) * world.slab_bytes - held);
    CHECK(usage.n_sealed == n_sealed && usage.n_open == n_blocks - n_sealed);
    CHECK(usage.free_tokens == most_tokens(n_free, room));
    CHECK(usage.capacity_tokens == most_tokens(world.n_slabs, none));
}

/* ---- operations ---- */

/* Takes over the blocks that the cache gave; none of their bytes may have an owner. */
static void own_new_blocks(uint32_t index, uint32_t n_blocks) {
    struct naive_sequence *s = &world.sequences[index];
    for (unsigned g = 0; g < N_GROUPS; g++) {
        uint32_t n;
        const uint64_t *payloads = kv_payloads(world.cache, &s->kv, g, &n);
        CHECK(n == n_blocks);
        for (uint32_t b = s->n_blocks; b < n_blocks; b++) {
            s->payloads[g][b] = payloads[b];
            CHECK(payloads[b] + world.block_bytes[g] <= world.opts.memory_bytes);
            for (uint32_t i = 0; i < world.block_bytes[g]; i++) {
                CHECK(world.owner[payloads[b] + i] == NOBODY);
                world.owner[payloads[b] + i] = (uint8_t)(1 + index * N_GROUPS + g);
            }
        }
    }
    s->n_blocks = n_blocks;
}

static void disown_block(uint32_t index, unsigned group, uint32_t b) {
    uint64_t payload = world.sequences[index].payloads[group][b];
    for (uint32_t i = 0; i < world.block_bytes[group]; i++) {
        CHECK(world.owner[payload + i] == 1 + index * N_GROUPS + group);
        world.owner[payload + i] = NOBODY;
    }
}

static void disown_blocks(uint32_t index, uint32_t n_left) {
    struct naive_sequence *s = &world.sequences[index];
    for (unsigned g = 0; g < N_GROUPS; g++) {
        for (uint32_t b = n_left > s->n_passed[g] ? n_left : s->n_passed[g]; b < s->n_blocks; b++)
            disown_block(index, g, b);
        if (n_left == 0) s->n_passed[g] = 0;
    }
    if (n_left < s->n_blocks) s->n_blocks = n_left;
}

static int expected_reserve(const struct naive_sequence *s, uint32_t n_tokens) {
    if (n_tokens > world.opts.max_tokens) return ERR_TOO_LARGE;
    uint32_t n_holders = 0, room[N_GROUPS];
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) n_holders += world.sequences[i].has_tables;
    if (!s->has_tables && n_holders == world.opts.max_sequences) return ERR_FULL;
    uint32_t n_free = free_slabs(room), n_blocks = blocks_of(n_tokens), n_new[N_GROUPS];
    for (unsigned g = 0; g < N_GROUPS; g++) n_new[g] = n_blocks > s->n_blocks ? n_blocks - s->n_blocks : 0;
    return n_blocks <= s->n_blocks || can_take(n_free, room, n_new) ? 0 : ERR_FULL;
}

static void reserve(uint32_t index, uint32_t n_new) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n_tokens = s->n_computed + n_new;
    int expected = expected_reserve(s, n_tokens);
    s->before = s->kv;
    CHECK(kv_reserve(world.cache, &s->kv, n_new) == expected);
    if (expected < 0) {
        CHECK(memcmp(&s->before, &s->kv, sizeof s->kv) == 0);
        return;
    }
    s->has_tables = true;
    if (n_tokens > s->n_reserved) s->n_reserved = n_tokens;
    own_new_blocks(index, blocks_of(s->n_reserved));
}

static void commit(uint32_t index) {
    struct naive_sequence *s = &world.sequences[index];
    if (!s->has_tables) return;
    uint32_t n_done = below(s->n_reserved - s->n_computed + 1);
    for (uint32_t i = s->n_computed; i < s->n_computed + n_done; i++) {
        s->tokens[i] = ++world.next_token;
        for (unsigned g = 0; g < N_GROUPS; g++)
            world.content[s->payloads[g][i / BLOCK_TOKENS] + i % BLOCK_TOKENS] = s->tokens[i];
    }
    s->n_computed += n_done;
    kv_commit(world.cache, &s->kv, n_done);
    for (unsigned g = 0; g < N_GROUPS; g++)
        while (!is_seen(g, s->n_computed, s->n_passed[g])) disown_block(index, g, s->n_passed[g]++);
}

static void truncate_to(uint32_t index, uint32_t n_tokens) {
    struct naive_sequence *s = &world.sequences[index];
    uint32_t n_kept = n_tokens < s->n_computed ? n_tokens : s->n_computed;
    for (unsigned g = 0; g < N_GROUPS; g++)
        if (s->n_passed[g] > 0 && is_seen(g, n_kept, s->n_passed[g] - 1)) n_kept = 0;
    CHECK(kv_truncate(world.cache, &s->kv, n_tokens) == n_kept);
    s->n_computed = s->n_reserved = n_kept;
    disown_blocks(index, blocks_of(n_kept));
}

static void release(uint32_t index) {
    kv_release(world.cache, &world.sequences[index].kv);
    disown_blocks(index, 0);
    world.sequences[index] = (struct naive_sequence){0};
}

static void operate(void) {
    uint32_t index = below(MAX_SEQUENCES + 1), n_computed = world.sequences[index].n_computed,
             kind = below(100);
    if (kind < 35)
        reserve(index, below(5));
    else if (kind < 40)
        reserve(index, below(MAX_TOKENS));
    else if (kind < 80)
        commit(index);
    else if (kind < 86)
        truncate_to(index, below(n_computed + 2));
    else if (kind < 92) /* the usual cut: a few tokens off the end */
        truncate_to(index, n_computed - below(n_computed < 4 ? n_computed + 1 : 5));
    else
        release(index);
}

/* ---- caches of random shapes ---- */

static void open_cache(void) {
    uint64_t number = world.number;
    world = (struct world){.number = number};
    world.layout.n_groups = N_GROUPS;
    for (unsigned g = 0; g < N_GROUPS; g++) {
        world.window[g] = world.layout.groups[g].window = below(2) * below(MAX_WINDOW + 1);
        for (uint32_t n_layers = 1 + below(2); n_layers > 0; n_layers--)
            assert_int_equal(kv_layout_add(&world.layout, g, 1 + below(2), 2 + 2 * below(2), CODEC_f16), 0);
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
            world.most_held[g][n] = world.window[g] == 0 ? n : count_most_held(g, n * BLOCK_TOKENS);
    assert_true(world.opts.memory_bytes <= MAX_ARENA_BYTES);
    assert_int_equal(kv_open(&world.cache, &world.layout, &world.opts), 0);
    world.n_allocations = mem_count();
}

static void close_cache(void) {
    for (uint32_t i = 0; i < MAX_SEQUENCES + 1; i++) release(i);
    check_everything();
    struct kv_usage usage = kv_usage(world.cache);
    CHECK(usage.held_bytes == 0 && usage.waste_bytes == 0 && usage.free_tokens == usage.capacity_tokens);
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
