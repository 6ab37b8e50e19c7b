#include "kernel/attention.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/coded.h"
#include "kernel/attend_control.h"
#include "kernel/attention_plan.h"

/* A thread: the unit that it works on, the one after it, and the unit's rows. */
struct worker {
    struct attention_plan *plan;
    struct attention_unit units[2], *unit, *next;
    bool has_next, took_next;
    const struct attention_share *search; /* where the search for the next unit goes on */
    struct attention_rows total, part;
    bool uses_codes;
    struct attention_codes codes;
    float *q;
    size_t row_begin[ATTENTION_MAX_ROWS], row_end[ATTENTION_MAX_ROWS]; /* keys that each row sees */
};

/* Some of a unit's rows: those of the strands that see a tile together. */
struct strip {
    const struct attention_sequence *sequence; /* of the first strand */
    struct attention_rows rows;
    struct attention_codes codes; /* of the rows, if codes are used */
    const size_t *row_begin, *row_end;
};

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

static size_t align_line(size_t bytes) { return ceil_div(bytes, MEM_CACHE_LINE) * MEM_CACHE_LINE; }

/* A thread's gathered q, its total and its part, and q's codes. */

static size_t thread_bytes(unsigned head_dim) {
    size_t floats =
        (size_t)ATTENTION_MAX_ROWS * head_dim + 2 * attention_partial_floats(ATTENTION_MAX_ROWS, head_dim);
    return align_line(floats * sizeof(float)) + attention_codes_bytes(head_dim);
}

size_t attention_scratch_bytes(unsigned n_threads, size_t max_rows, size_t max_tokens, unsigned n_heads,
                               unsigned head_dim) {
    return n_threads * thread_bytes(head_dim) +
           attention_plan_bytes(n_threads, max_rows, max_tokens, n_heads, head_dim);
}

static void take_next(struct worker *w) {
    w->took_next = true;
    w->has_next = attention_plan_take(w->plan, w->next, &w->search);
}

/* How a sequence's block is stored for good, in a group that does not demote. */
static const struct kv_areas *areas_of(const struct attention_job *job, size_t block) {
    if (!job->converts) return &job->layer->areas[KV_OPEN];
    return &job->layer->areas[block == 0 ? KV_SINK : KV_SEALED];
}

/* In a group that demotes: how a block is stored now. */
static const struct kv_areas *areas_now(const struct attention_job *job, const struct attention_sequence *s,
                                        size_t block) {
    return &job->layer->areas[kv_payload_is_demoted(s->payloads[block]) ? KV_DEMOTED : KV_OPEN];
}

static const uint8_t *k_area(const struct attention_job *job, const struct attention_sequence *s,
                             size_t block, unsigned head) {
    const struct kv_areas *areas = job->demotes ? areas_now(job, s, block) : areas_of(job, block);
    return job->arena + kv_payload_offset(s->payloads[block]) + kv_k_offset(areas, head);
}

/* K areas, as they are stored for good, of the blocks at a place that some row sees there. Of a tile that
 * several strands see together they see every block. */
static void find_k_areas(const struct worker *w, const struct attention_unit *unit,
                         const struct attention_place *place, const void *k[ATTENTION_TILE_BLOCKS]) {
    const struct attention_job *job = w->plan->job;
    const struct attention_strand *strand = &unit->strands[place->first_strand];
    const bool sees_all = place->end_strand > place->first_strand + 1;
    for (size_t i = 0; i < ATTENTION_TILE_BLOCKS; i++) {
        size_t begin = place->key + i * BLOCK_TOKENS, block = begin / BLOCK_TOKENS;
        bool is_seen = sees_all || (begin < strand->end_key && begin + BLOCK_TOKENS > strand->begin_key);
        k[i] = is_seen ? k_area(job, strand->sequence, block, unit->kv_head) : NULL;
    }
}

/* K area of a block that some row's token lies in, in its OPEN form. */
static const uint8_t *own_k_area(const struct worker *w, const struct attention_sequence *s, size_t block) {
    const struct attention_job *job = w->plan->job;
    const struct kv_areas *areas = &job->layer->areas[KV_OPEN];
    if (block >= (s->first_position + s->n_rows) / BLOCK_TOKENS)
        return job->arena + s->payloads[block] + kv_k_offset(areas, w->unit->kv_head);
    return s->filled + (block - s->first_position / BLOCK_TOKENS) * kv_form_bytes(job->layer, KV_OPEN) +
           kv_k_offset(areas, w->unit->kv_head) - areas->offset;
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

/* Adds to the strip's rows what they see of a run. tile->k has the areas of the run's blocks. */
static void attend_run(const struct worker *w, struct strip *strip, struct attention_tile *tile, size_t key,
                       const struct run *run) {
    uint32_t row_begin[ATTENTION_MAX_ROWS], row_end[ATTENTION_MAX_ROWS];
    bool sees_any = false;
    for (unsigned r = 0; r < strip->rows.n_rows; r++) {
        size_t first = strip->row_begin[r] > run->begin ? strip->row_begin[r] : run->begin;
        size_t last = min_size(strip->row_end[r], run->end);
        if (w->plan->job->converts) {
            size_t own = (strip->row_end[r] - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
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
    tile->k_codec = run->areas->codecs.k;
    tile->v_codec = run->areas->codecs.v;
    if (tile->k_codec < CODEC_COUNT && tile->v_codec < CODEC_COUNT)
        w->plan->kernels->attend_tile(&strip->rows, tile);
    else
        attend_control(w->plan->kernels, &strip->rows, tile);
}

/* The tile at `key` of a group that converts: blocks as they are stored, the first alone as it may be of
 * another form; then the blocks of the rows' own tokens, which no other sequence sees. */
static void attend_converted(const struct worker *w, struct strip *strip, struct attention_tile *tile,
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
        attend_run(w, strip, tile, key, &sink);
        memcpy(tile->k, k, sizeof k);
        tile->k[0] = NULL;
    }
    memcpy(tile->next_k, next_k, sizeof next_k);
    const struct run sealed = {key + n_sink, key + ATTENTION_TILE, areas_of(job, 1), false};
    attend_run(w, strip, tile, key, &sealed);
    memset(tile->next_k, 0, sizeof next_k);
    size_t first = (strip->row_end[0] - 1) / BLOCK_TOKENS,
           last = (strip->row_end[strip->rows.n_rows - 1] - 1) / BLOCK_TOKENS;
    for (size_t i = 0; i < ATTENTION_TILE_BLOCKS; i++) {
        size_t block = key / BLOCK_TOKENS + i;
        if (block < first || block > last) continue;
        memset(tile->k, 0, sizeof k);
        tile->k[i] = own_k_area(w, strip->sequence, block);
        const struct run own = {block * BLOCK_TOKENS, (block + 1) * BLOCK_TOKENS, &job->layer->areas[KV_OPEN],
                                true};
        attend_run(w, strip, tile, key, &own);
    }
}

/* The tile at `key` of a group that demotes: a run for each stretch of blocks of one class. */
static void attend_demoted(const struct worker *w, struct strip *strip, struct attention_tile *tile,
                           size_t key) {
    const struct attention_job *job = w->plan->job;
    const void *k[ATTENTION_TILE_BLOCKS], *next_k[ATTENTION_TILE_BLOCKS];
    memcpy(k, tile->k, sizeof k);
    memcpy(next_k, tile->next_k, sizeof next_k);
    for (size_t begin = 0, end; begin < ATTENTION_TILE_BLOCKS; begin = end) {
        const struct kv_areas *areas = NULL;
        memset(tile->k, 0, sizeof k);
        for (end = begin; end < ATTENTION_TILE_BLOCKS; end++) {
            if (k[end] == NULL) continue; /* nobody sees it, so it does not end the run */
            const struct kv_areas *here = areas_now(job, strip->sequence, key / BLOCK_TOKENS + end);
            if (areas != NULL && here != areas) break;
            areas = here;
            tile->k[end] = k[end];
        }
        if (areas == NULL) break;
        /* What is read next is fetched by the last run. */
        memset(tile->next_k, 0, sizeof next_k);
        if (end == ATTENTION_TILE_BLOCKS) memcpy(tile->next_k, next_k, sizeof next_k);
        const struct run run = {key + begin * BLOCK_TOKENS, key + end * BLOCK_TOKENS, areas, false};
        attend_run(w, strip, tile, key, &run);
    }
}

/* Adds the tile at a place to the rows that see it, in `part`. */
static void attend_place(struct worker *w, const struct attention_place *place, struct attention_tile *tile,
                         const struct attention_rows *part) {
    const struct attention_job *job = w->plan->job;
    const struct attention_strand *first = &w->unit->strands[place->first_strand],
                                  *last = &w->unit->strands[place->end_strand - 1];
    const unsigned row = first->first_row;
    const size_t at = (size_t)row * part->head_dim;
    struct strip strip = {.sequence = first->sequence,
                          .rows = {.n_rows = last->first_row + last->n_rows - row,
                                   .head_dim = part->head_dim,
                                   .q = part->q + at,
                                   .max = part->max + row,
                                   .sum = part->sum + row,
                                   .out = part->out + at},
                          .row_begin = w->row_begin + row,
                          .row_end = w->row_end + row};
    if (w->uses_codes) {
        strip.codes = attention_codes_from(&w->codes, row, part->head_dim);
        strip.rows.codes = &strip.codes;
    }
    if (job->converts) {
        attend_converted(w, &strip, tile, place->key);
        return;
    }
    if (job->demotes) {
        attend_demoted(w, &strip, tile, place->key);
        return;
    }
    const struct run all = {place->key, place->key + ATTENTION_TILE, areas_of(job, 0), false};
    attend_run(w, &strip, tile, place->key, &all);
}

/* The softmax of the keys of one split, from nothing, into `part`. */
static void attend_split(struct worker *w, size_t split, struct attention_rows *part) {
    const struct attention_unit *unit = w->unit;
    size_t end = min_size((split + 1) * ATTENTION_SPLIT, unit->end_key);
    size_t unit_end = unit->share->n_splits > 0 ? end : unit->end_key;
    struct attention_tile tile = {.softcap = w->plan->job->softcap};
    struct attention_place place = attention_unit_begin(unit, split), next;
    clear(part);
    for (bool has = attention_unit_next(unit, end, &place); has && place.key < end; place = next) {
        find_k_areas(w, unit, &place, tile.k);
        memset(tile.next_k, 0, sizeof tile.next_k);
        next = place;
        has = attention_unit_next(unit, unit_end, &next);
        if (has) {
            find_k_areas(w, unit, &next, tile.next_k);
        } else {
            take_next(w);
            struct attention_place first;
            if (w->has_next) {
                first = attention_unit_begin(w->next, w->next->split);
                if (attention_unit_next(w->next, w->next->end_key, &first))
                    find_k_areas(w, w->next, &first, tile.next_k);
            }
        }
        attend_place(w, &place, &tile, part);
    }
}

static size_t item_of(const struct worker *w) {
    return (size_t)w->unit->tile * w->plan->job->layer->n_kv_heads + w->unit->kv_head;
}

/* The place of one split's partial in scratch. */
static struct attention_rows partial_at(const struct worker *w, size_t split) {
    const struct attention_share *share = w->unit->share;
    struct attention_rows rows = w->part;
    rows.max = share->partials + (item_of(w) * share->n_splits + split - share->first_split) *
                                     attention_partial_floats(share->rows_per_tile, rows.head_dim);
    rows.sum = rows.max + share->rows_per_tile;
    rows.out = rows.sum + share->rows_per_tile;
    return rows;
}

/* Where row i of a strand begins in q or out. */
static size_t row_offset(const struct worker *w, const struct attention_strand *strand, unsigned i,
                         size_t stride) {
    const unsigned group = w->plan->group;
    size_t row = strand->first + i;
    return (strand->sequence->first_row + row / group) * stride +
           (w->unit->kv_head * group + row % group) * (size_t)w->part.head_dim;
}

/* Some blocks keep K as codes. */
static bool has_coded_k(const struct attention_job *job) {
    return codec_is_coded(job->layer->areas[KV_OPEN].codecs.k) ||
           (job->demotes && codec_is_coded(job->layer->areas[KV_DEMOTED].codecs.k)) ||
           (job->converts && (codec_is_coded(job->layer->areas[KV_SINK].codecs.k) ||
                              codec_is_coded(job->layer->areas[KV_SEALED].codecs.k)));
}

static void gather_rows(struct worker *w) {
    const struct attention_job *job = w->plan->job;
    const unsigned head_dim = w->part.head_dim;
    w->total.n_rows = w->part.n_rows = w->unit->n_rows;
    for (unsigned s = 0; s < w->unit->n_strands; s++) {
        const struct attention_strand *strand = &w->unit->strands[s];
        for (unsigned i = 0; i < strand->n_rows; i++) {
            const float *from = job->q + row_offset(w, strand, i, job->q_stride);
            float *to = w->q + (size_t)(strand->first_row + i) * head_dim;
            for (unsigned d = 0; d < head_dim; d++) to[d] = from[d] * job->scale;
            size_t position = strand->sequence->first_position + (strand->first + i) / w->plan->group;
            w->row_begin[strand->first_row + i] = kv_window_begin(job->window, (uint32_t)position);
            w->row_end[strand->first_row + i] = position + 1;
        }
    }
    if (w->uses_codes) w->plan->kernels->attend_prepare(&w->part);
}

static void write_out(struct worker *w) {
    const struct attention_job *job = w->plan->job;
    const unsigned head_dim = w->total.head_dim;
    for (unsigned s = 0; s < w->unit->n_strands; s++) {
        const struct attention_strand *strand = &w->unit->strands[s];
        for (unsigned i = 0; i < strand->n_rows; i++) {
            float *to = job->out + row_offset(w, strand, i, job->out_stride);
            const unsigned row = strand->first_row + i;
            const float *from = w->total.out + (size_t)row * head_dim;
            /* Every score -infinity: nothing to attend to. */
            float factor = w->total.sum[row] == 0 ? 0 : 1 / w->total.sum[row];
            for (unsigned d = 0; d < head_dim; d++) to[d] = from[d] * factor;
        }
    }
}

static void run_unit(struct worker *w) {
    const struct kernel_set *kernels = w->plan->kernels;
    const struct attention_share *share = w->unit->share;
    gather_rows(w);
    size_t first_split = w->unit->begin_key / ATTENTION_SPLIT,
           end_split = ceil_div(w->unit->end_key, ATTENTION_SPLIT);
    if (share->n_splits == 0) {
        clear(&w->total);
        for (size_t split = first_split; split < end_split; split++) {
            attend_split(w, split, &w->part);
            kernels->attend_merge(&w->total, &w->part);
        }
        write_out(w);
        return;
    }
    struct attention_rows part = partial_at(w, w->unit->split);
    attend_split(w, w->unit->split, &part);
    if (atomic_fetch_sub_explicit(&share->n_left[item_of(w)], 1, memory_order_acq_rel) != 1) return;
    clear(&w->total);
    for (size_t split = first_split; split < end_split; split++) {
        part = partial_at(w, split);
        kernels->attend_merge(&w->total, &part);
    }
    write_out(w);
}

struct run_job {
    struct attention_plan plan;
    uint8_t *threads; /* (n_ranks, thread_bytes) */
};

static void run_worker(void *argument, unsigned rank, unsigned n_ranks) {
    (void)n_ranks;
    struct run_job *run = argument;
    const unsigned head_dim = run->plan.job->layer->head_dim;
    struct worker w = {.plan = &run->plan, .search = run->plan.shares};
    w.unit = &w.units[0];
    w.next = &w.units[1];
    w.q = (float *)(run->threads + rank * thread_bytes(head_dim));
    float *numbers = w.q + (size_t)ATTENTION_MAX_ROWS * head_dim;
    struct attention_rows *const states[] = {&w.total, &w.part};
    for (size_t i = 0; i < 2; i++, numbers += attention_partial_floats(ATTENTION_MAX_ROWS, head_dim))
        *states[i] = (struct attention_rows){.head_dim = head_dim,
                                             .q = w.q,
                                             .codes = &w.codes,
                                             .max = numbers,
                                             .sum = numbers + ATTENTION_MAX_ROWS,
                                             .out = numbers + 2 * ATTENTION_MAX_ROWS};
    w.uses_codes = has_coded_k(run->plan.job);
    w.codes = attention_codes_in(run->threads + (rank + 1) * thread_bytes(head_dim) -
                                 attention_codes_bytes(head_dim));
    const struct kernel_set *kernels = run->plan.kernels;
    if (kernels->attend_begin != NULL) kernels->attend_begin(head_dim);
    for (take_next(&w); w.has_next;) {
        struct attention_unit *done = w.unit;
        w.unit = w.next;
        w.next = done;
        w.took_next = false;
        run_unit(&w);
        if (!w.took_next) take_next(&w);
    }
    if (kernels->attend_end != NULL) kernels->attend_end();
}

void attention(const struct kernel_set *kernels, struct team *team, const struct attention_job *job) {
    ASSERT(job->n_heads % job->layer->n_kv_heads == 0);
    struct run_job run = {.threads = job->scratch};
    uint8_t *scratch = run.threads + team_size(team) * thread_bytes(job->layer->head_dim);
    attention_plan_make(&run.plan, kernels, job, team_size(team), scratch);
    team_run(team, run_worker, &run);
}
