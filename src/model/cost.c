#include "model/cost.h"

#include "kernel/kernel_set.h"

struct cost_batch cost_batch_decode(uint64_t n_sequences, uint64_t context_tokens) {
    return (struct cost_batch){
        .n_sequences = n_sequences, .n_new = 1, .first_position = context_tokens, .n_wanted = n_sequences};
}

struct cost_batch cost_batch_prefill(uint64_t n_tokens, uint64_t first_position) {
    return (struct cost_batch){
        .n_sequences = 1, .n_new = n_tokens, .first_position = first_position, .n_wanted = 1};
}

/* Tokens in whole tiles that all sequences' rows see in a layer of that window. */
static uint64_t common_tokens(const struct cost_batch *batch, uint64_t window) {
    uint64_t first = window > 0 && batch->first_position >= window ? batch->first_position - window + 1 : 0;
    uint64_t begin = (first + ATTENTION_TILE - 1) / ATTENTION_TILE * ATTENTION_TILE,
             end = batch->n_shared / ATTENTION_TILE * ATTENTION_TILE;
    return begin < end ? end - begin : 0;
}

/* Tokens whose K and V a step reads in a layer of that window: of each sequence those that any row sees, and
 * those that all see once. */
static uint64_t context_tokens(const struct cost_batch *batch, uint64_t window) {
    uint64_t all = batch->first_position + batch->n_new, seen = batch->n_new + window - 1;
    uint64_t of_one = window > 0 && seen < all ? seen : all;
    return batch->n_sequences * of_one - (batch->n_sequences - 1) * common_tokens(batch, window);
}

/* Sum over rows of the keys that the row sees: position + 1, but at most the window. */
static uint64_t attended_pairs(const struct cost_batch *batch, uint64_t window) {
    uint64_t first = batch->first_position, n_growing = batch->n_new;
    if (window > 0 && first + n_growing > window) n_growing = first < window ? window - first : 0;
    uint64_t growing = n_growing * first + n_growing * (n_growing + 1) / 2;
    return batch->n_sequences * (growing + (batch->n_new - n_growing) * window);
}

static void add_matrix(struct cost *cost, const struct panel_matrix *matrix, uint64_t n_rows) {
    uint64_t ops = 2 * (uint64_t)matrix->n_rows * matrix->n_cols * n_rows;
    cost->weight_bytes += (uint64_t)matrix->n_panels * matrix->panel_bytes;
    if (weight_is_quantised(matrix->type))
        cost->int8_ops += ops;
    else if (matrix->type == WEIGHT_BF16)
        cost->bf16_ops += ops;
    else
        cost->f32_ops += ops;
}

struct cost model_cost(const struct model *model, const struct kv_layout *layout,
                       const struct cost_batch *batch) {
    const struct description *d = &model->description;
    const uint64_t n_rows = batch->n_sequences * batch->n_new;
    struct cost cost = {0};
    for (uint32_t i = 0; i < d->n_layers; i++) {
        const struct layer_weights *layer = &model->weights.layers[i];
        const struct panel_matrix *const matrices[] = {
            &layer->q, &layer->k, &layer->v, &layer->attn_output, &layer->gate, &layer->up, &layer->down};
        for (size_t m = 0; m < sizeof matrices / sizeof *matrices; m++)
            add_matrix(&cost, matrices[m], n_rows);
        const uint64_t window = d->layers[i].window;
        /* q * k and p * v: two products of head_dim for each pair and query head */
        cost.f32_ops += 4 * (uint64_t)d->n_heads * d->head_dim * attended_pairs(batch, window);
        uint64_t bytes_per_token = kv_layer_bytes_per_token(&layout->layers[i]);
        cost.kv_read_bytes += bytes_per_token * context_tokens(batch, window);
        cost.kv_write_bytes += bytes_per_token * n_rows;
    }
    if (batch->n_wanted > 0) add_matrix(&cost, &model->weights.output, batch->n_wanted);
    return cost;
}
