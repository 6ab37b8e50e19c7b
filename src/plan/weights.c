/* Weights in bytes: what a format, a file or an engine makes of a model's parameters. */
#include <string.h>

#include "plan/geometry.h"
#include "plan/memory.h"

static bool is_server(enum plan_engine engine) {
    return engine != PLAN_ENGINE_cabinet && engine != PLAN_ENGINE_llama_cpp &&
           engine != PLAN_ENGINE_llama_cpp_2024 && engine != PLAN_ENGINE_distributed &&
           engine != PLAN_ENGINE_ideal;
}

/* A GGUF file of MXFP4 keeps what is not an expert in Q8_0. */
static double mxfp4_dense_bytes(const struct plan_load *load, double dense, double experts) {
    const double q8_0 = 34.0 / 32;
    if (load->weight_bytes > experts) return (load->weight_bytes - experts) / dense;
    return is_server(load->engine) && load->weight_bytes == 0 ? 2 : q8_0;
}

static struct plan_weights file_weights(const struct plan_model *model) {
    const double routed =
        model->experts.n > 0 ? model->file_expert_bytes * model->experts.n_per_token / model->experts.n : 0;
    return (struct plan_weights){model->file_bytes, model->file_expert_bytes, model->file_read_bytes - routed,
                                 0};
}

static struct plan_weights weights_of(const struct plan_model *model, const struct plan_load *load) {
    if (load->weights == NULL && load->weight_bytes == 0) return file_weights(model);
    const double expert = plan_model_expert_parameters(model), dense = model->parameters - expert,
                 read = plan_model_dense_read_parameters(model), table = model->parameters_embedding;
    const double format = load->weights != NULL ? load->weights->bits / 8 : 2;
    if (load->weights != NULL && strcmp(load->weights->name, "mxfp4") == 0 && expert > 0) {
        const double other = mxfp4_dense_bytes(load, dense, expert * format);
        return (struct plan_weights){dense * other + expert * format, expert * format, read * other, 0};
    }
    if (load->weight_bytes > 0) {
        const double each = load->weight_bytes / model->parameters;
        return (struct plan_weights){load->weight_bytes, expert * each, read * each, 0};
    }
    const double wide =
        is_server(load->engine) && format < 2 ? table : 0; /* parameters that stay in 16 bits */
    const double tables = model->is_tied ? wide : 2 * wide;
    return (struct plan_weights){
        .bytes = (dense - tables) * format + tables * 2 + expert * format,
        .expert_bytes = expert * format,
        .dense_read_bytes = (read - wide) * format + wide * 2,
    };
}

struct plan_weights plan_weights_of(const struct plan_model *model, const struct plan_load *load) {
    struct plan_weights weights = weights_of(model, load);
    const double expert_ranks = load->ep > load->tp ? load->ep : load->tp;
    weights.device_bytes =
        ((weights.bytes - weights.expert_bytes) / load->tp + weights.expert_bytes / expert_ranks) / load->pp;
    return weights;
}
