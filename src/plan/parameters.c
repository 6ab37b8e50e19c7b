/* Parameters from a model's shape: embeddings, mixers, feed-forward networks, norms. Biases, tiny scales and
 * what only some checkpoints have are left out: tests/unit/test_plan_model.c holds the sum to the published
 * counts. */
#include <string.h>

#include "plan/geometry.h"

/* Q, K, V and output matrices of heads with KV of their own. */
static double attention_parameters(const struct plan_model *model, char code) {
    const bool is_window = strchr("SC", code) != NULL;
    double n_kv = is_window ? model->n_kv_heads_window : model->n_kv_heads_full;
    double k_dim = is_window ? model->head_dim : model->head_dim_full;
    double v_dim = k_dim == model->head_dim ? model->v_head_dim : k_dim;
    return (double)model->d_model * (model->n_heads * (k_dim + v_dim) + n_kv * (k_dim + v_dim));
}

/* DeepSeek-V2 (arXiv 2405.04434, table of appendix C): queries through a low rank where there is one. */
static double mla_parameters(const struct plan_model *model) {
    double d = model->d_model, heads = model->n_heads, rank = model->kv_lora_rank;
    double nope = model->qk_nope_head_dim, rope = model->qk_rope_head_dim;
    double q =
        model->q_lora_rank > 0 ? model->q_lora_rank * (d + heads * (nope + rope)) : d * heads * (nope + rope);
    return q + d * (rank + rope) + rank * heads * (nope + model->v_head_dim) + heads * model->v_head_dim * d;
}

/* arXiv 2312.00752: in (x and gate), convolution, x to (dt, B, C), dt, A, out. */
static double mamba1_parameters(const struct plan_model *model) {
    const struct plan_state *s = &model->state;
    double d = model->d_model, inner = s->d_inner;
    return 2 * d * inner + inner * s->d_conv + inner * (s->dt_rank + 2.0 * s->d_state) + s->dt_rank * inner +
           inner * s->d_state + inner * d;
}

/* arXiv 2405.21060: in gives gate, x, B, C and dt in one; convolution over x, B, C. */
static double mamba2_parameters(const struct plan_model *model) {
    const struct plan_state *s = &model->state;
    double d = model->d_model, inner = s->d_inner, bc = 2.0 * s->n_groups * s->d_state;
    return d * (2 * inner + bc + s->n_heads) + (inner + bc) * s->d_conv + inner * d;
}

/* Negative: a kind without a formula. */
static double mixer_parameters(const struct plan_model *model, char code) {
    switch (code) {
    case 'F':
    case 'S':
    case 'C': return attention_parameters(model, code);
    case 'H': return attention_parameters(model, code) + mamba2_parameters(model);
    case 'M': return mla_parameters(model);
    case '1': return mamba1_parameters(model);
    case '2': return mamba2_parameters(model);
    case 'E':
    case '-': return 0;
    default: return -1;
    }
}

static bool has_experts(const struct plan_model *model, uint32_t layer) {
    const struct plan_experts *experts = &model->experts;
    if (experts->n == 0) return false;
    if (plan_model_count(model, "E") > 0) return model->layer_codes[layer] == 'E';
    return layer >= experts->first_layer && (layer - experts->first_layer) % experts->layer_step == 0;
}

static double ffn_parameters(const struct plan_model *model, uint32_t layer) {
    const struct plan_experts *experts = &model->experts;
    const double n_matrices = model->is_gated ? 3 : 2, d = model->d_model;
    if (has_experts(model, layer))
        return experts->n * (experts->parameters + d) + n_matrices * d * experts->n_ff_shared;
    /* Where feed-forward networks are layers of their own, mixers have none. */
    if (plan_model_count(model, "-E") > 0 && model->layer_codes[layer] != '-') return 0;
    return n_matrices * d * model->n_ff;
}

int plan_model_count_parameters(const struct plan_model *model, double *parameters) {
    double table = (double)model->n_vocab * model->d_model, sum = table * (model->is_tied ? 1 : 2);
    for (uint32_t i = 0; i < model->n_layers; i++) {
        double mixer = mixer_parameters(model, model->layer_codes[i]);
        if (mixer < 0)
            return ERR(UNSUPPORTED, "%s: no formula for the parameters of layers of kind '%c'", model->name,
                       model->layer_codes[i]);
        sum += mixer + ffn_parameters(model, i) + 2.0 * model->d_model;
    }
    *parameters = sum + model->d_model;
    return 0;
}
