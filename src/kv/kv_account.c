#include "kv/kv_account.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kv/kv_state.h"

struct kv_account {
    const struct kv_cache *kv;
    uint32_t tile_blocks;
    uint64_t f16_block_bytes[KV_MAX_GROUPS];
    uint32_t *counts[KV_MAX_GROUPS]; /* (n_blocks) how many have, or read, a block; 0 between calls */
    struct kv_share *shares;         /* (max_sequences) by table, as of the latest look */
};

int kv_account_open(struct kv_account **out, const struct kv_cache *kv, uint32_t tile_blocks) {
    ASSERT(tile_blocks > 0);
    struct kv_account *account = mem_alloc(1, sizeof *account);
    if (account == NULL) return ERR_NO_MEMORY;
    account->kv = kv;
    account->tile_blocks = tile_blocks;
    bool has_all = (account->shares = mem_alloc(kv->opts.max_sequences, sizeof *account->shares)) != NULL;
    for (unsigned g = 0; g < kv->layout.n_groups && has_all; g++) {
        account->counts[g] = mem_alloc(kv->pools[g].n_blocks, sizeof *account->counts[g]);
        has_all = account->counts[g] != NULL;
    }
    if (!has_all) {
        kv_account_close(account);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < kv->layout.n_layers; i++) {
        const struct kv_layer *layer = &kv->layout.layers[i];
        account->f16_block_bytes[layer->group] +=
            2 * sizeof(uint16_t) * BLOCK_TOKENS * (uint64_t)layer->n_kv_heads * layer->head_dim;
    }
    *out = account;
    return 0;
}

void kv_account_close(struct kv_account *account) {
    if (account == NULL) return;
    for (unsigned g = 0; g < KV_MAX_GROUPS; g++) mem_free(account->counts[g]);
    mem_free(account->shares);
    mem_free(account);
}

uint64_t kv_account_pool_bytes(const struct kv_account *account) {
    const struct slab_arena *arena = &account->kv->arena;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < arena->n_classes; i++)
        bytes += arena->classes[i].n_used * arena->classes[i].payload_bytes;
    return bytes;
}

/* ---- what sequences have ---- */

/* The t-th table of a group, if a sequence has it; else NULL. */
static const struct block_table *live_table(const struct kv_cache *kv, uint32_t t, unsigned group) {
    return kv->noted[t].table == 0 ? NULL : &kv->tables[(size_t)t * kv->layout.n_groups + group];
}

static void add_table(struct kv_account *account, unsigned group, const struct block_table *table,
                      struct kv_share *share) {
    const struct block_pool *pool = &account->kv->pools[group];
    const size_t *class_bytes = account->kv->layout.groups[group].class_bytes;
    for (uint32_t i = table->first; i < table->n; i++) {
        const struct block *block = &pool->blocks[table->blocks[i]];
        uint64_t bytes = class_bytes[block->class];
        uint32_t n_holders = account->counts[group][table->blocks[i]];
        if (block->staged != PAYLOAD_NONE) bytes += class_bytes[KV_OPEN];
        share->held_bytes += bytes;
        share->share_bytes += n_holders == 1 ? bytes : bytes / n_holders;
    }
    share->f16_bytes += account->f16_block_bytes[group] * (table->n - table->first);
}

static void look_at_group(struct kv_account *account, unsigned group) {
    const struct kv_cache *kv = account->kv;
    const struct block_table *table;
    uint32_t *counts = account->counts[group];
    for (uint32_t t = 0; t < kv->opts.max_sequences; t++)
        if ((table = live_table(kv, t, group)) != NULL)
            for (uint32_t i = table->first; i < table->n; i++) counts[table->blocks[i]]++;
    for (uint32_t t = 0; t < kv->opts.max_sequences; t++)
        if ((table = live_table(kv, t, group)) != NULL) add_table(account, group, table, &account->shares[t]);
    for (uint32_t t = 0; t < kv->opts.max_sequences; t++)
        if ((table = live_table(kv, t, group)) != NULL)
            for (uint32_t i = table->first; i < table->n; i++) counts[table->blocks[i]] = 0;
}

void kv_account_look(struct kv_account *account) {
    memset(account->shares, 0, account->kv->opts.max_sequences * sizeof *account->shares);
    for (unsigned g = 0; g < account->kv->layout.n_groups; g++) look_at_group(account, g);
}

struct kv_share kv_account_share(const struct kv_account *account, const struct kv_seq *seq) {
    return seq->table == 0 ? (struct kv_share){0} : account->shares[seq->table - 1];
}

/* ---- figures ---- */

/* Payloads in use of each class. Blocks of groups that do not convert keep theirs: there the state tells. */
static void count_payloads(const struct kv_cache *kv, unsigned group, uint64_t n[KV_CLASS_COUNT]) {
    const struct block_pool *pool = &kv->pools[group];
    for (int class = 0; class < KV_CLASS_COUNT; class ++)
        n[class] = kv->layout.groups[group].converts && class != KV_DEMOTED
                       ? kv->arena.classes[pool->slab_classes[class]].n_used
                       : 0;
    if (kv->layout.groups[group].converts) return;
    n[KV_OPEN] = pool->n_in_state[BLOCK_OPEN];
    if (kv->layout.groups[group].demotes)
        n[KV_DEMOTED] = kv->arena.classes[pool->slab_classes[KV_DEMOTED]].n_used;
    n[KV_SEALED] = pool->n_in_state[BLOCK_SEALED] + pool->n_in_state[BLOCK_IDLE] - n[KV_DEMOTED];
}

struct kv_figures kv_account_figures(const struct kv_account *account) {
    const struct kv_cache *kv = account->kv;
    struct kv_figures figures = {0};
    for (unsigned g = 0; g < kv->layout.n_groups; g++) {
        const uint32_t *n_in_state = kv->pools[g].n_in_state;
        const struct block_table *table;
        figures.n_slots += BLOCK_TOKENS * ((uint64_t)n_in_state[BLOCK_OPEN] + n_in_state[BLOCK_SEALED]);
        for (uint32_t t = 0; t < kv->opts.max_sequences; t++)
            if ((table = live_table(kv, t, g)) != NULL && table->n > table->first)
                figures.n_unused_slots += (uint64_t)table->n * BLOCK_TOKENS - kv->noted[t].n_computed;
        count_payloads(kv, g, figures.n_payloads[g]);
    }
    for (uint32_t i = 0; i < kv->layout.n_layers; i++) {
        const struct kv_layer *layer = &kv->layout.layers[i];
        for (int class = 0; class < KV_CLASS_COUNT; class ++) {
            const struct kv_areas *areas = &layer->areas[class];
            uint64_t n_areas = figures.n_payloads[layer->group][class] * layer->n_kv_heads;
            figures.codec_bytes[areas->codecs.k] += n_areas * areas->k_bytes;
            figures.codec_bytes[areas->codecs.v] += n_areas * areas->v_bytes;
        }
    }
    return figures;
}

/* ---- what a step reads and writes ---- */

/* One sequence's blocks of one group in a step. Those in [common, end_common) are whole tiles that it may
 * read together with others: its first row sees all of them, and none has rows of this step. */
struct strand {
    const struct block_table *table;
    uint32_t begin, end; /* positions that some row sees */
    uint32_t common, end_common;
};

static struct strand strand_of(const struct kv_account *account, const struct kv_traffic *traffic,
                               unsigned group) {
    const struct kv_seq *seq = traffic->seq;
    uint32_t tile = account->tile_blocks, tile_tokens = tile * BLOCK_TOKENS;
    struct strand strand = {
        .table = table_of(account->kv, seq, group),
        .begin = kv_window_begin(account->kv->layout.groups[group].window, seq->n_computed),
        .end = seq->n_computed + traffic->n_rows,
        .end_common = seq->n_computed / tile_tokens * tile,
    };
    strand.common = (strand.begin / tile_tokens + (strand.begin % tile_tokens != 0)) * tile;
    if (strand.common > strand.end_common) strand.common = strand.end_common;
    return strand;
}

/* How many read the tile of block i. Its last block stands for it: who shares that shares all before it. */
static uint32_t *readers(const struct kv_account *account, unsigned group, const struct strand *strand,
                         uint32_t i) {
    uint32_t last = i - i % account->tile_blocks + account->tile_blocks - 1;
    return &account->counts[group][strand->table->blocks[last]];
}

/* Bytes of the slots of block i that the strand reads. */
static uint64_t slot_bytes(const struct kv_account *account, unsigned group, const struct strand *strand,
                           uint32_t i) {
    const struct block *block = &account->kv->pools[group].blocks[strand->table->blocks[i]];
    uint64_t bytes = account->kv->layout.groups[group].class_bytes[block->class];
    uint32_t first = i * BLOCK_TOKENS, last = first + BLOCK_TOKENS;
    if (strand->begin > first) first = strand->begin;
    if (strand->end < last) last = strand->end;
    return last - first == BLOCK_TOKENS ? bytes : bytes * (last - first) / BLOCK_TOKENS;
}

/* Adds the sequence's part of what is read; what it reads alone also to the step's. */
static void add_reads(const struct kv_account *account, unsigned group, struct kv_traffic *traffic,
                      struct kv_step_bytes *step) {
    struct strand strand = strand_of(account, traffic, group);
    for (uint32_t i = strand.begin / BLOCK_TOKENS; i < blocks_for(strand.end); i++) {
        uint64_t bytes = slot_bytes(account, group, &strand, i);
        bool is_common = i >= strand.common && i < strand.end_common;
        traffic->read_bytes += is_common ? bytes / *readers(account, group, &strand, i) : bytes;
        if (!is_common) step->read += bytes;
    }
}

/* Adds to the step's reads the common tiles that nobody before has added, and forgets their readers. */
static void add_common(const struct kv_account *account, unsigned group, const struct kv_traffic *traffic,
                       struct kv_step_bytes *step) {
    struct strand strand = strand_of(account, traffic, group);
    for (uint32_t tile = strand.common; tile < strand.end_common; tile += account->tile_blocks) {
        uint32_t *n = readers(account, group, &strand, tile);
        for (uint32_t i = tile; i < tile + account->tile_blocks && *n > 0; i++)
            step->read += slot_bytes(account, group, &strand, i);
        *n = 0;
    }
}

static void add_writes(const struct kv_account *account, unsigned group, struct kv_traffic *traffic) {
    const struct kv_group *layout = &account->kv->layout.groups[group];
    uint32_t begin = traffic->seq->n_computed, end = begin + traffic->n_rows;
    for (uint32_t i = begin / BLOCK_TOKENS; i < blocks_for(end); i++) {
        enum kv_class class = kv_class_at(layout, i, end);
        uint32_t first = i * BLOCK_TOKENS > begin ? i * BLOCK_TOKENS : begin;
        uint32_t last = (i + 1) * BLOCK_TOKENS < end ? (i + 1) * BLOCK_TOKENS : end;
        traffic->written_bytes += class == KV_OPEN
                                      ? layout->class_bytes[class] * (last - first) / BLOCK_TOKENS
                                      : layout->class_bytes[class];
    }
}

/* Those of the step that may read together in a group with traffic[first] are from there on those whose
 * common tiles begin where its do: as attention compares them. Adds what they read. */
static void add_peers(struct kv_account *account, unsigned group, struct kv_traffic *traffic, uint32_t first,
                      uint32_t n, struct kv_step_bytes *step) {
    const uint32_t begin = strand_of(account, &traffic[first], group).common;
    for (uint32_t s = first; s < n; s++) {
        struct strand strand = strand_of(account, &traffic[s], group);
        for (uint32_t i = strand.common; i < strand.end_common && strand.common == begin;
             i += account->tile_blocks)
            ++*readers(account, group, &strand, i);
    }
    for (uint32_t s = first; s < n; s++)
        if (strand_of(account, &traffic[s], group).common == begin)
            add_reads(account, group, &traffic[s], step);
    for (uint32_t s = first; s < n; s++)
        if (strand_of(account, &traffic[s], group).common == begin)
            add_common(account, group, &traffic[s], step);
}

static bool has_peer_before(const struct kv_account *account, unsigned group,
                            const struct kv_traffic *traffic, uint32_t s) {
    const uint32_t begin = strand_of(account, &traffic[s], group).common;
    for (uint32_t before = 0; before < s; before++)
        if (strand_of(account, &traffic[before], group).common == begin) return true;
    return false;
}

struct kv_step_bytes kv_account_step(struct kv_account *account, struct kv_traffic *traffic, uint32_t n) {
    struct kv_step_bytes step = {0};
    for (uint32_t s = 0; s < n; s++) traffic[s].read_bytes = traffic[s].written_bytes = 0;
    for (unsigned g = 0; g < account->kv->layout.n_groups; g++) {
        for (uint32_t s = 0; s < n; s++) {
            if (!has_peer_before(account, g, traffic, s)) add_peers(account, g, traffic, s, n, &step);
            add_writes(account, g, &traffic[s]);
        }
    }
    for (uint32_t s = 0; s < n; s++) step.written += traffic[s].written_bytes;
    return step;
}
