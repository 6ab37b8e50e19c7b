/* Parameters from a model's shape: embeddings, mixers, feed-forward networks, norms. Biases, tiny scales and
 * what only some checkpoints have are left out: tests/unit/test_plan_model.c holds the sum to the published
 * counts. */
#include <math.h>
#include <string.h>

#include "plan/geometry.h"

/* Q, K, V and output matrices of heads with KV of their own; where the other layers are DeltaNet, a gate of
 * the output (Qwen3-Next). */
static double attention_parameters(const struct plan_model *model, char code) {
    const bool is_window = strchr("SC", code) != NULL;
    double n_kv = is_window ? model->n_kv_heads_window : model->n_kv_heads_full;
    double k_dim = is_window ? model->head_dim : model->head_dim_full;
    double v_dim = k_dim == model->head_dim ? model->v_head_dim : k_dim;
    double gate = plan_model_count(model, "D") > 0 ? model->n_heads * v_dim : 0;
    return (double)model->d_model * (model->n_heads * (k_dim + v_dim) + n_kv * (k_dim + v_dim) + gate);
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

/* arXiv 2412.06464, as Qwen3-Next has it: q, k, v and the output's gate, two numbers a head, a convolution
 * over q, k, v, out. Groups are key heads. */
static double deltanet_parameters(const struct plan_model *model) {
    const struct plan_state *s = &model->state;
    double d = model->d_model, inner = s->d_inner, keys = (double)s->n_groups * s->d_state;
    return d * (2 * keys + 2 * inner + 2.0 * s->n_heads) + (2 * keys + inner) * s->d_conv + inner * d;
}

/* arXiv 2510.26692: q, k, v with convolutions; decay of every channel and gate through a rank of a head's
 * size; one number a head; out. */
static double kda_parameters(const struct plan_model *model) {
    const struct plan_state *s = &model->state;
    double d = model->d_model, inner = s->d_inner;
    return 3 * inner * (d + s->d_conv) + 2 * s->head_dim * (d + inner) + d * s->n_heads + inner * d;
}

/* arXiv 2501.08313: q, k, v, the output's gate, out. */
static double lightning_parameters(const struct plan_model *model) {
    return 5.0 * model->d_model * model->state.d_inner;
}

/* A rank of RWKV-7: by the width, in whole 32s (RWKV-LM, RWKV-v7/train_temp/src/model.py). */
static double rwkv7_rank(double wanted) { return fmax(32, round(wanted / 32) * 32); }

/* arXiv 2503.14456: r, k, v, out; decay, learning rate, mix of values and gate through ranks; an FFN of two
 * matrices, four times as wide. */
static double rwkv7_parameters(const struct plan_model *model) {
    double d = model->d_model, decay = rwkv7_rank(1.8 * sqrt(d)), rate = decay,
           mix = rwkv7_rank(1.3 * sqrt(d)), gate = rwkv7_rank(0.6 * pow(d, 0.8));
    return 4 * d * d + 2 * d * (decay + rate + mix + gate) + 8 * d * d;
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
    case 'D': return deltanet_parameters(model);
    case 'K': return kda_parameters(model);
    case 'L': return lightning_parameters(model);
    case '7': return rwkv7_parameters(model);
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
    if (model->layer_codes[layer] == '7') return 0; /* the mixer's formula has it */
    if (has_experts(model, layer)) {
        /* Experts of a width of their own work between two matrices. */
        const double latent = experts->width != model->d_model ? 2 * d * experts->width : 0;
        return experts->n * (experts->parameters + d) + n_matrices * d * experts->n_ff_shared + latent;
    }
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
