#include "plan/prefill.h"

#include <math.h>

#include "plan/collective.h"
#include "plan/geometry.h"
#include "plan/matrix.h"

enum { BF16_BYTES = 2 };

double plan_attention_rate(const struct plan_model *model, const struct plan_hardware *hardware,
                           const struct plan_reach *reach, struct plan_assumptions *assumptions) {
    const double peak = plan_bf16_peak(hardware, assumptions),
                 head = model->head_dim > 0 ? model->head_dim : 128;
    return isinf(reach->overlap) ? peak : peak * reach->attention * head / (head + 64);
}

/* Two all-reduces a layer (or a reduce-scatter and an all-gather each: the same bytes), and with experts over
 * more ranks than the tensor group two all-to-alls in place of the second. */
static double sync_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                           const struct plan_load *load, const struct plan_reach *reach, double tokens) {
    const double row = (double)model->d_model * BF16_BYTES;
    double seconds = reach->collectives * model->n_layers *
                     plan_allreduce_seconds(hardware, load->engine, load->tp, tokens * row);
    if (load->cp > 1)
        seconds += model->n_layers * plan_allreduce_seconds(hardware, load->engine, load->cp, tokens * row);
    if (load->ep > load->tp)
        seconds += 2.0 * model->experts.n_layers *
                   plan_alltoall_seconds(hardware, load->engine, load->ep,
                                         tokens * row * model->experts.n_per_token / load->tp);
    return seconds;
}

struct plan_prefill plan_prefill_of(const struct plan_model *model, const struct plan_hardware *hardware,
                                    const struct plan_load *load, double tokens, double before,
                                    double sequences, struct plan_assumptions *assumptions) {
    const struct plan_reach reach = plan_reach_of(load->engine, hardware);
    const double all = tokens * sequences / load->cp, chunks = fmax(1, all / reach.chunk_tokens),
                 chunk = all / chunks;
    const struct plan_product product =
        plan_product_of(model, hardware, load, &reach, chunk, false, assumptions);
    struct plan_prefill prefill = {.product_seconds = chunks * product.seconds * load->pp};
    const double attention =
        sequences * plan_model_prefill_attention_flops(model, tokens, before) / ((double)load->tp * load->cp);
    prefill.attention_seconds = attention / plan_attention_rate(model, hardware, &reach, assumptions);
    prefill.flops = chunks * product.flops * load->pp + attention;
    prefill.sync_seconds = chunks * (sync_seconds(model, hardware, load, &reach, chunk) +
                                     (load->pp - 1) * plan_send_seconds(hardware, load->engine,
                                                                        chunk * model->d_model * BF16_BYTES));
    const double layer_us = reach.prefill_layer_us > 0 ? reach.prefill_layer_us : reach.layer_us;
    prefill.overhead_seconds = ceil(chunks - 1e-9) * plan_model_whole_layers(model) * layer_us * 1e-6;
    prefill.seconds =
        prefill.product_seconds + prefill.attention_seconds + prefill.sync_seconds + prefill.overhead_seconds;
    /* Chunks follow each other through the stages: chunks + stages - 1 turns of one stage's time. */
    prefill.seconds *= chunks > 1 ? (chunks + load->pp - 1) / (chunks * load->pp) : 1;
    prefill.limit = product.compute_seconds * chunks * load->pp + prefill.attention_seconds >
                            product.transfer_seconds * chunks * load->pp
                        ? PLAN_LIMIT_compute
                        : PLAN_LIMIT_weight_bandwidth;
    if (prefill.overhead_seconds > prefill.seconds / 2) prefill.limit = PLAN_LIMIT_overhead;
    if (prefill.sync_seconds > prefill.seconds / 2) prefill.limit = PLAN_LIMIT_interconnect;
    return prefill;
}
