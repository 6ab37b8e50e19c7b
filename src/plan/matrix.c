#include "plan/matrix.h"

#include <math.h>
#include <string.h>

#include "plan/geometry.h"
#include "plan/memory.h"

static double expert_ranks(const struct plan_load *load) { return load->ep > load->tp ? load->ep : load->tp; }

double plan_expert_coverage(const struct plan_experts *experts, double tokens) {
    if (experts->n == 0) return 0;
    return 1 - pow(1 - (double)experts->n_per_token / experts->n, 1 + (fmax(tokens, 1) - 1) / 2);
}

/* Tokens whose experts one device has: those of all data-parallel ranks that share the experts with its own.
 */
static double routed_tokens(const struct plan_load *load, double tokens) {
    return tokens * fmin(load->dp, fmax(1, (double)load->ep / load->tp));
}

/* Blocks with one scale take fewer operations a weight than K-quants, whose scales are themselves packed. */
static double unpack_flops(const struct plan_load *load, const struct plan_reach *reach) {
    const char *name = load->weights != NULL ? load->weights->name : "";
    const bool is_nested = name[0] == '\0' || strstr(name, "_k") != NULL || strstr(name, "iq") != NULL;
    return reach->unpack_flops * (is_nested ? 1 : 0.6);
}

/* A quantised weight costs a weak GPU's ALUs more than its bytes cost the memory. */
static double unpack_seconds(const struct plan_model *model, const struct plan_load *load,
                             const struct plan_reach *reach, double bf16_peak, double bytes_each) {
    if (reach->unpack_flops == 0 || bytes_each >= 1.9) return 0;
    return model->parameters_read / load->tp / load->pp * unpack_flops(load, reach) / bf16_peak;
}

struct plan_product plan_product_of(const struct plan_model *model, const struct plan_hardware *hardware,
                                    const struct plan_load *load, const struct plan_reach *reach,
                                    double tokens, bool is_decode, struct plan_assumptions *assumptions) {
    const struct plan_weights bytes = plan_weights_of(model, load);
    const struct plan_experts *experts = &model->experts;
    const double bandwidth = plan_peak_bandwidth(hardware), routed = routed_tokens(load, tokens);
    const double dense = bytes.dense_read_bytes / load->tp / load->pp,
                 expert = bytes.expert_bytes * plan_expert_coverage(experts, routed) / expert_ranks(load) /
                          load->pp;
    struct plan_product product = {.weight_bytes = dense + expert};
    product.transfer_seconds = (dense + expert / reach->expert) / (reach->weight * bandwidth);
    const double read = plan_model_dense_read_parameters(model);
    if (is_decode && tokens < 8) /* above that, unpacked once for several rows */
        product.transfer_seconds =
            fmax(product.transfer_seconds,
                 unpack_seconds(model, load, reach, plan_bf16_peak(hardware, assumptions),
                                bytes.dense_read_bytes / read));
    const double head = is_decode ? 0 : model->parameters_embedding;
    double per_expert = experts->n > 0 ? routed * experts->n_per_token / experts->n : 1;
    const double padding = is_decode ? 1 : 1 + reach->tile_tokens / fmax(1, per_expert);
    product.flops = 2 *
                    ((read - head) * tokens / load->tp +
                     plan_model_routed_parameters(model) * routed * padding / expert_ranks(load)) /
                    load->pp;
    product.compute_seconds = product.flops / plan_gemm_rate(reach, hardware, load, assumptions);
    product.seconds = isinf(reach->overlap) ? fmax(product.transfer_seconds, product.compute_seconds)
                                            : pow(pow(product.transfer_seconds, reach->overlap) +
                                                      pow(product.compute_seconds, reach->overlap),
                                                  1 / reach->overlap);
    return product;
}
