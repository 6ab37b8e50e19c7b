#include "plan/self.h"

#include <math.h>

#include "base/err.h"
#include "codec/kv_seen.h"
#include "kernel/attention_tile.h"

/* Scheduling, committing and the greedy pick of a step, apart from reading the logits. Verification corrects
 * it. */
static const double STEP_SECONDS = 50e-6;
/* Rows from which element-wise work is spread over the team (transformer.c), and forks of a layer for it. */
enum { FEW_ROWS = 6, ROW_FORKS = 5, MATMUL_CALLS = 4 };

const char *self_part_name(enum self_part part) {
    static const char *const names[] = {
#define X(name, meaning) #name,
        SELF_PART_LIST(X)
#undef X
    };
    return names[part];
}

struct self_factors self_factors_none(void) {
    struct self_factors factors;
    for (int i = 0; i < SELF_PARTS; i++) factors.part[i] = 1;
    return factors;
}

/* A table's value at `rows`, straight in the logarithms of both; flat beyond its ends. */
static double interpolate(const double *values, const uint32_t *at, size_t n, double rows) {
    if (rows <= at[0]) return values[0];
    size_t i = 1;
    while (i + 1 < n && rows > at[i]) i++;
    if (rows >= at[i]) return values[i];
    double part = log(rows / at[i - 1]) / log((double)at[i] / at[i - 1]);
    return exp((1 - part) * log(values[i - 1]) + part * log(values[i]));
}

/* How far a step is one of many rows, 0 .. 1. */
static double share_of_many(double rows, double few, double many) {
    return fmin(1, fmax(0, log(rows / few) / log(many / few)));
}

static int check_matrix(const struct calibration *c, const struct panel_matrix *matrix) {
    if (c->matmul[matrix->type][0] > 0) return 0;
    return ERR(INVALID, "the calibration lacks weights of %s: run `cabinet calibrate` again",
               weight_format_get(matrix->type)->name);
}

static int check_codec(const struct calibration *c, unsigned codec) {
    if (codec < CODEC_COUNT && c->attention[codec][0] > 0) return 0;
    return ERR(INVALID, "the calibration lacks KV format %s: run `cabinet calibrate` again",
               codec_get((enum codec_id)codec)->name);
}

int self_check(const struct self_machine *machine) {
    const struct calibration *c = machine->calibration;
    for (uint32_t i = 0; i < machine->model->description.n_layers; i++) {
        const struct layer_weights *layer = &machine->model->weights.layers[i];
        const struct panel_matrix *const matrices[] = {
            &layer->q, &layer->k, &layer->v, &layer->attn_output, &layer->gate, &layer->up, &layer->down};
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++) TRY(check_matrix(c, matrices[m]));
        for (int class = 0; class < KV_CLASS_COUNT; class ++) {
            const struct kv_codecs codecs = machine->layout->layers[i].areas[class].codecs;
            TRY(check_codec(c, codecs.k));
            TRY(check_codec(c, codecs.v));
        }
    }
    return check_matrix(c, &machine->model->weights.output);
}

/* ---- weights ---- */

/* Beyond the most rows that were measured time grows with them. */
static double matrix_seconds(const struct calibration *c, const struct panel_matrix *matrix, double rows) {
    const double most = calibration_matmul_rows[CALIBRATION_MATMUL_ROWS - 1];
    const double rate =
        interpolate(c->matmul[matrix->type], calibration_matmul_rows, CALIBRATION_MATMUL_ROWS, rows);
    return (double)(matrix->n_panels * matrix->panel_bytes) * rate * fmax(1, rows / most);
}

static double layer_weights_seconds(const struct calibration *c, const struct layer_weights *layer,
                                    double rows) {
    const struct panel_matrix *const matrices[] = {&layer->q,    &layer->k,  &layer->v,   &layer->attn_output,
                                                   &layer->gate, &layer->up, &layer->down};
    double seconds = 0;
    for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++)
        seconds += matrix_seconds(c, matrices[m], rows);
    return seconds;
}

/* ---- attention ---- */

static double codecs_rate(const struct calibration *c, struct kv_codecs codecs, double rows) {
    double k = interpolate(c->attention[codecs.k], calibration_attention_rows, CALIBRATION_ATTENTION_ROWS,
                           rows),
           v = interpolate(c->attention[codecs.v], calibration_attention_rows, CALIBRATION_ATTENTION_ROWS,
                           rows);
    return (k + v) / 2;
}

/* Pairs by form at the rate of tiles of `rows` query rows. */
static double pairs_seconds(const struct self_machine *machine, const struct kv_layer *layer,
                            const struct kv_seen *pairs, double rows) {
    double seconds = 0;
    for (int class = 0; class < KV_CLASS_COUNT; class ++)
        seconds += (double)(pairs->n[class] * machine->model->description.n_heads * layer->head_dim) *
                   codecs_rate(machine->calibration, layer->areas[class].codecs, rows);
    return seconds;
}

static void add_pairs(struct self_seconds *sum, const struct self_machine *machine,
                      const struct kv_layer *layer, const struct kv_seen *pairs, double rows) {
    const double seconds = pairs_seconds(machine, layer, pairs, rows), many = share_of_many(rows, 4, 24);
    sum->part[SELF_attention_few] += (1 - many) * seconds;
    sum->part[SELF_attention_many] += many * seconds;
}

/* Rows of one sequence share a tile; those of all sequences do where tokens are common. */
static void add_attention(struct self_seconds *sum, const struct self_machine *machine,
                          const struct kv_layer *layer, const struct cost_batch *batch) {
    const struct kv_group *group = &machine->layout->groups[layer->group];
    const double heads = machine->model->description.n_heads / layer->n_kv_heads;
    const double most = ATTENTION_MAX_ROWS, own_rows = fmin(most, heads * (double)batch->n_new);
    struct kv_seen pairs = kv_seen_pairs(group, batch->first_position, batch->n_new);
    struct kv_seen common = {0};
    if (batch->n_sequences > 1) common = cost_common_slots(batch, group);
    for (int class = 0; class < KV_CLASS_COUNT; class ++) {
        common.n[class] *= batch->n_sequences * batch->n_new;
        pairs.n[class] = batch->n_sequences * pairs.n[class] - common.n[class];
    }
    add_pairs(sum, machine, layer, &pairs, own_rows);
    add_pairs(sum, machine, layer, &common, fmin(most, own_rows * (double)batch->n_sequences));
}

/* ---- the rest ---- */

/* Rows as they come, and full blocks in the form that they go over into. */
static double store_seconds(const struct self_machine *machine, const struct kv_layer *layer,
                            const struct cost_batch *batch) {
    const struct calibration *c = machine->calibration;
    const double row_numbers = layer->n_kv_heads * (double)layer->head_dim,
                 rows = (double)(batch->n_sequences * batch->n_new);
    const struct kv_codecs open = layer->areas[KV_OPEN].codecs;
    double threads = rows > FEW_ROWS ? c->n_threads : 1;
    double seconds = rows * row_numbers * (c->store[open.k] + c->store[open.v]) / threads;
    const uint64_t first = batch->first_position / BLOCK_TOKENS,
                   end = (batch->first_position + batch->n_new) / BLOCK_TOKENS;
    if (!machine->layout->groups[layer->group].converts || first >= end) return seconds;
    for (uint64_t block = first; block < end; block++) {
        const struct kv_codecs codecs = layer->areas[block == 0 ? KV_SINK : KV_SEALED].codecs;
        const double items = (double)(batch->n_sequences * (end - first)) * layer->n_kv_heads;
        threads = items > FEW_ROWS ? c->n_threads : 1;
        seconds += (double)batch->n_sequences * BLOCK_TOKENS * row_numbers *
                   (c->store[codecs.k] + c->store[codecs.v]) / threads;
    }
    return seconds;
}

struct self_seconds self_step(const struct self_machine *machine, const struct cost_batch *batch) {
    const struct calibration *c = machine->calibration;
    const struct description *d = &machine->model->description;
    const struct cost cost = model_cost(machine->model, machine->layout, batch);
    const double rows = (double)cost.rows, threads = rows > FEW_ROWS ? c->n_threads : 1;
    const struct panel_matrix *const output = &machine->model->weights.output;
    struct self_seconds s = {0};
    double weights = 0;
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const struct kv_layer *layer = &machine->layout->layers[i];
        weights += layer_weights_seconds(c, &machine->model->weights.layers[i], rows);
        add_attention(&s, machine, layer, batch);
        s.part[SELF_store] += store_seconds(machine, layer, batch);
    }
    const double many = share_of_many(rows, 4, 128);
    s.part[SELF_step] = STEP_SECONDS + (double)(batch->n_wanted * d->n_vocab) * c->vector_seconds;
    s.part[SELF_layers] = d->n_layers * (MATMUL_CALLS * c->matmul_call_seconds + c->attention_call_seconds +
                                         (rows > FEW_ROWS ? ROW_FORKS * c->fork_seconds : 0));
    s.part[SELF_weights_few] = (1 - many) * weights;
    s.part[SELF_weights_many] = many * weights;
    if (batch->n_wanted > 0) {
        s.part[SELF_layers] += c->matmul_call_seconds;
        s.part[SELF_weights_few] += matrix_seconds(c, output, (double)batch->n_wanted);
    }
    s.part[rows > FEW_ROWS ? SELF_vectors_many : SELF_vectors_few] =
        (double)cost.vector_numbers * c->vector_seconds / threads;
    return s;
}

struct self_seconds self_prefill(const struct self_machine *machine, uint64_t first_position,
                                 uint64_t n_tokens, uint64_t chunk_tokens) {
    struct self_seconds sum = {0};
    for (uint64_t done = 0; done < n_tokens; done += chunk_tokens) {
        const uint64_t left = n_tokens - done, n = left < chunk_tokens ? left : chunk_tokens;
        struct cost_batch batch = cost_batch_prefill(n, first_position + done);
        batch.n_wanted = done + n == n_tokens;
        const struct self_seconds step = self_step(machine, &batch);
        for (int i = 0; i < SELF_PARTS; i++) sum.part[i] += step.part[i];
    }
    return sum;
}

double self_total(const struct self_seconds *seconds, const struct self_factors *factors) {
    double total = 0;
    for (int i = 0; i < SELF_PARTS; i++) total += seconds->part[i] * factors->part[i];
    return total;
}
