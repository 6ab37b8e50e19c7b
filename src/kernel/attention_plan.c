#include "kernel/attention_plan.h"

enum {
    ROWS_STEP = 12, /* tiles get narrower in steps of this; only tiles of at most this are cut into splits */
    UNITS_PER_THREAD = 4, /* no unit should cost more than 1 / (threads * this) of the job */
    /* A sequence of more rows fills tiles of its own: reading keys together with others would save little. */
    MOST_PEER_ROWS = ATTENTION_MAX_ROWS / 2
};
_Static_assert(ATTENTION_MAX_ROWS % ROWS_STEP == 0, "widest tile");
_Static_assert(ATTENTION_SPLIT % ATTENTION_TILE == 0, "a split is whole tiles");

static size_t align_line(size_t bytes) {
    return (bytes + MEM_CACHE_LINE - 1) / MEM_CACHE_LINE * MEM_CACHE_LINE;
}
static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }
static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Items that may be cut into splits: as each costs more than its part of the job there cannot be many more.
 */
static size_t max_cut_items(unsigned n_threads) { return n_threads == 1 ? 0 : 5 * (size_t)n_threads; }

size_t attention_plan_bytes(unsigned n_threads, size_t max_rows, size_t max_tokens, unsigned n_heads,
                            unsigned head_dim) {
    size_t n_items = max_cut_items(n_threads), n_splits = ceil_div(max_tokens, ATTENTION_SPLIT);
    size_t floats = attention_partial_floats(min_size(ROWS_STEP, max_rows * n_heads), head_dim);
    return align_line(max_rows * sizeof(struct attention_share)) + align_line(n_items * sizeof(unsigned)) +
           align_line(n_items * n_splits * floats * sizeof(float));
}

/* ---- shares ---- */

static size_t last_key(const struct attention_sequence *s) { return s->first_position + s->n_rows; }

/* The first key that a row at `position` sees. */
static size_t first_key(const struct attention_job *job, size_t position) {
    return kv_window_begin(job->window, (uint32_t)position);
}

/* Keys that one of the sequence's tiles of n_rows rows sees, at most. */
static size_t keys_of_tile(const struct attention_job *job, const struct attention_sequence *s, size_t n_rows,
                           unsigned group) {
    size_t n_keys = last_key(s);
    return job->window == 0 ? n_keys : min_size(n_keys, job->window + ceil_div(n_rows, group));
}

/* Time of an item, roughly: reading a key costs as much as 4 rows' arithmetic. */
static size_t item_cost(const struct attention_share *share, size_t n_rows) {
    return n_rows * share->n_keys + 4 * (share->n_common + share->n_private * n_rows / share->n_rows);
}

static size_t share_cost(const struct attention_share *share) {
    return ceil_div(share->n_rows, ATTENTION_MAX_ROWS) *
           item_cost(share, min_size(share->n_rows, ATTENTION_MAX_ROWS));
}

static const struct attention_sequence *sequence_of(const struct attention_job *job,
                                                    const struct attention_peer *peer) {
    return &job->sequences[peer->sequence];
}

static size_t peer_rows(const struct attention_plan *plan, const struct attention_peer *peer) {
    return sequence_of(plan->job, peer)->n_rows * plan->group;
}

/* The peers from the i-th on that go together. */
static size_t count_together(const struct attention_plan *plan, size_t i) {
    const struct attention_peer *peers = plan->job->peers;
    size_t end = i + 1;
    while (end < plan->job->n_sequences && peers[end].common_begin < peers[end].common_end &&
           peer_rows(plan, &peers[end - 1]) <= MOST_PEER_ROWS &&
           peer_rows(plan, &peers[end]) <= MOST_PEER_ROWS)
        end++;
    return end - i;
}

/* The share that begins with the i-th peer. */
static struct attention_share share_at(const struct attention_plan *plan, size_t i) {
    const struct attention_job *job = plan->job;
    struct attention_share share = {
        .peers = &job->peers[i], .n_peers = count_together(plan, i), .first_key = SIZE_MAX};
    size_t pairs = 0;
    for (size_t p = 0; p < share.n_peers; p++) {
        const struct attention_peer *peer = &share.peers[p];
        const struct attention_sequence *s = sequence_of(job, peer);
        size_t n_rows = peer_rows(plan, peer);
        size_t n_keys = keys_of_tile(job, s, min_size(n_rows, ATTENTION_MAX_ROWS), plan->group);
        size_t n_common = p == 0 ? 0 : (peer->common_end - peer->common_begin) * (size_t)ATTENTION_TILE;
        share.n_rows += n_rows;
        share.n_private += n_keys - min_size(n_common, n_keys);
        share.n_common = max_size(share.n_common, n_common);
        share.first_key = min_size(share.first_key, first_key(job, s->first_position));
        share.last_key = max_size(share.last_key, last_key(s));
        pairs += n_rows * n_keys;
    }
    share.n_keys = pairs / share.n_rows;
    if (share.n_peers == 1) share.n_common = share.n_keys;
    share.n_private -= min_size(share.n_common, share.n_private);
    return share;
}

static unsigned cost_class(size_t cost) { return cost == 0 ? 0 : 63u - (unsigned)__builtin_clzl(cost); }

/* Puts the shares into plan->shares by falling magnitude of cost, so that the long ones start first; returns
 * the cost of all. */
static size_t order_shares(struct attention_plan *plan) {
    const struct attention_job *job = plan->job;
    size_t counts[64] = {0}, total = 0;
    for (size_t i = 0; i < job->n_sequences;) {
        struct attention_share share = share_at(plan, i);
        total += share_cost(&share) * job->layer->n_kv_heads;
        counts[cost_class(share_cost(&share))]++;
        plan->n_shares++;
        i += share.n_peers;
    }
    for (size_t class = 64, first = 0; class --> 0;) {
        size_t count = counts[class];
        counts[class] = first;
        first += count;
    }
    for (size_t i = 0; i < job->n_sequences;) {
        struct attention_share share = share_at(plan, i);
        plan->shares[counts[cost_class(share_cost(&share))]++] = share;
        i += share.n_peers;
    }
    return total;
}

/* Cuts a share into tiles none of which costs more than `limit`, if they can be that narrow. */
static void cut_rows(const struct attention_plan *plan, struct attention_share *share, size_t limit) {
    unsigned width = ATTENTION_MAX_ROWS;
    while (width > ROWS_STEP && item_cost(share, min_size(width, share->n_rows)) > limit) width -= ROWS_STEP;
    /* All rows of a position in one tile, which alone then reads what they see. */
    if (share->n_peers > 1 && width > plan->group) width -= width % plan->group;
    share->rows_per_tile = (unsigned)min_size(width, share->n_rows);
    share->n_tiles = (unsigned)ceil_div(share->n_rows, width);
}

void attention_plan_make(struct attention_plan *plan, const struct kernel_set *kernels,
                         const struct attention_job *job, unsigned n_threads, void *scratch) {
    const unsigned n_kv_heads = job->layer->n_kv_heads, head_dim = job->layer->head_dim;
    uint8_t *free_scratch = scratch;
    *plan = (struct attention_plan){
        .kernels = kernels, .job = job, .group = job->n_heads / n_kv_heads, .shares = scratch};
    free_scratch += align_line(job->n_sequences * sizeof(struct attention_share));
    _Atomic unsigned *n_left = (_Atomic unsigned *)free_scratch;
    free_scratch += align_line(max_cut_items(n_threads) * sizeof(unsigned));
    float *partials = (float *)free_scratch;

    size_t cost = order_shares(plan), n_cut = 0;
    size_t limit = n_threads == 1 ? SIZE_MAX : cost / (n_threads * UNITS_PER_THREAD);
    for (size_t i = 0; i < plan->n_shares; i++) {
        struct attention_share *share = &plan->shares[i];
        cut_rows(plan, share, limit);
        size_t n_items = (size_t)share->n_tiles * n_kv_heads, n_units = n_items;
        if (item_cost(share, share->rows_per_tile) > limit && share->rows_per_tile <= ROWS_STEP &&
            share->n_keys > ATTENTION_SPLIT && n_cut + n_items <= max_cut_items(n_threads)) {
            share->first_split = (unsigned)(share->first_key / ATTENTION_SPLIT);
            share->n_splits = (unsigned)ceil_div(share->last_key, ATTENTION_SPLIT) - share->first_split;
            share->n_left = n_left + n_cut;
            share->partials = partials;
            for (size_t item = 0; item < n_items; item++) atomic_init(&share->n_left[item], share->n_splits);
            n_cut += n_items;
            n_units = n_items * share->n_splits;
            partials += n_units * attention_partial_floats(share->rows_per_tile, head_dim);
        }
        share->end_unit = plan->n_units += n_units;
    }
    team_cursor_init(&plan->cursor, plan->n_units, 1);
}

/* ---- units ---- */

/* Lists whose the unit's rows are. */
static void find_strands(const struct attention_plan *plan, struct attention_unit *unit) {
    const struct attention_share *share = unit->share;
    const size_t begin = (size_t)unit->tile * share->rows_per_tile,
                 end = min_size(begin + share->rows_per_tile, share->n_rows);
    unit->n_rows = (unsigned)(end - begin);
    unit->n_strands = 0;
    unit->begin_key = SIZE_MAX;
    unit->end_key = 0;
    for (size_t p = 0, first = 0; p < share->n_peers && first < end; p++) {
        const struct attention_peer *peer = &share->peers[p];
        const struct attention_sequence *s = sequence_of(plan->job, peer);
        size_t from = max_size(first, begin), to = min_size(first + peer_rows(plan, peer), end);
        if (from < to) {
            struct attention_strand *strand = &unit->strands[unit->n_strands++];
            *strand = (struct attention_strand){
                .sequence = s,
                .first = from - first,
                .first_row = (unsigned)(from - begin),
                .n_rows = (unsigned)(to - from),
                .begin_key = first_key(plan->job, s->first_position + (from - first) / plan->group),
                .end_key = s->first_position + (to - 1 - first) / plan->group + 1,
                .common_begin = peer->common_begin,
                .common_end = peer->common_end};
            unit->begin_key = min_size(unit->begin_key, strand->begin_key);
            unit->end_key = max_size(unit->end_key, strand->end_key);
        }
        first += peer_rows(plan, peer);
    }
}

bool attention_plan_take(struct attention_plan *plan, struct attention_unit *unit,
                         const struct attention_share **search) {
    size_t number, end;
    if (!team_cursor_take(&plan->cursor, &number, &end)) return false;
    while (number >= (*search)->end_unit) (*search)++;
    const struct attention_share *share = unit->share = *search;
    /* Counted from the share's last unit, as late tiles see the most keys. Tiles of one head follow each
     * other, so that its K and V may stay in the core's cache; the heads of one split lie side by side in
     * memory. */
    size_t left = share->end_unit - 1 - number, n_kv_heads = plan->job->layer->n_kv_heads;
    if (share->n_splits == 0) {
        unit->tile = (unsigned)(left % share->n_tiles);
        unit->kv_head = (unsigned)(left / share->n_tiles);
        unit->split = 0;
    } else {
        unit->kv_head = (unsigned)(n_kv_heads - 1 - left % n_kv_heads);
        unit->split =
            share->first_split + share->n_splits - 1 - (unsigned)(left / n_kv_heads % share->n_splits);
        unit->tile = (unsigned)(left / n_kv_heads / share->n_splits);
    }
    find_strands(plan, unit);
    return true;
}

/* ---- places ---- */

struct attention_place attention_unit_begin(const struct attention_unit *unit, size_t split) {
    size_t seen = unit->begin_key / ATTENTION_TILE * ATTENTION_TILE;
    return (struct attention_place){.key = max_size(seen, split * ATTENTION_SPLIT)};
}

bool attention_unit_next(const struct attention_unit *unit, size_t end_key, struct attention_place *place) {
    unsigned i = place->end_strand;
    for (size_t key = place->key; key < end_key; key += ATTENTION_TILE, i = 0) {
        const size_t tile = key / ATTENTION_TILE;
        while (i < unit->n_strands) {
            const struct attention_strand *strand = &unit->strands[i];
            unsigned end = i + 1;
            while (end < unit->n_strands && unit->strands[end].common_begin <= tile &&
                   tile < unit->strands[end].common_end)
                end++;
            if (end > i + 1 || (key < strand->end_key && strand->begin_key < key + ATTENTION_TILE)) {
                *place = (struct attention_place){key, i, end};
                return true;
            }
            i = end;
        }
    }
    return false;
}
