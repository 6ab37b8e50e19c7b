#include "kernel/attention.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kernel/attend_decoded.h"

/* A *share* is one sequence's work: its query rows, flattened as (position, head of the KV head's group), are
 * cut into tiles of at most ATTENTION_MAX_ROWS; a tile and a KV head make an *item*. Usually an item is one
 * *unit*, the piece that a thread takes: it walks its splits in order. An item that would keep one thread
 * busy while others wait gets narrower tiles, and is then cut into one unit a split, each of which leaves its
 * partial in scratch; whoever finishes an item's last unit merges them in order. Both ways run the same
 * operations on the same numbers. */
enum {
    ROWS_STEP = 12, /* tiles get narrower in steps of this; only tiles of at most this are cut into splits */
    UNITS_PER_THREAD = 4 /* no unit should cost more than 1 / (threads * this) of the job */
};
_Static_assert(ATTENTION_MAX_ROWS % ROWS_STEP == 0, "widest tile");
_Static_assert(ATTENTION_SPLIT % ATTENTION_TILE == 0, "a split is whole tiles");

struct share {
    const struct attention_sequence *sequence;
    unsigned n_tiles, rows_per_tile;
    unsigned first_split;     /* the first that a row sees keys of */
    unsigned n_splits;        /* from there on, if its items are cut into splits; else 0 */
    size_t end_unit;          /* units before the next share */
    _Atomic unsigned *n_left; /* (n_tiles, n_kv_heads) units of the item that are not done yet */
    float *partials;          /* (n_tiles, n_kv_heads, n_splits, partial_floats) */
};

struct plan {
    const struct kernel_set *kernels;
    const struct attention_job *job;
    unsigned group; /* query heads that share a KV head */
    size_t n_shares, n_units;
    struct share *shares; /* most expensive first */
    uint8_t *threads;     /* (n_ranks, thread_bytes) */
    struct team_cursor cursor;
};

/* What a thread works on. */
struct unit {
    const struct share *share;
    unsigned tile, kv_head, split; /* split: of the sequence; only if the share is cut into splits */
    size_t begin_key, end_key;     /* of the keys that some row sees */
};

struct worker {
    struct plan *plan;
    struct unit unit, next;
    bool has_next, took_next;
    const struct share *next_share; /* where the search for the next unit goes on */
    struct attention_rows total, part;
    bool uses_codes;
    struct attention_codes codes;
    float *q;
    size_t row_begin[ATTENTION_MAX_ROWS], row_end[ATTENTION_MAX_ROWS]; /* keys that each row sees */
};

static size_t align_line(size_t bytes) {
    return (bytes + MEM_CACHE_LINE - 1) / MEM_CACHE_LINE * MEM_CACHE_LINE;
}
static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Floats of max, sum and out of n_rows rows. */
static size_t partial_floats(size_t n_rows, unsigned head_dim) { return n_rows * (head_dim + 2u); }

/* A plane of q's codes. */
static size_t code_bytes(unsigned head_dim) {
    return align_line(ATTENTION_MAX_ROWS * attention_code_stride(head_dim));
}

/* A thread's gathered q, its total and its part, and q's codes. */
static size_t thread_bytes(unsigned head_dim) {
    size_t floats = (size_t)ATTENTION_MAX_ROWS * head_dim + 2 * partial_floats(ATTENTION_MAX_ROWS, head_dim);
    return align_line(floats * sizeof(float)) + 2 * code_bytes(head_dim);
}

/* Items that may be cut into splits: as each costs more than its part of the job there cannot be many more.
 */
static size_t max_cut_items(unsigned n_threads) { return n_threads == 1 ? 0 : 5 * (size_t)n_threads; }

size_t attention_scratch_bytes(unsigned n_threads, size_t max_rows, size_t max_tokens, unsigned n_heads,
                               unsigned head_dim) {
    size_t n_items = max_cut_items(n_threads), n_splits = ceil_div(max_tokens, ATTENTION_SPLIT);
    size_t partial = partial_floats(min_size(ROWS_STEP, max_rows * n_heads), head_dim) * sizeof(float);
    return align_line(max_rows * sizeof(struct share)) + align_line(n_items * sizeof(unsigned)) +
           n_threads * thread_bytes(head_dim) + n_items * n_splits * partial;
}

/* ---- planning ---- */

static size_t last_key(const struct attention_sequence *s) { return s->first_position + s->n_rows; }

/* The first key that a row at `position` sees. */
static size_t first_key(const struct attention_job *job, size_t position) {
    return kv_window_begin(job->window, (uint32_t)position);
}

/* Keys of one of the sequence's items of n_rows rows, at most. */
static size_t keys_of_item(const struct attention_job *job, const struct attention_sequence *s, size_t n_rows,
                           unsigned group) {
    size_t n_keys = last_key(s);
    return job->window == 0 ? n_keys : min_size(n_keys, job->window + ceil_div(n_rows, group));
}

/* Time of an item, roughly: reading a key costs as much as 4 rows' arithmetic. */
static size_t item_cost(size_t n_rows, size_t n_keys) { return (n_rows + 4) * n_keys; }

static size_t sequence_cost(const struct attention_job *job, const struct attention_sequence *s,
                            unsigned group) {
    size_t n_rows = s->n_rows * group, n_tile_rows = min_size(n_rows, ATTENTION_MAX_ROWS);
    return ceil_div(n_rows, ATTENTION_MAX_ROWS) *
           item_cost(n_tile_rows, keys_of_item(job, s, n_tile_rows, group));
}

static unsigned cost_class(size_t cost) { return cost == 0 ? 0 : 63u - (unsigned)__builtin_clzl(cost); }

/* Puts the sequences into plan->shares by falling magnitude of cost, so that the long ones start first;
 * returns the cost of all. */
static size_t order_shares(struct plan *plan) {
    const struct attention_job *job = plan->job;
    size_t counts[64] = {0}, total = 0;
    for (size_t i = 0; i < job->n_sequences; i++) {
        size_t cost = sequence_cost(job, &job->sequences[i], plan->group);
        total += cost * job->layer->n_kv_heads;
        counts[cost_class(cost)]++;
    }
    for (size_t class = 64, first = 0; class --> 0;) {
        size_t count = counts[class];
        counts[class] = first;
        first += count;
    }
    for (size_t i = 0; i < job->n_sequences; i++) {
        size_t cost = sequence_cost(job, &job->sequences[i], plan->group);
        plan->shares[counts[cost_class(cost)]++] = (struct share){.sequence = &job->sequences[i]};
    }
    return total;
}

static void make_plan(struct plan *plan, unsigned n_threads) {
    const struct attention_job *job = plan->job;
    const unsigned n_kv_heads = job->layer->n_kv_heads, head_dim = job->layer->head_dim;
    uint8_t *scratch = job->scratch;
    plan->n_shares = job->n_sequences;
    plan->shares = (struct share *)scratch;
    scratch += align_line(plan->n_shares * sizeof(struct share));
    _Atomic unsigned *n_left = (_Atomic unsigned *)scratch;
    scratch += align_line(max_cut_items(n_threads) * sizeof(unsigned));
    plan->threads = scratch;
    float *partials = (float *)(scratch + n_threads * thread_bytes(head_dim));

    size_t cost = order_shares(plan), n_cut = 0;
    size_t limit = n_threads == 1 ? SIZE_MAX : cost / (n_threads * UNITS_PER_THREAD);
    for (size_t i = 0; i < plan->n_shares; i++) {
        struct share *share = &plan->shares[i];
        size_t n_rows = share->sequence->n_rows * plan->group;
        size_t n_keys = keys_of_item(job, share->sequence, min_size(n_rows, ATTENTION_MAX_ROWS), plan->group);
        unsigned width = ATTENTION_MAX_ROWS;
        while (width > ROWS_STEP && item_cost(min_size(width, n_rows), n_keys) > limit) width -= ROWS_STEP;
        share->rows_per_tile = (unsigned)min_size(width, n_rows);
        share->n_tiles = (unsigned)ceil_div(n_rows, width);
        size_t n_items = (size_t)share->n_tiles * n_kv_heads, n_units = n_items;
        if (item_cost(share->rows_per_tile, n_keys) > limit && share->rows_per_tile <= ROWS_STEP &&
            n_keys > ATTENTION_SPLIT && n_cut + n_items <= max_cut_items(n_threads)) {
            share->first_split =
                (unsigned)(first_key(job, share->sequence->first_position) / ATTENTION_SPLIT);
            share->n_splits =
                (unsigned)ceil_div(last_key(share->sequence), ATTENTION_SPLIT) - share->first_split;
            share->n_left = n_left + n_cut;
            share->partials = partials;
            for (size_t item = 0; item < n_items; item++) atomic_init(&share->n_left[item], share->n_splits);
            n_cut += n_items;
            n_units = n_items * share->n_splits;
            partials += n_units * partial_floats(share->rows_per_tile, head_dim);
        }
        share->end_unit = plan->n_units += n_units;
    }
    team_cursor_init(&plan->cursor, plan->n_units, 1);
}

/* ---- one thread ---- */

static void take_next(struct worker *w) {
    size_t number, end;
    w->took_next = true;
    w->has_next = team_cursor_take(&w->plan->cursor, &number, &end) != 0;
    if (!w->has_next) return;
    while (number >= w->next_share->end_unit) w->next_share++;
    const struct share *share = w->next_share;
    const struct attention_sequence *s = share->sequence;
    /* Counted from the share's last unit, as late tiles see the most keys. Tiles of one head follow each
     * other, so that its K and V may stay in the core's cache; the heads of one split lie side by side in
     * memory. */
    size_t left = share->end_unit - 1 - number, n_kv_heads = w->plan->job->layer->n_kv_heads;
    w->next = (struct unit){.share = share};
    if (share->n_splits == 0) {
        w->next.tile = (unsigned)(left % share->n_tiles);
        w->next.kv_head = (unsigned)(left / share->n_tiles);
    } else {
        w->next.kv_head = (unsigned)(n_kv_heads - 1 - left % n_kv_heads);
        w->next.split =
            share->first_split + share->n_splits - 1 - (unsigned)(left / n_kv_heads % share->n_splits);
        w->next.tile = (unsigned)(left / n_kv_heads / share->n_splits);
    }
    size_t row = (size_t)w->next.tile * share->rows_per_tile;
    size_t end_row = min_size(row + share->rows_per_tile, s->n_rows * w->plan->group);
    w->next.begin_key = first_key(w->plan->job, s->first_position + row / w->plan->group);
    w->next.end_key = s->first_position + (end_row - 1) / w->plan->group + 1;
}

/* How a sequence's block is stored for good. */
static const struct kv_areas *areas_of(const struct attention_job *job, size_t block) {
    if (!job->converts) return &job->layer->areas[KV_OPEN];
    return &job->layer->areas[block == 0 ? KV_SINK : KV_SEALED];
}

/* K areas, as they are stored for good, of the tile's blocks that some row of the unit sees. */
static void find_k_areas(const struct worker *w, const struct unit *unit, size_t key,
                         const void *k[ATTENTION_TILE_BLOCKS]) {
    const struct attention_job *job = w->plan->job;
    for (size_t i = 0; i < ATTENTION_TILE_BLOCKS; i++) {
        size_t begin = key + i * BLOCK_TOKENS, block = begin / BLOCK_TOKENS;
        bool is_seen = begin < unit->end_key && begin + BLOCK_TOKENS > unit->begin_key;
        k[i] = !is_seen ? NULL
                        : job->arena + unit->share->sequence->payloads[block] +
                              kv_k_offset(areas_of(job, block), unit->kv_head);
    }
}

/* K area of a block that some row's token lies in, in its OPEN form. */
static const uint8_t *own_k_area(const struct worker *w, size_t block) {
    const struct attention_job *job = w->plan->job;
    const struct attention_sequence *s = w->unit.share->sequence;
    const struct kv_areas *areas = &job->layer->areas[KV_OPEN];
    if (block >= last_key(s) / BLOCK_TOKENS)
        return job->arena + s->payloads[block] + kv_k_offset(areas, w->unit.kv_head);
    return s->filled + (block - s->first_position / BLOCK_TOKENS) * kv_form_bytes(job->layer, KV_OPEN) +
           kv_k_offset(areas, w->unit.kv_head) - areas->offset;
}

/* Where a unit begins to read in a split: the first tile that a row sees a key of. */
static size_t first_tile(const struct unit *unit, size_t split) {
    size_t seen = unit->begin_key / ATTENTION_TILE * ATTENTION_TILE, begin = split * ATTENTION_SPLIT;
    return seen > begin ? seen : begin;
}

static void clear(struct attention_rows *rows) {
    for (unsigned r = 0; r < rows->n_rows; r++) {
        rows->max[r] = -INFINITY;
        rows->sum[r] = 0;
    }
    memset(rows->out, 0, (size_t)rows->n_rows * rows->head_dim * sizeof(float));
}

/* A run of keys within a tile, in one form. */
struct run {
    size_t begin, end;
    const struct kv_areas *areas;
    bool is_own; /* the block that some rows' tokens lie in: only they see it; the others see none of it */
};

/* Adds to `part` what its rows see of a run. tile->k has the areas of the run's blocks. */
static void attend_run(const struct worker *w, struct attention_rows *part, struct attention_tile *tile,
                       size_t key, const struct run *run) {
    uint32_t row_begin[ATTENTION_MAX_ROWS], row_end[ATTENTION_MAX_ROWS];
    bool sees_any = false;
    for (unsigned r = 0; r < part->n_rows; r++) {
        size_t first = w->row_begin[r] > run->begin ? w->row_begin[r] : run->begin;
        size_t last = min_size(w->row_end[r], run->end);
        if (w->plan->job->converts) {
            size_t own = (w->row_end[r] - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
            if (run->is_own && own != run->begin) last = 0;
            if (!run->is_own) last = min_size(last, own);
        }
        bool sees = first < last;
        row_begin[r] = sees ? (uint32_t)(first - key) : 0;
        row_end[r] = sees ? (uint32_t)(last - key) : 0;
        sees_any |= sees;
    }
    if (!sees_any) return;
    for (size_t i = 0; i < ATTENTION_TILE_BLOCKS; i++)
        tile->v[i] = tile->k[i] == NULL ? NULL : (const uint8_t *)tile->k[i] + run->areas->k_bytes;
    tile->begin = row_begin;
    tile->end = row_end;
    attend_tile(w->plan->kernels, run->areas->codecs.k, run->areas->codecs.v, part, tile);
}

/* The tile at `key` of a group that converts: blocks as they are stored, the first alone as it may be of
 * another form; then the blocks of the rows' own tokens. */
static void attend_converted(const struct worker *w, struct attention_rows *part, struct attention_tile *tile,
                             size_t key) {
    const struct attention_job *job = w->plan->job;
    const void *k[ATTENTION_TILE_BLOCKS], *next_k[ATTENTION_TILE_BLOCKS];
    size_t n_sink = key == 0 ? BLOCK_TOKENS : 0;
    memcpy(k, tile->k, sizeof k);
    memcpy(next_k, tile->next_k, sizeof next_k);
    memset(tile->next_k, 0, sizeof next_k);
    if (n_sink > 0) {
        memset(tile->k + 1, 0, sizeof k - sizeof *k);
        const struct run sink = {key, key + n_sink, areas_of(job, 0), false};
        attend_run(w, part, tile, key, &sink);
        memcpy(tile->k, k, sizeof k);
        tile->k[0] = NULL;
    }
    memcpy(tile->next_k, next_k, sizeof next_k);
    const struct run sealed = {key + n_sink, key + ATTENTION_TILE, areas_of(job, 1), false};
    attend_run(w, part, tile, key, &sealed);
    memset(tile->next_k, 0, sizeof next_k);
    size_t first = (w->row_end[0] - 1) / BLOCK_TOKENS,
           last = (w->row_end[part->n_rows - 1] - 1) / BLOCK_TOKENS;
    for (size_t i = 0; i < ATTENTION_TILE_BLOCKS; i++) {
        size_t block = key / BLOCK_TOKENS + i;
        if (block < first || block > last) continue;
        memset(tile->k, 0, sizeof k);
        tile->k[i] = own_k_area(w, block);
        const struct run own = {block * BLOCK_TOKENS, (block + 1) * BLOCK_TOKENS, &job->layer->areas[KV_OPEN],
                                true};
        attend_run(w, part, tile, key, &own);
    }
}

/* The softmax of the keys of one split, from nothing, into `part`. */
static void attend_split(struct worker *w, size_t split, struct attention_rows *part) {
    const struct attention_job *job = w->plan->job;
    const struct unit *unit = &w->unit;
    size_t end = min_size((split + 1) * ATTENTION_SPLIT, unit->end_key);
    size_t unit_end = unit->share->n_splits > 0 ? end : unit->end_key;
    struct attention_tile tile = {.softcap = job->softcap};
    clear(part);
    for (size_t key = first_tile(unit, split); key < end; key += ATTENTION_TILE) {
        find_k_areas(w, unit, key, tile.k);
        memset(tile.next_k, 0, sizeof tile.next_k);
        if (key + ATTENTION_TILE < unit_end) {
            find_k_areas(w, unit, key + ATTENTION_TILE, tile.next_k);
        } else {
            take_next(w);
            if (w->has_next) find_k_areas(w, &w->next, first_tile(&w->next, w->next.split), tile.next_k);
        }
        if (job->converts) {
            attend_converted(w, part, &tile, key);
            continue;
        }
        const struct run all = {key, key + ATTENTION_TILE, areas_of(job, 0), false};
        attend_run(w, part, &tile, key, &all);
    }
}

static size_t item_of(const struct worker *w) {
    return (size_t)w->unit.tile * w->plan->job->layer->n_kv_heads + w->unit.kv_head;
}

/* The place of one split's partial in scratch. */
static struct attention_rows partial_at(const struct worker *w, size_t split) {
    const struct share *share = w->unit.share;
    struct attention_rows rows = w->part;
    rows.max = share->partials + (item_of(w) * share->n_splits + split - share->first_split) *
                                     partial_floats(share->rows_per_tile, rows.head_dim);
    rows.sum = rows.max + share->rows_per_tile;
    rows.out = rows.sum + share->rows_per_tile;
    return rows;
}

/* Where row i of the tile begins in q or out. */
static size_t row_offset(const struct worker *w, unsigned i, size_t stride) {
    const struct share *share = w->unit.share;
    const unsigned group = w->plan->group, head_dim = w->plan->job->layer->head_dim;
    size_t row = (size_t)w->unit.tile * share->rows_per_tile + i;
    return (share->sequence->first_row + row / group) * stride +
           (w->unit.kv_head * group + row % group) * (size_t)head_dim;
}

static void gather_rows(struct worker *w) {
    const struct attention_job *job = w->plan->job;
    const struct share *share = w->unit.share;
    const unsigned group = w->plan->group, head_dim = job->layer->head_dim;
    size_t first = (size_t)w->unit.tile * share->rows_per_tile, n_rows = share->sequence->n_rows * group;
    w->total.n_rows = w->part.n_rows = (unsigned)min_size(share->rows_per_tile, n_rows - first);
    for (unsigned i = 0; i < w->total.n_rows; i++) {
        const float *from = job->q + row_offset(w, i, job->q_stride);
        for (unsigned d = 0; d < head_dim; d++) w->q[(size_t)i * head_dim + d] = from[d] * job->scale;
        size_t position = share->sequence->first_position + (first + i) / group;
        w->row_begin[i] = first_key(job, position);
        w->row_end[i] = position + 1;
    }
    if (w->uses_codes) attention_prepare(&w->total);
}

static void write_out(struct worker *w) {
    const unsigned head_dim = w->total.head_dim;
    for (unsigned i = 0; i < w->total.n_rows; i++) {
        float *to = w->plan->job->out + row_offset(w, i, w->plan->job->out_stride);
        const float *from = w->total.out + (size_t)i * head_dim;
        /* Every score -infinity: nothing to attend to. */
        float factor = w->total.sum[i] == 0 ? 0 : 1 / w->total.sum[i];
        for (unsigned d = 0; d < head_dim; d++) to[d] = from[d] * factor;
    }
}

static void run_unit(struct worker *w) {
    const struct plan *plan = w->plan;
    const struct share *share = w->unit.share;
    gather_rows(w);
    size_t first_split = w->unit.begin_key / ATTENTION_SPLIT,
           end_split = ceil_div(w->unit.end_key, ATTENTION_SPLIT);
    if (share->n_splits == 0) {
        clear(&w->total);
        for (size_t split = first_split; split < end_split; split++) {
            attend_split(w, split, &w->part);
            plan->kernels->attend_merge(&w->total, &w->part);
        }
        write_out(w);
        return;
    }
    struct attention_rows part = partial_at(w, w->unit.split);
    attend_split(w, w->unit.split, &part);
    if (atomic_fetch_sub_explicit(&share->n_left[item_of(w)], 1, memory_order_acq_rel) != 1) return;
    clear(&w->total);
    for (size_t split = first_split; split < end_split; split++) {
        part = partial_at(w, split);
        plan->kernels->attend_merge(&w->total, &part);
    }
    write_out(w);
}

static void run_worker(void *argument, unsigned rank, unsigned n_ranks) {
    (void)n_ranks;
    struct plan *plan = argument;
    const unsigned head_dim = plan->job->layer->head_dim;
    struct worker w = {.plan = plan, .next_share = plan->shares};
    w.q = (float *)(plan->threads + rank * thread_bytes(head_dim));
    float *numbers = w.q + (size_t)ATTENTION_MAX_ROWS * head_dim;
    struct attention_rows *const states[] = {&w.total, &w.part};
    for (size_t i = 0; i < 2; i++, numbers += partial_floats(ATTENTION_MAX_ROWS, head_dim))
        *states[i] = (struct attention_rows){.head_dim = head_dim,
                                             .q = w.q,
                                             .codes = &w.codes,
                                             .max = numbers,
                                             .sum = numbers + ATTENTION_MAX_ROWS,
                                             .out = numbers + 2 * ATTENTION_MAX_ROWS};
    w.uses_codes = !codec_get(plan->job->layer->areas[KV_SEALED].codecs.k)->is_float;
    w.codes.high = (int8_t *)plan->threads + (rank + 1) * thread_bytes(head_dim) - 2 * code_bytes(head_dim);
    w.codes.low = w.codes.high + code_bytes(head_dim);
    for (take_next(&w); w.has_next;) {
        w.unit = w.next;
        w.took_next = false;
        run_unit(&w);
        if (!w.took_next) take_next(&w);
    }
}

void attention(const struct kernel_set *kernels, struct team *team, const struct attention_job *job) {
    ASSERT(job->n_heads % job->layer->n_kv_heads == 0);
    struct plan plan = {.kernels = kernels, .job = job, .group = job->n_heads / job->layer->n_kv_heads};
    make_plan(&plan, team_size(team));
    team_run(team, run_worker, &plan);
}
