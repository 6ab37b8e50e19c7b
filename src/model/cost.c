#include "model/cost.h"

struct cost_batch cost_batch_decode(uint64_t n_sequences, uint64_t context_tokens) {
    uint64_t seen = n_sequences * (context_tokens + 1);
    return (struct cost_batch){
        .n_rows = n_sequences, .n_wanted = n_sequences, .context_tokens = seen, .attended_pairs = seen};
}

struct cost_batch cost_batch_prefill(uint64_t n_tokens, uint64_t first_position) {
    return (struct cost_batch){
        .n_rows = n_tokens,
        .n_wanted = 1,
        .context_tokens = first_position + n_tokens,
        .attended_pairs = n_tokens * first_position + n_tokens * (n_tokens + 1) / 2,
    };
}

static void add_matrix(struct cost *cost, const struct panel_matrix *matrix, uint64_t n_rows) {
    uint64_t ops = 2 * (uint64_t)matrix->n_rows * matrix->n_cols * n_rows;
    cost->weight_bytes += (uint64_t)matrix->n_panels * matrix->panel_bytes;
    if (weight_is_quantised(matrix->type))
        cost->int8_ops += ops;
    else
        cost->f32_ops += ops;
}

struct cost model_cost(const struct model *model, const struct kv_layout *layout,
                       const struct cost_batch *batch) {
    const struct description *d = &model->description;
    struct cost cost = {0};
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const struct layer_weights *layer = &model->weights.layers[i];
        const struct panel_matrix *const matrices[] = {
            &layer->q, &layer->k, &layer->v, &layer->attn_output, &layer->gate, &layer->up, &layer->down};
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++)
            add_matrix(&cost, matrices[m], batch->n_rows);
        /* q * k and p * v: two products of head_dim for each pair and query head */
        cost.f32_ops += 4 * (uint64_t)d->n_heads * d->head_dim * batch->attended_pairs;
    }
    if (batch->n_wanted > 0) add_matrix(&cost, &model->weights.output, batch->n_wanted);
    uint64_t bytes_per_token = kv_layout_bytes_per_token(layout);
    cost.kv_read_bytes = bytes_per_token * batch->context_tokens;
    cost.kv_write_bytes = bytes_per_token * batch->n_rows;
    return cost;
}
