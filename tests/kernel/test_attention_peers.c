/* Who sees the same keys, against counting tiles one by one; and that these are read once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attention_case.h"
#include "base/rng.h"
#include "kernel/attention_peers.h"

/* ---- finding peers ---- */

enum { MAX_PEERS = 40, MAX_BLOCKS = 120 };

struct family {
    size_t n;
    uint64_t payloads[MAX_PEERS][MAX_BLOCKS];
    struct attention_sequence sequences[MAX_PEERS];
};

/* Each sequence begins with a part of an earlier one, and goes on with blocks of its own. */
static void grow_family(struct family *family, uint64_t seed, uint32_t window) {
    uint64_t next = 1;
    family->n = 1 + rng_u64(seed, 999) % MAX_PEERS;
    for (size_t s = 0; s < family->n; s++) {
        uint64_t random = rng_u64(seed, s);
        size_t from = s > 0 ? random % s : 0, n_shared = 0;
        if (s > 0) n_shared = (random >> 20) % (family->sequences[from].first_position / BLOCK_TOKENS + 1);
        for (size_t b = 0; b < MAX_BLOCKS; b++)
            family->payloads[s][b] = b < n_shared ? family->payloads[from][b] : 64 * (next++ * 7919 % 100003);
        size_t position = n_shared * BLOCK_TOKENS + (random >> 40) % 900;
        if (position > (MAX_BLOCKS - 1) * BLOCK_TOKENS) position = (MAX_BLOCKS - 1) * BLOCK_TOKENS;
        family->sequences[s] =
            (struct attention_sequence){.first_row = s, .n_rows = 1, .first_position = position};
    }
    for (size_t s = 0; s < family->n; s++) {
        /* What a window has passed is not to be looked at. */
        size_t passed = kv_window_begin(window, (uint32_t)family->sequences[s].first_position) / BLOCK_TOKENS;
        for (size_t b = 0; b < passed; b++) family->payloads[s][b] = rng_u64(seed, s * MAX_BLOCKS + b);
        family->sequences[s].payloads = family->payloads[s];
    }
}

/* The first and one past the last whole tile that the sequence's row sees and that no row writes to. */
static void whole_tiles(const struct attention_sequence *s, uint32_t window, size_t *begin, size_t *end) {
    size_t first = window > 0 && s->first_position >= window ? s->first_position - window + 1 : 0;
    *begin = (first + ATTENTION_TILE - 1) / ATTENTION_TILE;
    *end = s->first_position / ATTENTION_TILE;
}

/* Tiles that an earlier sequence with the same first tile sees too, blocks and all before them equal. */
static size_t count_common(const struct family *family, uint32_t window) {
    size_t n_common = 0;
    for (size_t s = 0; s < family->n; s++) {
        size_t begin, end, most = 0;
        whole_tiles(&family->sequences[s], window, &begin, &end);
        for (size_t other = 0; other < s; other++) {
            size_t other_begin, other_end, n = 0;
            whole_tiles(&family->sequences[other], window, &other_begin, &other_end);
            if (other_begin != begin) continue;
            while (begin + n < end && begin + n < other_end &&
                   memcmp(&family->payloads[s][(begin + n) * ATTENTION_TILE_BLOCKS],
                          &family->payloads[other][(begin + n) * ATTENTION_TILE_BLOCKS],
                          ATTENTION_TILE_BLOCKS * sizeof(uint64_t)) == 0)
                n++;
            if (n > most) most = n;
        }
        n_common += most;
    }
    return n_common;
}

static void every_common_tile_is_found(void **state) {
    (void)state;
    static struct family family;
    size_t n_common = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const uint32_t window = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 100 : 1500;
        struct attention_peer peers[MAX_PEERS];
        bool seen[MAX_PEERS] = {false};
        grow_family(&family, seed, window);
        attention_find_peers(peers, family.sequences, family.n, window);
        uint64_t alone = 0;
        for (size_t i = 0; i < family.n; i++) {
            assert_true(peers[i].sequence < family.n && !seen[peers[i].sequence]);
            seen[peers[i].sequence] = true;
            size_t position = family.sequences[i].first_position;
            alone += window > 0 && position >= window ? window : position + 1;
            for (size_t tile = peers[i].common_begin; tile < peers[i].common_end; tile++)
                assert_memory_equal(&family.payloads[peers[i].sequence][tile * ATTENTION_TILE_BLOCKS],
                                    &family.payloads[peers[i - 1].sequence][tile * ATTENTION_TILE_BLOCKS],
                                    ATTENTION_TILE_BLOCKS * sizeof(uint64_t));
        }
        const struct kv_group group = {.window = window};
        struct attention_keys keys = attention_count_keys(peers, family.sequences, family.n, &group);
        assert_int_equal(keys.alone.n[KV_SEALED], alone);
        assert_int_equal(keys.alone.n[KV_SEALED] - keys.together.n[KV_SEALED],
                         count_common(&family, window) * ATTENTION_TILE);
        n_common += count_common(&family, window);
    }
    assert_true(n_common > 5000); /* or the families were none */
}

/* ---- reading once ---- */

static size_t n_tile_reads;

static void count_tile(struct attention_rows *rows, const struct attention_tile *tile) {
    n_tile_reads++;
    kernel_set_scalar.attend_tile(rows, tile);
}

/* Tiles that attention reads for 16 users of n_shared tokens with up to 100 of their own. */
static size_t count_reads(unsigned n_kv_heads, size_t n_shared, bool shares) {
    enum { N_USERS = 16 };
    struct kernel_set counting = kernel_set_scalar;
    counting.attend_tile = count_tile;
    struct attention_shape shape = {
        {.k = CODEC_f16, .v = CODEC_f16}, 3 * n_kv_heads, n_kv_heads, 8, 1, N_USERS, {0}, 0, 0};
    struct attention_chunk chunks[N_USERS];
    for (size_t s = 0; s < N_USERS; s++) {
        shape.n_keys[s] = n_shared + 100 - 3 * s;
        chunks[s] = (struct attention_chunk){s, shape.n_keys[s] - 1, shape.n_keys[s]};
    }
    struct attention_case c;
    case_open(&c, &shape, 1);
    for (size_t s = 1; s < N_USERS && shares; s++)
        memcpy(c.payloads[s], c.payloads[0], n_shared / BLOCK_TOKENS * sizeof(uint64_t));
    n_tile_reads = 0;
    free(case_run(&c, &counting, 1, chunks, N_USERS));
    case_close(&c);
    return n_tile_reads;
}

static void shared_tiles_are_read_once(void **state) {
    (void)state;
    assert_int_equal(count_reads(1, 1024, false), 16 * 9);
    assert_int_equal(count_reads(1, 1024, true), 8 + 16);
    assert_int_equal(count_reads(2, 1024, true), 2 * (8 + 16));
    assert_int_equal(count_reads(1, 96, true), count_reads(1, 96, false)); /* no whole tile */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_common_tile_is_found),
        cmocka_unit_test(shared_tiles_are_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
