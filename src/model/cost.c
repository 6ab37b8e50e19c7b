#include "model/cost.h"

#include "codec/coded.h"
#include "kernel/attention_tile.h"
#include "kernel/matmul.h"

struct cost_batch cost_batch_decode(uint64_t n_sequences, uint64_t context_tokens) {
    return (struct cost_batch){
        .n_sequences = n_sequences, .n_new = 1, .first_position = context_tokens, .n_wanted = n_sequences};
}

struct cost_batch cost_batch_prefill(uint64_t n_tokens, uint64_t first_position) {
    return (struct cost_batch){
        .n_sequences = 1, .n_new = n_tokens, .first_position = first_position, .n_wanted = 1};
}

struct kv_seen cost_common_slots(const struct cost_batch *batch, const struct kv_group *group) {
    uint64_t first = kv_window_begin(group->window, (uint32_t)batch->first_position);
    uint64_t begin = (first + ATTENTION_TILE - 1) / ATTENTION_TILE * ATTENTION_TILE,
             end = batch->n_shared / ATTENTION_TILE * ATTENTION_TILE;
    return kv_seen_blocks(group, begin, begin < end ? end - begin : 0);
}

/* What rows of the batch see in a layer of a group. */
struct seen {
    struct kv_seen slots, pairs;
};

static struct seen seen_of(const struct cost_batch *batch, const struct kv_group *group) {
    struct seen seen = {kv_seen_slots(group, batch->first_position, batch->n_new),
                        kv_seen_pairs(group, batch->first_position, batch->n_new)};
    struct kv_seen common = cost_common_slots(batch, group);
    for (int class = 0; class < KV_CLASS_COUNT; class ++) {
        seen.slots.n[class] =
            batch->n_sequences * seen.slots.n[class] - (batch->n_sequences - 1) * common.n[class];
        seen.pairs.n[class] *= batch->n_sequences;
    }
    return seen;
}

/* q * k, and p * v: a product of head_dim for each pair and query head. */
static void add_attention(struct cost *cost, const struct kv_layer *layer, uint32_t n_heads,
                          const struct kv_seen *pairs) {
    for (int class = 0; class < KV_CLASS_COUNT; class ++) {
        const uint64_t ops = 2 * (uint64_t)n_heads * layer->head_dim * pairs->n[class];
        const struct kv_codecs codecs = layer->areas[class].codecs;
        *(codec_is_coded((enum codec_id)codecs.k) ? &cost->coded_ops : &cost->f32_ops) += ops;
        *(codec_is_coded((enum codec_id)codecs.v) ? &cost->coded_ops : &cost->f32_ops) += ops;
    }
}

/* Matrices that meet the same rows in one call. */
static void add_matrices(struct cost *cost, const struct panel_matrix *const *matrices, size_t n,
                         uint64_t n_rows) {
    const uint64_t n_passes = matmul_n_passes(matrices, n, n_rows);
    for (size_t i = 0; i < n; i++) {
        const struct panel_matrix *matrix = matrices[i];
        const uint64_t ops = 2 * (uint64_t)matrix->n_rows * matrix->n_cols * n_rows;
        cost->weight_bytes += n_passes * matrix->n_panels * matrix->panel_bytes;
        if (weight_is_quantised(matrix->type))
            cost->quantised_ops += ops;
        else if (matrix->type == WEIGHT_BF16)
            cost->bf16_ops += ops;
        else
            cost->f32_ops += ops;
    }
}

/* Numbers of a row that go through what is done element by element in layer i. */
static uint64_t vector_numbers(const struct model *model, const struct kv_layer *stored, uint32_t i) {
    const struct description *d = &model->description;
    const struct layer_weights *layer = &model->weights.layers[i];
    const uint64_t q = (uint64_t)d->n_heads * d->head_dim, kv = (uint64_t)d->n_kv_heads * d->head_dim;
    uint64_t n = 0;
    if (i > 0) n += d->n_embd * (1u + (layer[-1].ffn_post_norm != NULL)); /* what the layer before gave */
    n += d->n_embd * (uint64_t)(layer->attn_norm != NULL);
    n += q * (layer->q_bias != NULL) + kv * (layer->k_bias != NULL) + kv * (layer->v_bias != NULL);
    if (d->qk_norm != QK_NORM_NONE) n += q + kv;
    n += (q + kv) * stored->rotates_k + (q + kv) * stored->rotates_v; /* V, and what attention gives */
    n += d->n_embd * (1u + (layer->attn_output_bias != NULL) + (layer->attn_post_norm != NULL));
    n += d->n_embd * (uint64_t)(layer->ffn_norm != NULL);
    return n + d->n_ff;
}

static void add_output(struct cost *cost, const struct model *model, uint64_t n_wanted) {
    const struct description *d = &model->description;
    const struct panel_matrix *output = &model->weights.output;
    const struct layer_weights *last = &model->weights.layers[d->n_layers - 1];
    add_matrices(cost, &output, 1, n_wanted);
    cost->vector_numbers += n_wanted * d->n_embd * (2u + (last->ffn_post_norm != NULL));
    if (d->logit_softcap > 0) cost->vector_numbers += n_wanted * d->n_vocab;
}

struct cost model_cost(const struct model *model, const struct kv_layout *layout,
                       const struct cost_batch *batch) {
    const struct description *d = &model->description;
    const uint64_t n_rows = batch->n_sequences * batch->n_new;
    struct cost cost = {.rows = n_rows};
    struct seen seen[KV_MAX_GROUPS];
    for (uint32_t g = 0; g < layout->n_groups; g++) seen[g] = seen_of(batch, &layout->groups[g]);
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const struct layer_weights *weights = &model->weights.layers[i];
        const struct kv_layer *layer = &layout->layers[i];
        const struct panel_matrix *const of_embd[] = {&weights->q, &weights->k, &weights->v},
                                         *const of_heads = &weights->attn_output,
                                         *const gate_up[] = {&weights->gate, &weights->up},
                                         *const of_ff = &weights->down;
        add_matrices(&cost, of_embd, 3, n_rows);
        add_matrices(&cost, &of_heads, 1, n_rows);
        add_matrices(&cost, gate_up, 2, n_rows);
        add_matrices(&cost, &of_ff, 1, n_rows);
        add_attention(&cost, layer, d->n_heads, &seen[layer->group].pairs);
        cost.vector_numbers += n_rows * vector_numbers(model, layer, i);
        cost.kv_read_bytes += kv_seen_bytes(layer, &seen[layer->group].slots);
        cost.kv_write_bytes +=
            batch->n_sequences * kv_written_bytes(layout, layer, batch->first_position, batch->n_new);
    }
    if (batch->n_wanted > 0) add_output(&cost, model, batch->n_wanted);
    return cost;
}
