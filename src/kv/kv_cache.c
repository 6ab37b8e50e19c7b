#include "kv/kv_cache.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/block_table.h"

struct kv_cache {
    struct kv_layout layout;
    struct kv_opts opts;
    struct slab_arena arena;
    struct block_pool pools[KV_MAX_GROUPS];
    uint32_t blocks_per_table;
    struct block_table *tables; /* (max_sequences, n_groups) */
    block_id *table_blocks;     /* the tables' storage: (max_sequences, n_groups, blocks_per_table) */
    uint64_t *table_payloads;
    uint32_t *seq_tokens;  /* (max_sequences, 2) computed and reserved, for kv_check; 0 when unused */
    uint32_t *free_tables; /* a stack of the indices that no sequence holds */
    uint32_t n_free_tables;
};

static uint32_t blocks_for(uint32_t n_tokens) {
    return n_tokens / BLOCK_TOKENS + (n_tokens % BLOCK_TOKENS != 0);
}

static struct block_table *table_of(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group) {
    return &kv->tables[(size_t)(seq->table - 1) * kv->layout.n_groups + group];
}

uint64_t kv_bytes_for(const struct kv_layout *layout, uint32_t n_tokens, uint32_t n_step) {
    uint64_t bytes = 0;
    for (unsigned g = 0; g < layout->n_groups; g++)
        bytes += kv_group_blocks(&layout->groups[g], n_tokens, n_step) * layout->groups[g].block_bytes;
    return bytes;
}

static int open_tables(struct kv_cache *kv) {
    size_t n_sequences = kv->opts.max_sequences, n_tables = n_sequences * kv->layout.n_groups;
    kv->blocks_per_table = blocks_for(kv->opts.max_tokens);
    kv->tables = mem_alloc(n_tables, sizeof *kv->tables);
    kv->table_blocks = mem_alloc(n_tables * kv->blocks_per_table, sizeof *kv->table_blocks);
    kv->table_payloads = mem_alloc(n_tables * kv->blocks_per_table, sizeof *kv->table_payloads);
    kv->seq_tokens = mem_alloc(n_sequences * 2, sizeof *kv->seq_tokens);
    kv->free_tables = mem_alloc(n_sequences, sizeof *kv->free_tables);
    if (!kv->tables || !kv->table_blocks || !kv->table_payloads || !kv->seq_tokens || !kv->free_tables)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n_tables; i++)
        kv->tables[i] = (struct block_table){
            .blocks = kv->table_blocks + i * kv->blocks_per_table,
            .payloads = kv->table_payloads + i * kv->blocks_per_table,
            .capacity = kv->blocks_per_table,
        };
    kv->n_free_tables = kv->opts.max_sequences;
    for (uint32_t i = 0; i < kv->n_free_tables; i++) kv->free_tables[i] = kv->n_free_tables - 1 - i;
    return 0;
}

static int open_parts(struct kv_cache *kv) {
    size_t payload_bytes[KV_MAX_GROUPS];
    unsigned n_groups = kv->layout.n_groups;
    for (unsigned g = 0; g < n_groups; g++) payload_bytes[g] = kv->layout.groups[g].block_bytes;
    TRY(slab_arena_open(&kv->arena, kv->opts.memory_bytes, payload_bytes, n_groups));
    for (unsigned g = 0; g < n_groups; g++) TRY(block_pool_open(&kv->pools[g], &kv->arena, g));
    return open_tables(kv);
}

int kv_open(struct kv_cache **out, const struct kv_layout *layout, const struct kv_opts *opts) {
    bool has_layers = layout->n_groups > 0;
    for (unsigned g = 0; g < layout->n_groups; g++) has_layers &= layout->groups[g].block_bytes > 0;
    if (opts->max_sequences == 0 || opts->max_tokens == 0 || !has_layers)
        return ERR(INVALID, "a KV cache needs at least one layer a group, one sequence and one token");
    struct kv_cache *kv = mem_alloc(1, sizeof *kv);
    if (kv == NULL) return ERR_NO_MEMORY;
    kv->layout = *layout;
    kv->opts = *opts;
    int result = open_parts(kv);
    if (result < 0) {
        kv_close(kv);
        return result;
    }
    *out = kv;
    return 0;
}

void kv_close(struct kv_cache *kv) {
    if (kv == NULL) return;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) block_pool_close(&kv->pools[g]);
    slab_arena_close(&kv->arena);
    mem_free(kv->tables);
    mem_free(kv->table_blocks);
    mem_free(kv->table_payloads);
    mem_free(kv->seq_tokens);
    mem_free(kv->free_tables);
    mem_free(kv);
}

/* What kv_check knows of a sequence beside its tables. */
static void note_tokens(struct kv_cache *kv, const struct kv_seq *seq) {
    kv->seq_tokens[2 * (size_t)(seq->table - 1)] = seq->n_computed;
    kv->seq_tokens[2 * (size_t)(seq->table - 1) + 1] = seq->n_reserved;
}

static int refuse(const struct kv_cache *kv, uint64_t n_tokens) {
    struct kv_usage usage = kv_usage(kv);
    return ERR(FULL,
               "KV memory exhausted: %" PRIu64 " tokens take %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64
               " bytes are held (raise --kv-memory or shorten the context)",
               n_tokens, kv_bytes_for(&kv->layout, (uint32_t)n_tokens, kv->opts.step_tokens),
               usage.held_bytes, usage.arena_bytes);
}

/* Extends every group's table to n_blocks, or leaves all as they were. */
static bool extend_tables(struct kv_cache *kv, const struct kv_seq *seq, uint32_t n_blocks) {
    uint32_t n_before = table_of(kv, seq, 0)->n;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        while (table->n < n_blocks) {
            if (block_table_push(table, &kv->pools[g])) continue;
            for (unsigned undo = 0; undo <= g; undo++)
                block_table_shrink(table_of(kv, seq, undo), &kv->pools[undo], n_before);
            return false;
        }
    }
    return true;
}

int kv_reserve(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_new) {
    uint64_t n_tokens = (uint64_t)seq->n_computed + n_new;
    if (n_tokens > kv->opts.max_tokens)
        return ERR(TOO_LARGE, "%" PRIu64 " tokens are more than the context of %" PRIu32, n_tokens,
                   kv->opts.max_tokens);
    bool is_fresh = seq->table == 0;
    if (is_fresh) {
        if (kv->n_free_tables == 0)
            return ERR(FULL, "all %" PRIu32 " sequences of the KV cache are in use", kv->opts.max_sequences);
        seq->table = kv->free_tables[--kv->n_free_tables] + 1;
    }
    if (!extend_tables(kv, seq, blocks_for((uint32_t)n_tokens))) {
        if (is_fresh) {
            kv->free_tables[kv->n_free_tables++] = seq->table - 1;
            seq->table = 0;
        }
        return refuse(kv, n_tokens);
    }
    if (n_tokens > seq->n_reserved) seq->n_reserved = (uint32_t)n_tokens;
    note_tokens(kv, seq);
    return 0;
}

/* The first block that a token at n_tokens, and so any later one, sees. */
static uint32_t first_seen_block(const struct kv_cache *kv, unsigned group, uint32_t n_tokens) {
    return kv_window_begin(kv->layout.groups[group].window, n_tokens) / BLOCK_TOKENS;
}

void kv_commit(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_done) {
    ASSERT(seq->table != 0 && n_done <= seq->n_reserved - seq->n_computed);
    uint32_t first_full = seq->n_computed / BLOCK_TOKENS;
    seq->n_computed += n_done;
    uint32_t end_full = seq->n_computed / BLOCK_TOKENS;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        for (uint32_t i = first_full; i < end_full; i++)
            block_pool_seal(&kv->pools[g], table_of(kv, seq, g)->blocks[i]);
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        block_table_pass(table_of(kv, seq, g), &kv->pools[g], first_seen_block(kv, g, seq->n_computed));
    note_tokens(kv, seq);
}

uint32_t kv_truncate(struct kv_cache *kv, struct kv_seq *seq, uint32_t n_tokens) {
    if (seq->table == 0) return 0;
    if (n_tokens > seq->n_computed) n_tokens = seq->n_computed;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        if (first_seen_block(kv, g, n_tokens) < table_of(kv, seq, g)->first) n_tokens = 0;
    bool cuts_sealed =
        n_tokens % BLOCK_TOKENS != 0 && n_tokens / BLOCK_TOKENS < seq->n_computed / BLOCK_TOKENS;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        struct block_table *table = table_of(kv, seq, g);
        block_table_shrink(table, &kv->pools[g], blocks_for(n_tokens));
        if (cuts_sealed) block_pool_reopen(&kv->pools[g], table->blocks[table->n - 1]);
    }
    seq->n_computed = seq->n_reserved = n_tokens;
    note_tokens(kv, seq);
    return n_tokens;
}

void kv_release(struct kv_cache *kv, struct kv_seq *seq) {
    if (seq->table == 0) return;
    for (unsigned g = 0; g < kv->layout.n_groups; g++)
        block_table_shrink(table_of(kv, seq, g), &kv->pools[g], 0);
    seq->n_computed = seq->n_reserved = 0;
    note_tokens(kv, seq);
    kv->free_tables[kv->n_free_tables++] = seq->table - 1;
    seq->table = 0;
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

/* The longest sequence, in tokens, whose blocks find payloads in n_slabs free slabs and, for group g, room[g]
 * payloads of slabs already cut. The groups draw on the same free slabs. */
static uint64_t tokens_that_fit(const struct kv_cache *kv, uint32_t n_slabs, const uint64_t *room) {
    const struct slab_class *classes = kv->arena.classes;
    uint64_t fit = 0, too_many = UINT32_MAX / BLOCK_TOKENS + 1; /* blocks */
    while (too_many - fit > 1) {
        uint64_t n_blocks = fit + (too_many - fit) / 2, n_needed = 0;
        for (unsigned g = 0; g < kv->layout.n_groups; g++) {
            uint64_t n =
                kv_group_blocks(&kv->layout.groups[g], n_blocks * BLOCK_TOKENS, kv->opts.step_tokens);
            uint64_t missing = n > room[g] ? n - room[g] : 0;
            n_needed += (missing + classes[g].payloads_per_slab - 1) / classes[g].payloads_per_slab;
        }
        if (n_needed <= n_slabs)
            fit = n_blocks;
        else
            too_many = n_blocks;
    }
    return fit == UINT32_MAX / BLOCK_TOKENS ? UINT32_MAX : fit * BLOCK_TOKENS;
}

struct kv_usage kv_usage(const struct kv_cache *kv) {
    struct kv_usage usage = {.arena_bytes = kv->arena.bytes,
                             .waste_bytes = slab_arena_waste_bytes(&kv->arena)};
    uint64_t room[KV_MAX_GROUPS], none[KV_MAX_GROUPS] = {0};
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const struct block_pool *pool = &kv->pools[g];
        uint32_t n_held = pool->n_blocks - pool->n_in_state[BLOCK_FREE];
        usage.held_bytes += (uint64_t)n_held * kv->layout.groups[g].block_bytes;
        usage.n_open += pool->n_in_state[BLOCK_OPEN];
        usage.n_sealed += pool->n_in_state[BLOCK_SEALED];
        room[g] = slab_arena_room(&kv->arena, g) -
                  (uint64_t)kv->arena.n_free_slabs * kv->arena.classes[g].payloads_per_slab;
    }
    usage.free_tokens = tokens_that_fit(kv, kv->arena.n_free_slabs, room);
    usage.capacity_tokens = tokens_that_fit(kv, kv->arena.n_slabs, none);
    return usage;
}

/* Invariants 2 to 5 for one table. */
static bool check_table(const struct kv_cache *kv, size_t sequence, unsigned group) {
    const struct block_table *table = &kv->tables[sequence * kv->layout.n_groups + group];
    uint32_t n_computed = kv->seq_tokens[2 * sequence], n_reserved = kv->seq_tokens[2 * sequence + 1];
    if (n_computed > n_reserved || table->n != blocks_for(n_reserved)) return false;
    if (table->first > kv_window_begin(kv->layout.groups[group].window, n_computed) / BLOCK_TOKENS)
        return false;
    for (uint32_t i = 0; i < table->first; i++)
        if (table->blocks[i] != BLOCK_NONE || table->payloads[i] != PAYLOAD_NONE) return false;
    for (uint32_t i = table->first; i < table->n; i++) {
        const struct block *block = &kv->pools[group].blocks[table->blocks[i]];
        bool is_full = (i + 1) * BLOCK_TOKENS <= n_computed;
        if (block->state != (is_full ? BLOCK_SEALED : BLOCK_OPEN)) return false;
        if (block->payload != table->payloads[i]) return false;
    }
    return true;
}

bool kv_check(const struct kv_cache *kv) {
    if (!slab_arena_check(&kv->arena)) return false;
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        uint64_t n_entries = 0, n_references = 0;
        if (!block_pool_check(&kv->pools[g])) return false;
        for (block_id id = 0; id < kv->pools[g].n_blocks; id++)
            n_references += kv->pools[g].blocks[id].n_references;
        for (size_t s = 0; s < kv->opts.max_sequences; s++) {
            if (!check_table(kv, s, g)) return false;
            const struct block_table *table = &kv->tables[s * kv->layout.n_groups + g];
            n_entries += table->n - table->first;
        }
        if (n_entries != n_references) return false;
    }
    return true;
}
