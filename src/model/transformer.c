/* The forward pass. One layer is
 *
 *   x -> rmsnorm -> q, k, v -> (bias, head norm, RoPE) -> K and V into the cache -> attention -> output --+
 *   x <------------------------------------------------------------------------------------------ add <--+
 *   x -> rmsnorm -> gate, up -> silu(gate) * up -> down --+
 *   x <------------------------------------------ add <---+
 *
 * The description says where an architecture differs: norms after attention and FFN, windows, factors,
 * soft-caps, another activation.
 *
 * Matrix products and attention spread over the team by themselves; the element-wise parts between them are
 * done row by row, on the team when there are many rows and on the calling thread when there are few. Every
 * part works on each row alone, so a row's numbers do not depend on the batch around it. */
#include "model/transformer.h"

#include <string.h>

#include "base/err.h"
#include "kernel/attention.h"
#include "kernel/attention_peers.h"
#include "kernel/matmul.h"
#include "model/kv_write.h"

struct step {
    const struct model *model;
    const struct description *d;
    const struct kernel_set *kernels;
    const struct kv_layout *layout;
    struct kv_write write;
    struct workspace *w;
    struct team *team;
    const struct batch *batch;
    uint32_t layer_index;
    const struct layer_weights *layer;
    const uint32_t *output_rows; /* of the slice of logits under way */
};

/* ---- rows in parallel ---- */

typedef void (*row_function)(struct step *step, size_t row);

struct row_job {
    struct step *step;
    row_function function;
};

static void run_row(void *argument, unsigned rank, size_t row) {
    (void)rank;
    const struct row_job *job = argument;
    job->function(job->step, row);
}

/* Items that are rows, or a few of n_rows rows each. */
static void for_items(struct step *step, size_t n_items, size_t n_rows, row_function function) {
    enum { FEW_ROWS = 6, ROWS_PER_TURN = 4 }; /* waking the team costs about as much as a few rows */
    if (n_rows <= FEW_ROWS) {
        for (size_t item = 0; item < n_items; item++) function(step, item);
        return;
    }
    struct row_job job = {.step = step, .function = function};
    const size_t rows_per_item = n_rows / n_items;
    team_for(step->team, n_items, rows_per_item < ROWS_PER_TURN ? ROWS_PER_TURN / rows_per_item : 1, run_row,
             &job);
}

static void for_rows(struct step *step, size_t n_rows, row_function function) {
    for_items(step, n_rows, n_rows, function);
}

/* ---- the parts of a layer, for one row ---- */

static void scale(float *x, size_t n, float factor) {
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

static void begin_row(struct step *step, size_t row) {
    const struct description *d = step->d;
    const struct gguf_tensor *embedding = step->model->weights.embedding;
    int32_t token = step->batch->tokens[row];
    ASSERT(token >= 0 && (uint32_t)token < d->n_vocab);
    size_t row_bytes = embedding->bytes / d->n_vocab;
    weight_dequantize((enum weight_type)embedding->type, embedding->data + (size_t)token * row_bytes,
                      step->w->x + row * d->n_embd, d->n_embd);
    if (d->embedding_scale != 1) scale(step->w->x + row * d->n_embd, d->n_embd, d->embedding_scale);
    for (uint32_t i = 0; i < d->n_ropes; i++)
        rope_table(&step->w->ropes[i], step->batch->positions[row],
                   step->w->rope_tables[i] + row * d->ropes[i].n_dims);
}

/* What enters a matrix: the row of x, normed unless the architecture does without (weight NULL). */
static void normalize_row(struct step *step, size_t row, const float *weight) {
    size_t n = step->d->n_embd;
    float *normed = step->w->normed + row * n;
    const float *x = step->w->x + row * n;
    if (weight != NULL)
        step->kernels->rmsnorm(normed, x, weight, n, step->d->rms_epsilon);
    else
        memcpy(normed, x, n * sizeof *x);
    activations_prepare_row(step->kernels, &step->w->of_embd, row);
}

/* Adds what half a layer computed to x; bias and post_norm may be NULL. */
static void add_projected(struct step *step, size_t row, const float *bias, const float *post_norm) {
    const struct description *d = step->d;
    const size_t n = d->n_embd;
    float *projected = step->w->projected + row * n;
    if (bias != NULL) step->kernels->add(projected, bias, n);
    if (post_norm != NULL) step->kernels->rmsnorm(projected, projected, post_norm, n, d->rms_epsilon);
    if (d->residual_scale != 1) scale(projected, n, d->residual_scale);
    step->kernels->add(step->w->x + row * n, projected, n);
}

static void attention_input_row(struct step *step, size_t row) {
    if (step->layer_index > 0) add_projected(step, row, NULL, step->layer[-1].ffn_post_norm);
    normalize_row(step, row, step->layer->attn_norm);
}

/* The norm of a row's queries or keys, `n_heads` of them. */
static void norm_heads(struct step *step, float *heads, unsigned n_heads, const float *weight) {
    const struct description *d = step->d;
    const bool is_rows = d->qk_norm == QK_NORM_ROWS;
    const unsigned n = is_rows ? n_heads * d->head_dim : d->head_dim, n_norms = is_rows ? 1 : n_heads;
    for (unsigned i = 0; i < n_norms; i++)
        step->kernels->rmsnorm(heads + i * n, heads + i * n, weight, n, d->rms_epsilon);
}

static void rotate_heads(struct step *step, float *heads, unsigned n_heads) {
    const size_t n = step->d->head_dim;
    for (unsigned i = 0; i < n_heads; i++) step->kernels->rotate(heads + i * n, step->d->head_dim);
}

static void position_row(struct step *step, size_t row) {
    const struct description *d = step->d;
    const struct layer_weights *layer = step->layer;
    size_t q_width = (size_t)d->n_heads * d->head_dim, kv_width = (size_t)d->n_kv_heads * d->head_dim;
    float *q = step->w->q + row * q_width, *k = step->w->k + row * kv_width, *v = step->w->v + row * kv_width;
    if (layer->q_bias != NULL) step->kernels->add(q, layer->q_bias, q_width);
    if (layer->k_bias != NULL) step->kernels->add(k, layer->k_bias, kv_width);
    if (layer->v_bias != NULL) step->kernels->add(v, layer->v_bias, kv_width);
    if (d->qk_norm != QK_NORM_NONE) {
        norm_heads(step, q, d->n_heads, layer->q_norm);
        norm_heads(step, k, d->n_kv_heads, layer->k_norm);
    }
    const int rope = d->layers[step->layer_index].rope;
    if (rope != ROPE_ABSENT) {
        const float *table = step->w->rope_tables[rope] + row * d->ropes[rope].n_dims;
        rope_apply(&step->w->ropes[rope], step->kernels, table, q, d->n_heads, d->head_dim);
        rope_apply(&step->w->ropes[rope], step->kernels, table, k, d->n_kv_heads, d->head_dim);
    }
    const struct kv_layer *stored = step->write.layer;
    if (stored->rotates_k) {
        rotate_heads(step, q, d->n_heads);
        rotate_heads(step, k, d->n_kv_heads);
    }
    if (stored->rotates_v) rotate_heads(step, v, d->n_kv_heads);
}

static void position_and_store_run(struct step *step, size_t index) {
    const struct kv_run *run = &step->w->runs[index];
    const size_t kv_width = (size_t)step->d->n_kv_heads * step->d->head_dim;
    kv_write_expect(&step->write, run);
    for (size_t row = run->first_row; row < run->first_row + run->n_rows; row++) position_row(step, row);
    kv_write_run(&step->write, run, step->w->k + run->first_row * kv_width,
                 step->w->v + run->first_row * kv_width);
}

static void encode_item(struct step *step, size_t item) { kv_write_encode(&step->write, item); }

static void prepare_attended_row(struct step *step, size_t row) {
    const struct description *d = step->d;
    if (step->write.layer
            ->rotates_v) /* what was weighed were rotated rows; the rotation is its own inverse */
        rotate_heads(step, step->w->attended + row * d->n_heads * d->head_dim, d->n_heads);
    activations_prepare_row(step->kernels, &step->w->of_heads, row);
}

static void ffn_input_row(struct step *step, size_t row) {
    add_projected(step, row, step->layer->attn_output_bias, step->layer->attn_post_norm);
    normalize_row(step, row, step->layer->ffn_norm);
}

static void activate_row(struct step *step, size_t row) {
    size_t n = step->d->n_ff;
    float *gate = step->w->gate + row * n;
    if (step->d->activation == ACTIVATION_GELU)
        step->kernels->gelu_mul(gate, gate, step->w->up + row * n, n);
    else
        step->kernels->silu_mul(gate, gate, step->w->up + row * n, n);
    activations_prepare_row(step->kernels, &step->w->of_ff, row);
}

/* A slice's rows are gathered to the front of `normed`; row counts within the slice here. */
static void output_input_row(struct step *step, size_t row) {
    size_t n = step->d->n_embd, source = step->output_rows[row];
    add_projected(step, source, NULL, step->layer->ffn_post_norm);
    step->kernels->rmsnorm(step->w->normed + row * n, step->w->x + source * n,
                           step->model->weights.output_norm, n, step->d->rms_epsilon);
    activations_prepare_row(step->kernels, &step->w->of_embd, row);
}

static void finish_logits_row(struct step *step, size_t row) {
    const struct description *d = step->d;
    float *logits = step->w->logits + row * d->n_vocab;
    if (d->logit_scale != 1) scale(logits, d->n_vocab, d->logit_scale);
    if (d->logit_softcap > 0) step->kernels->softcap(logits, d->n_vocab, d->logit_softcap);
}

/* ---- the layer ---- */

/* The step's sequences with their payloads of a group, for attention. */
static void list_sequences(struct step *step, uint32_t group) {
    for (uint32_t i = 0; i < step->batch->n_sequences; i++) {
        const struct batch_sequence *sequence = &step->batch->sequences[i];
        step->w->sequences[i] = (struct attention_sequence){
            .first_row = sequence->first_row,
            .n_rows = sequence->n_rows,
            .first_position = sequence->first_position,
            .payloads = sequence->payloads[group],
        };
    }
}

/* Finds out, for every group, which sequences see the same keys, and counts what all layers will read. */
static void find_peers(struct step *step) {
    const struct kv_layout *layout = step->layout;
    const uint32_t n_sequences = step->batch->n_sequences;
    struct workspace *w = step->w;
    struct attention_keys keys[KV_MAX_GROUPS];
    for (uint32_t group = 0; group < layout->n_groups; group++) {
        list_sequences(step, group);
        attention_find_peers(w->peers[group], w->sequences, n_sequences, layout->groups[group].window);
        keys[group] =
            attention_count_keys(w->peers[group], w->sequences, n_sequences, &layout->groups[group]);
    }
    w->reads = (struct kv_reads){0};
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        const struct kv_layer *layer = &layout->layers[i];
        w->reads.alone_bytes += kv_seen_bytes(layer, &keys[layer->group].alone);
        w->reads.bytes += kv_seen_bytes(layer, &keys[layer->group].together);
    }
}

static void attend(struct step *step) {
    const struct description *d = step->d;
    struct workspace *w = step->w;
    const struct kv_layer *layer = &step->layout->layers[step->layer_index];
    list_sequences(step, layer->group);
    for (uint32_t i = 0; i < step->batch->n_sequences && step->write.converts; i++)
        w->sequences[i].filled = kv_write_filled(&step->write, i);
    size_t q_width = (size_t)d->n_heads * d->head_dim;
    struct attention_job job = {
        .layer = layer,
        .converts = step->write.converts,
        .demotes = step->layout->groups[layer->group].demotes,
        .arena = step->write.arena,
        .n_heads = d->n_heads,
        .scale = d->attention_scale,
        .softcap = d->attention_softcap,
        .window = d->layers[step->layer_index].window,
        .q = w->q,
        .q_stride = q_width,
        .out = w->attended,
        .out_stride = q_width,
        .sequences = w->sequences,
        .peers = w->peers[layer->group],
        .n_sequences = step->batch->n_sequences,
        .scratch = w->attention_scratch,
    };
    attention(step->kernels, step->team, &job);
}

static void forward_layer(struct step *step) {
    const struct description *d = step->d;
    const struct layer_weights *layer = step->layer;
    struct workspace *w = step->w;
    size_t n_rows = step->batch->n_rows;
    size_t q_width = (size_t)d->n_heads * d->head_dim, kv_width = (size_t)d->n_kv_heads * d->head_dim;

    for_rows(step, n_rows, attention_input_row);
    step_profile_end_part(w->profile, STEP_PART_NORM);
    const struct matmul_output qkv[] = {
        {&layer->q, w->q, q_width}, {&layer->k, w->k, kv_width}, {&layer->v, w->v, kv_width}};
    matmul(step->kernels, step->team, &w->of_embd, qkv, 3);
    step_profile_end_part(w->profile, STEP_PART_QKV);
    kv_write_layer(&step->write, step->layout, step->layer_index);
    for_items(step, step->write.n_runs, n_rows, position_and_store_run);
    for_rows(step, kv_write_n_items(&step->write), encode_item);
    step_profile_end_part(w->profile, STEP_PART_STORE);
    attend(step);
    for_rows(step, n_rows, prepare_attended_row);
    step_profile_end_part(w->profile, STEP_PART_ATTENTION);
    const struct matmul_output output = {&layer->attn_output, w->projected, d->n_embd};
    matmul(step->kernels, step->team, &w->of_heads, &output, 1);
    step_profile_end_part(w->profile, STEP_PART_OUTPUT);

    for_rows(step, n_rows, ffn_input_row);
    step_profile_end_part(w->profile, STEP_PART_NORM);
    const struct matmul_output gate_up[] = {{&layer->gate, w->gate, d->n_ff}, {&layer->up, w->up, d->n_ff}};
    matmul(step->kernels, step->team, &w->of_embd, gate_up, 2);
    for_rows(step, n_rows, activate_row);
    const struct matmul_output down = {&layer->down, w->projected, d->n_embd};
    matmul(step->kernels, step->team, &w->of_ff, &down, 1);
    step_profile_end_part(w->profile, STEP_PART_FFN);
}

/* The logits of these rows, to workspace->logits. Each row may come once in a step: it is changed. */
static void forward_logits(struct step *step, const uint32_t *rows, uint32_t n_rows) {
    if (n_rows == 0) return;
    step->output_rows = rows;
    for_rows(step, n_rows, output_input_row);
    step->w->of_embd.n_rows = n_rows;
    const struct matmul_output logits = {&step->model->weights.output, step->w->logits, step->d->n_vocab};
    matmul(step->kernels, step->team, &step->w->of_embd, &logits, 1);
    const struct description *d = step->d;
    if (d->logit_scale != 1 || d->logit_softcap > 0) for_rows(step, n_rows, finish_logits_row);
    step_profile_end_part(step->w->profile, STEP_PART_LOGITS);
}

void transformer_forward(const struct model *model, const struct kv_layout *layout, uint8_t *arena,
                         struct workspace *w, struct team *team, const struct batch *batch) {
    const struct description *d = &model->description;
    ASSERT(batch->n_rows <= w->max_rows && batch->n_wanted <= w->max_wanted);
    struct step step = {.model = model,
                        .d = d,
                        .kernels = model->kernels,
                        .layout = layout,
                        .write = {.kernels = model->kernels, .batch = batch, .w = w, .arena = arena},
                        .w = w,
                        .team = team,
                        .batch = batch};
    kv_write_begin(&step.write, layout);
    w->of_embd.f32 = w->normed;
    w->of_heads.f32 = w->attended;
    w->of_ff.f32 = w->gate;
    w->of_embd.n_rows = w->of_heads.n_rows = w->of_ff.n_rows = batch->n_rows;

    find_peers(&step);
    for_rows(&step, batch->n_rows, begin_row);
    step_profile_end_part(w->profile, STEP_PART_EMBED);
    for (uint32_t i = 0; i < d->n_layers; i++) {
        step.layer_index = i;
        step.layer = &model->weights.layers[i];
        forward_layer(&step);
    }
    for (uint32_t first = 0; first < batch->n_streamed; first += w->max_wanted) {
        uint32_t left = batch->n_streamed - first, n_rows = left < w->max_wanted ? left : w->max_wanted;
        forward_logits(&step, batch->streamed + first, n_rows);
        w->sink.deliver(w->sink.user, first, n_rows, w->logits);
    }
    forward_logits(&step, batch->wanted, batch->n_wanted);
}
