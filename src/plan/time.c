#include "plan/time.h"

#include <math.h>

#include "plan/collective.h"
#include "plan/geometry.h"
#include "plan/matrix.h"
#include "plan/memory.h"
#include "plan/prefill.h"
#include "plan/serving.h"

enum { BF16_BYTES = 2 };

const char *plan_limit_name(enum plan_limit limit) {
    static const char *const names[] = {
#define X(name, phrase) #name,
        PLAN_LIMIT_LIST(X)
#undef X
    };
    return names[limit];
}

const char *plan_limit_phrase(enum plan_limit limit) {
    static const char *const phrases[] = {
#define X(name, phrase) phrase,
        PLAN_LIMIT_LIST(X)
#undef X
    };
    return phrases[limit];
}

/* The part that is largest binds. */
static enum plan_limit largest_part(const struct plan_step *step) {
    const struct {
        double seconds;
        enum plan_limit limit;
    } parts[] = {
        {step->weight_seconds, PLAN_LIMIT_weight_bandwidth},
        {step->kv_read_seconds + step->kv_write_seconds, PLAN_LIMIT_kv_bandwidth},
        {step->compute_seconds, PLAN_LIMIT_compute},
        {step->sync_seconds, PLAN_LIMIT_interconnect},
        {step->overhead_seconds, PLAN_LIMIT_overhead},
    };
    size_t most = 0;
    for (size_t i = 1; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].seconds > parts[most].seconds) most = i;
    return parts[most].limit;
}

static double overhead_seconds(const struct plan_model *model, const struct plan_reach *reach, double users) {
    const double recurrent =
        plan_model_count(model, "12DKL7H") * (plan_model_whole_layers(model) / fmax(1, model->n_layers));
    double us = reach->layer_us * plan_model_whole_layers(model) +
                reach->expert_layer_us * model->experts.n_layers + reach->recurrent_layer_us * recurrent +
                reach->sequence_us * users;
    if (users > 1) us += reach->batch_expert_us * model->experts.n_layers;
    return us * 1e-6;
}

static double sync_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                           const struct plan_load *load, const struct plan_reach *reach, double users) {
    const double rows = users * model->d_model * BF16_BYTES, layers = plan_model_whole_layers(model);
    double seconds =
        reach->collectives * layers * plan_allreduce_seconds(hardware, load->engine, load->tp, rows);
    if (load->cp > 1) seconds += layers * plan_allreduce_seconds(hardware, load->engine, load->cp, rows);
    if (load->ep > load->tp)
        seconds += 2.0 * model->experts.n_layers *
                   plan_alltoall_seconds(hardware, load->engine, load->ep,
                                         rows * model->experts.n_per_token / load->tp);
    return seconds + (load->pp - 1) * plan_send_seconds(hardware, load->engine, rows);
}

/* Reads of the cache, what is shared once for all, and of recurrent state, which is written back as well. On
 * a machine without limits but its own, the cache is spread evenly whatever the heads, as LIMINAL takes it.
 */
static double kv_device_read_bytes(const struct plan_model *model, const struct plan_load *given,
                                   const struct plan_reach *reach, double users, double context) {
    struct plan_load spread = *given;
    if (isinf(reach->overlap)) spread.tp = 1, spread.cp = given->tp * given->cp;
    const struct plan_load *load = &spread;
    return users * plan_kv_device_read_bytes(model, load, context) -
           (users - 1) * plan_kv_device_shared_read_bytes(model, load, context) +
           2 * users * plan_state_device_bytes(model, given);
}

void plan_step_of(struct plan_step *step, const struct plan_model *model,
                  const struct plan_hardware *hardware, const struct plan_load *load, double users,
                  double context, struct plan_assumptions *assumptions) {
    const struct plan_reach reach = plan_reach_of(load->engine, hardware);
    const double bandwidth = plan_peak_bandwidth(hardware), stages = load->pp,
                 group = (double)load->tp * load->cp;
    /* A step passes all stages; where they work on different sequences, each has its part of the users. */
    const double rows = reach.pipelines_decode ? fmax(1, users / stages) : users;
    const struct plan_product product =
        plan_product_of(model, hardware, load, &reach, rows, true, assumptions);
    const double attention = rows * plan_model_attention_flops(model, context) / group;
    *step = (struct plan_step){
        .weight_bytes = product.weight_bytes * stages * load->tp,
        .kv_read_bytes = kv_device_read_bytes(model, load, &reach, rows, context) * stages * group,
        .kv_write_bytes = rows * plan_kv_bytes_per_token(model, load->kv),
        .flops = product.flops * stages * load->tp + attention * group,
        .weight_seconds = product.transfer_seconds * stages,
        .sync_seconds = sync_seconds(model, hardware, load, &reach, rows),
        .overhead_seconds = overhead_seconds(model, &reach, rows),
    };
    step->kv_read_seconds = step->kv_read_bytes / group / (reach.kv * bandwidth);
    step->kv_write_seconds = step->kv_write_bytes / group / (reach.kv * bandwidth);
    const double attention_seconds = attention / plan_attention_rate(model, hardware, &reach, assumptions);
    step->compute_seconds = product.compute_seconds * stages + attention_seconds;
    step->seconds = isinf(reach.overlap)
                        ? fmax(step->weight_seconds + step->kv_read_seconds + step->kv_write_seconds,
                               step->compute_seconds)
                        : product.seconds * stages +
                              fmax(step->kv_read_seconds + step->kv_write_seconds, attention_seconds);
    step->seconds += step->sync_seconds + step->overhead_seconds;
    step->limit = largest_part(step);
}

int plan_time_of(struct plan_time *time, const struct plan_model *model, const struct plan_hardware *hardware,
                 const struct plan_load *load, struct plan_assumptions *assumptions) {
    const double users = plan_load_rank_users(load);
    if (plan_peak_bandwidth(hardware) <= 0)
        return ERR(INVALID, "%s: its memory bandwidth is not known, give mem_bw_Bps in a file",
                   hardware->name);
    *time = (struct plan_time){0};
    plan_step_of(&time->step, model, hardware, load, users, load->context_tokens, assumptions);
    const double cached = load->prompt_tokens * load->hit_rate, n = load->prompt_tokens - cached;
    const struct plan_prefill prefill = plan_prefill_of(model, hardware, load, n, cached, 1, assumptions);
    time->prefill_seconds = prefill.seconds;
    time->prefill_limit = prefill.limit;
    time->prefill_tokens_per_second = n > 0 ? n / prefill.seconds : 0;
    const struct plan_serving serving = plan_serving_of(model, hardware, load, assumptions);
    time->ttft_seconds = serving.ttft_seconds;
    time->itl_seconds = serving.itl_seconds;
    return 0;
}
