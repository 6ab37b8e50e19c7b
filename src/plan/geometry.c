#include "plan/geometry.h"

#include <math.h>
#include <string.h>

uint32_t plan_model_count(const struct plan_model *model, const char *codes) {
    uint32_t n = 0;
    for (const char *code = model->layer_codes; *code != '\0'; code++) n += strchr(codes, *code) != NULL;
    return n;
}

double plan_model_whole_layers(const struct plan_model *model) {
    return plan_model_count(model, "E-") > 0 ? model->n_layers / 2.0 : model->n_layers;
}

struct plan_elements plan_model_elements(const struct plan_model *model) {
    struct plan_elements elements = {0};
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const struct plan_kv_part *part = &model->kv_parts[i];
        double per_token =
            (double)part->n_layers * part->n_rows * (part->k_dim + part->v_dim) / part->tokens_per_entry;
        *(part->window > 0 ? &elements.windowed : &elements.growing) += per_token;
    }
    elements.state = model->state.n_layers * (model->state.elements + model->state.conv_elements);
    return elements;
}

double plan_part_held(const struct plan_kv_part *part, double context) {
    if (part->window > 0 && context > part->window) context = part->window;
    return context / part->tokens_per_entry;
}

double plan_part_read(const struct plan_kv_part *part, double context) {
    double held = plan_part_held(part, context);
    return part->selected > 0 ? fmin(held, part->selected) : held;
}

double plan_part_shared_held(const struct plan_kv_part *part, double context, double shared) {
    double passed = part->window > 0 ? fmax(0, context - part->window) : 0;
    return fmax(0, fmin(shared, context) - passed) / part->tokens_per_entry;
}

double plan_part_shared_read(const struct plan_kv_part *part, double context, double shared) {
    bool is_selected = part->selected > 0 && part->selected < plan_part_held(part, context);
    return is_selected ? 0 : plan_part_shared_held(part, context, shared);
}

double plan_model_expert_parameters(const struct plan_model *model) {
    return model->experts.parameters * model->experts.n * model->experts.n_layers;
}

double plan_model_routed_parameters(const struct plan_model *model) {
    return model->experts.parameters * model->experts.n_per_token * model->experts.n_layers;
}

double plan_model_dense_read_parameters(const struct plan_model *model) {
    return model->parameters_read - plan_model_routed_parameters(model);
}

double plan_model_matrix_flops(const struct plan_model *model) { return 2 * model->parameters_read; }

/* Multiplications of a query with one entry of a part, and of its weight with the entry's value, all heads of
 * all layers. A latent row is key and value of every head: rank + rope for scores, rank for the sum. */
static double flops_per_entry(const struct plan_model *model, const struct plan_kv_part *part) {
    double n_heads = part->is_index ? 1 : model->n_heads;
    double v_dim = part->v_dim;
    if (!part->is_split && !part->is_index) v_dim = part->k_dim - model->qk_rope_head_dim;
    return 2 * n_heads * (part->k_dim + v_dim) * part->n_layers;
}

/* A recurrence updates each element of its state (decay, outer product) and reads it: six operations. */
static double state_flops(const struct plan_model *model) {
    return 6 * model->state.elements * model->state.n_layers;
}

double plan_model_attention_flops(const struct plan_model *model, double context) {
    double flops = state_flops(model);
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const struct plan_kv_part *part = &model->kv_parts[i];
        flops += flops_per_entry(model, part) * plan_part_read(part, context);
    }
    return flops;
}

/* Sum over positions before..before+n-1 of min(position + 1, limit): entries that a row sees. */
static double pairs(double n, double before, double limit) {
    double growing = fmin(n, fmax(0, limit - before));
    return growing * before + growing * (growing + 1) / 2 + (growing < n ? (n - growing) * limit : 0);
}

double plan_model_prefill_attention_flops(const struct plan_model *model, double n, double before) {
    double flops = n * state_flops(model);
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const struct plan_kv_part *part = &model->kv_parts[i];
        double limit = part->window > 0 ? (double)part->window : (double)INFINITY,
               per_entry = flops_per_entry(model, part);
        if (part->selected > 0) limit = fmin(limit, (double)part->selected * part->tokens_per_entry);
        /* Many rows share an expanded latent: heads of their own keys and values are cheaper. */
        if (!part->is_split && !part->is_index && part->window == 0 && model->kv_lora_rank > 0)
            per_entry = 2.0 * model->n_heads * (model->head_dim + model->v_head_dim) * part->n_layers;
        flops += per_entry * pairs(n, before, limit) / part->tokens_per_entry;
    }
    return flops;
}
