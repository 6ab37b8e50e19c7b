/* Random operations on a cache whose full blocks go over into other payloads, when they fill or when memory
 * is short, with tiny blocks and keys. Beside it stands a memory in which every step writes what the model
 * would: rows into OPEN payloads, and for a block that it fills the whole block, put together from what was
 * staged and the new rows. What a sequence sees must at any time be its own tokens, in the form that the
 * block's place demands; kv_check holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "codec/kv_copy.h"
#include "kv/evict_list.h"
#include "kv/kv_demote.h"
#include "kv/kv_state.h"
#include "kv/kv_usage.h"

enum { N_SEQUENCES = 4, MAX_TOKENS = 40, N_TOKEN_IDS = 2, MEMORY = 1200, N_WORLDS = 60, N_STEPS = 4000 };

struct timeline {
    struct kv_seq kv;
    int32_t tokens[MAX_TOKENS];
};

static struct kv_layout layout;
static struct kv_cache *kv;
static struct timeline timelines[N_SEQUENCES];
static uint32_t arena[MEMORY / 4];
static uint64_t seed, n_draws;
static uint64_t n_demoted, n_seen_demoted, n_demotions, n_evictions;
static uint64_t n_conversions, n_hits, n_reverts, n_refused, n_copies, n_forks, n_extended;

static uint32_t below(uint32_t n) { return (uint32_t)(rng_u64(seed, n_draws++) % n); }

/* What storing a row again makes of it. */
static uint32_t demoted(uint32_t row) { return row * 2654435761u + 1; }

/* What the row of a token is stored as: it depends on all tokens before it, as K and V do. */
static uint32_t row_of(const struct timeline *t, unsigned group, uint32_t position, enum kv_class class) {
    if (class == KV_DEMOTED) return demoted(row_of(t, group, position, KV_OPEN));
    uint64_t hash = group * 7 + (unsigned)class;
    for (uint32_t i = 0; i <= position; i++) hash = rng_u64(hash, (uint64_t)t->tokens[i]);
    return (uint32_t)hash;
}

/* The class that the i-th block of a sequence of n_tokens has, as kv_layout.h's head says it. */
static enum kv_class class_of(const struct kv_group *group, uint32_t i, uint32_t n_tokens) {
    bool is_full = (i + 1) * BLOCK_TOKENS <= n_tokens;
    if (!group->converts || !is_full) return KV_OPEN;
    return i > 0 ? KV_SEALED : KV_SINK;
}

static uint32_t *slots(uint64_t payload) { return arena + kv_payload_offset(payload) / 4; }

/* The tiny block's class_bytes: each takes BLOCK_TOKENS words, and some that differ. */
static void open_world(void) {
    layout = (struct kv_layout){0};
    bool has_window = below(2), has_auto = below(2);
    for (unsigned g = 0; g <= (unsigned)has_window; g++) {
        assert_int_equal(kv_layout_group(&layout, g == 0 ? 0 : 4), (int)g);
        assert_int_equal(kv_layout_add(&layout, g, 1, 2, kv_codecs_both(CODEC_f32)), 0);
        struct kv_group *group = &layout.groups[g];
        group->converts = below(4) > 0 || g == 0;
        if (has_auto && below(4) > 0) {
            group->converts = false;
            group->demotes = true;
            for (int class = 0; class < KV_CLASS_COUNT; class ++)
                group->class_bytes[class] = 4 * (class == KV_DEMOTED ? 3 : 7 + below(2));
            group->class_bytes[KV_SINK] = group->class_bytes[KV_SEALED] = group->class_bytes[KV_OPEN];
            group->block_bytes = group->class_bytes[KV_OPEN];
        }
        if (!group->converts) continue;
        const size_t words[KV_CLASS_COUNT] = {6, 5, 3, 3};
        for (int class = 0; class < KV_CLASS_COUNT; class ++) group->class_bytes[class] = words[class] * 4;
        group->block_bytes = group->class_bytes[KV_SEALED];
    }
    struct kv_opts opts = {.memory_bytes = 200 + 4 * below(MEMORY / 4 - 50),
                           .max_sequences = N_SEQUENCES,
                           .max_tokens = MAX_TOKENS,
                           .retain = below(2) ? &evict_lru : &evict_cost};
    assert_int_equal(kv_open(&kv, &layout, &opts), 0);
    memset(timelines, 0, sizeof timelines);
}

/* The step's forward pass: what model/kv_write.c does with real numbers. */
static void compute(const struct timeline *t, unsigned group, uint32_t first, uint32_t n_rows) {
    uint32_t n, end = first + n_rows;
    const struct kv_group *g = &layout.groups[group];
    const uint64_t *payloads = kv_payloads(kv, &t->kv, group, &n);
    uint64_t staged = kv_staged_payload(kv, &t->kv, group);
    for (uint32_t block = first / BLOCK_TOKENS; block * BLOCK_TOKENS < end; block++) {
        enum kv_class class = class_of(g, block, end);
        uint32_t begin = block * BLOCK_TOKENS;
        for (uint32_t i = begin; i < begin + BLOCK_TOKENS && i < end; i++) {
            assert_false(kv_payload_is_demoted(payloads[block]));
            if (i >= first) {
                slots(payloads[block])[i - begin] = row_of(t, group, i, class);
            } else if (class != KV_OPEN) { /* its row must be found where it was left */
                n_conversions++;
                assert_int_equal(slots(staged)[i - begin], row_of(t, group, i, KV_OPEN));
                slots(payloads[block])[i - begin] = row_of(t, group, i, class);
            }
        }
        for (uint32_t k = BLOCK_TOKENS; class != KV_OPEN && k < g->class_bytes[class] / 4; k++)
            slots(payloads[block])[k] = row_of(t, group, begin, class) + k; /* all of it is the block's */
    }
}

static void check_rows(const struct timeline *t) {
    for (unsigned g = 0; g < layout.n_groups; g++) {
        uint32_t n;
        const uint64_t *payloads = kv_payloads(kv, &t->kv, g, &n);
        uint32_t begin = kv_window_begin(layout.groups[g].window, t->kv.n_computed);
        for (uint32_t i = begin; i < t->kv.n_computed; i++) {
            enum kv_class class = class_of(&layout.groups[g], i / BLOCK_TOKENS, t->kv.n_computed);
            if (kv_payload_is_demoted(payloads[i / BLOCK_TOKENS])) {
                assert_true(layout.groups[g].demotes && i >= BLOCK_TOKENS);
                class = KV_DEMOTED;
                n_seen_demoted++;
            }
            const uint32_t *words = slots(payloads[i / BLOCK_TOKENS]);
            assert_int_equal(words[i % BLOCK_TOKENS], row_of(t, g, i, class));
            size_t n_words = layout.groups[g].class_bytes[class] / 4;
            bool is_whole = class != KV_OPEN && class != KV_DEMOTED; /* written by compute() alone */
            for (uint32_t k = BLOCK_TOKENS; is_whole && i % BLOCK_TOKENS == 0 && k < n_words; k++)
                assert_int_equal(words[k], row_of(t, g, i, class) + k);
        }
    }
}

/* As the engine does before the forward pass; here also before rows are looked at, but each once: what it
 * moves out of may be written to afterwards. */
static void do_ops(void) {
    const struct kv_op *ops;
    uint32_t n_done = kv->n_ops_given, n_ops = kv_ops(kv, &ops);
    for (uint32_t i = n_done; i < n_ops; i++) {
        const struct kv_op *op = &ops[i];
        if (op->kind == KV_COPY) {
            kv_copy(&layout, (uint8_t *)arena, op, 1);
            n_copies++;
            continue;
        }
        assert_int_equal(op->kind, KV_REENCODE);
        assert_int_equal(op->n_slots, BLOCK_TOKENS);
        for (uint32_t k = 0; k < BLOCK_TOKENS; k++) slots(op->target)[k] = demoted(slots(op->source)[k]);
        n_demoted++;
    }
}

static void begin(struct timeline *t) {
    uint32_t n = 1 + below(MAX_TOKENS);
    for (uint32_t i = 0; i < n; i++) t->tokens[i] = (int32_t)below(N_TOKEN_IDS);
    n_hits += kv_match(kv, &t->kv, t->tokens, n, 0) > 0;
}

static void extend(struct timeline *t) {
    uint32_t n = t->kv.n_computed + below(MAX_TOKENS - t->kv.n_computed + 1);
    for (uint32_t i = t->kv.n_computed; i < n; i++) t->tokens[i] = (int32_t)below(N_TOKEN_IDS);
    n_extended += kv_extend(kv, &t->kv, t->tokens, n) > 0;
}

static void fork_from(struct timeline *t, const struct timeline *source) {
    if (source->kv.table == 0) return;
    memcpy(t->tokens, source->tokens, sizeof t->tokens);
    uint32_t n = below(source->kv.n_computed + 1), n_forked = kv_fork(kv, &t->kv, &source->kv, n);
    assert_true(n_forked <= n);
    n_forks += n_forked % BLOCK_TOKENS != 0;
}

static void grow(struct timeline *t) {
    uint32_t first = t->kv.n_computed, n_new = 1 + below(below(2) ? 2 : 9);
    if (first + n_new > MAX_TOKENS) return;
    for (uint32_t i = first; i < first + n_new; i++) t->tokens[i] = (int32_t)below(N_TOKEN_IDS);
    if (kv_reserve(kv, &t->kv, n_new) < 0) {
        n_refused++;
        return;
    }
    struct timeline *other = &timelines[below(N_SEQUENCES)];
    if (other->kv.table == 0 && below(2) == 0) fork_from(other, t); /* whose rows may be staged now */
    if (below(8) == 0) {                                            /* the step does not happen */
        n_reverts++;
        assert_true(kv_check(kv));
        uint32_t kept = kv_truncate(kv, &t->kv, first);
        assert_int_equal(kept, first);
        return;
    }
    do_ops();
    for (unsigned g = 0; g < layout.n_groups; g++) compute(t, g, first, n_new);
    kv_commit(kv, &t->kv, t->tokens, n_new);
}

static void cut(struct timeline *t) {
    uint32_t n = below(t->kv.n_computed + 1), was_open = t->kv.n_computed / BLOCK_TOKENS * BLOCK_TOKENS;
    uint32_t kept = kv_truncate(kv, &t->kv, n);
    assert_true(kept <= n);
    if (n < was_open && !kv_layout_is_row(&layout))
        assert_int_equal(kept % BLOCK_TOKENS, 0); /* a full block is never opened again */
}

static void random_operations(void **state) {
    (void)state;
    for (seed = 1; seed <= N_WORLDS; seed++) {
        n_draws = 0;
        open_world();
        for (int step = 0; step < N_STEPS; step++) {
            struct timeline *t = &timelines[below(N_SEQUENCES)];
            uint32_t which = below(16);
            if (t->kv.table == 0 && which < 4)
                fork_from(t, &timelines[below(N_SEQUENCES)]);
            else if (t->kv.table == 0)
                begin(t), grow(t);
            else if (which < 2)
                extend(t);
            else if (which < 12)
                grow(t);
            else if (which < 14)
                cut(t);
            else if (which < 15)
                kv_release(kv, &t->kv);
            else if (below(2) == 0)
                kv_evict(kv, below(100));
            else
                kv_demote(kv, below(100));
            assert_true(kv_check(kv));
            if (below(3) == 0) continue; /* what is due piles up */
            do_ops();
            for (int i = 0; i < N_SEQUENCES; i++) check_rows(&timelines[i]);
        }
        for (int i = 0; i < N_SEQUENCES; i++) kv_release(kv, &timelines[i].kv);
        assert_true(kv_check(kv));
        assert_int_equal(kv_usage(kv).held_bytes, 0);
        n_demotions += kv_usage(kv).n_demotions;
        if (kv_layout_demotes(&layout)) n_evictions += kv_usage(kv).n_evictions;
        kv_close(kv);
    }
    print_message(
        "%d worlds: %d rows converted, %d hits, %d reservations taken back, %d refused, %d copies, "
        "%d forks within a block, %d extended, %d blocks demoted, %d evicted beside, demoted rows seen %d "
        "times\n",
        N_WORLDS, (int)n_conversions, (int)n_hits, (int)n_reverts, (int)n_refused, (int)n_copies,
        (int)n_forks, (int)n_extended, (int)n_demotions, (int)n_evictions, (int)n_seen_demoted);
    assert_true(n_conversions > 1000 && n_hits > 100 && n_reverts > 100 && n_refused > 100);
    assert_true(n_copies > 1000 && n_forks > 100 && n_extended > 100);
    assert_true(n_demotions > 1000 && n_evictions > 1000 && n_seen_demoted > 10000 &&
                n_demoted <= n_demotions);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations)};
    return cmocka_run_group_tests_name("kv classes", tests, NULL, NULL);
}
