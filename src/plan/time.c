#include "plan/time.h"

#include <math.h>

#include "plan/geometry.h"
#include "plan/memory.h"

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

/* Experts of a layer that a batch of tokens touches, each routed evenly: E (1 - (1 - k/E)^B). */
static double touched_experts(const struct plan_experts *experts, double tokens) {
    return experts->n * (1 - pow(1 - (double)experts->n_per_token / experts->n, tokens));
}

static double read_weight_bytes(const struct plan_model *model, const struct plan_load *load, double tokens) {
    const struct plan_weights weights = plan_weights_of(model, load);
    if (model->experts.n == 0) return weights.dense_read_bytes;
    return weights.dense_read_bytes +
           weights.expert_bytes * touched_experts(&model->experts, tokens) / model->experts.n;
}

static double peak_flops(const struct plan_hardware *hardware, const struct plan_load *load) {
    const enum plan_arithmetic arithmetic = load->weights != NULL ? load->weights->arithmetic : PLAN_BF16;
    if (arithmetic == PLAN_FP8 && hardware->fp8_flops > 0) return hardware->fp8_flops;
    if (arithmetic == PLAN_INT8 && hardware->int8_ops > 0) return hardware->int8_ops;
    if (arithmetic == PLAN_FP4 && hardware->fp4_flops > 0) return hardware->fp4_flops;
    return hardware->bf16_flops;
}

void plan_step_of(struct plan_step *step, const struct plan_model *model,
                  const struct plan_hardware *hardware, const struct plan_load *load, double users,
                  double context, struct plan_assumptions *assumptions) {
    const double group = (double)load->tp * load->cp; /* devices that work at the same time on one token */
    const double bandwidth =
        hardware->measured_bandwidth > 0 ? hardware->measured_bandwidth : hardware->bandwidth;
    const double shared = fmin(load->shared_tokens, context);
    const double read = users * plan_kv_device_read_bytes(model, load, context) -
                        (users - 1) * plan_kv_device_read_bytes(model, load, shared) +
                        2 * users * plan_state_device_bytes(model, load);
    *step = (struct plan_step){
        .weight_bytes = read_weight_bytes(model, load, users),
        .kv_read_bytes = read * group * load->pp,
        .kv_write_bytes = users * plan_kv_bytes_per_token(model, load->kv),
        .flops = users * (plan_model_matrix_flops(model) + plan_model_attention_flops(model, context)),
    };
    step->weight_seconds = step->weight_bytes / group / bandwidth;
    step->kv_read_seconds = step->kv_read_bytes / group / bandwidth;
    step->kv_write_seconds = step->kv_write_bytes / group / bandwidth;
    const double peak = peak_flops(hardware, load);
    if (peak > 0)
        step->compute_seconds = step->flops / group / peak;
    else
        plan_assume(assumptions, "%s: no arithmetic peak is known, compute is taken not to bind",
                    hardware->name);
    const double memory = step->weight_seconds + step->kv_read_seconds + step->kv_write_seconds;
    step->seconds = fmax(memory, step->compute_seconds);
    step->limit = step->compute_seconds > memory                 ? PLAN_LIMIT_compute
                  : step->kv_read_seconds > step->weight_seconds ? PLAN_LIMIT_kv_bandwidth
                                                                 : PLAN_LIMIT_weight_bandwidth;
}

int plan_time_of(struct plan_time *time, const struct plan_model *model, const struct plan_hardware *hardware,
                 const struct plan_load *load, struct plan_assumptions *assumptions) {
    const double users = plan_load_rank_users(load);
    if (hardware->bandwidth <= 0)
        return ERR(INVALID, "%s: its memory bandwidth is not known, give mem_bw_Bps in a file",
                   hardware->name);
    *time = (struct plan_time){0};
    plan_step_of(&time->step, model, hardware, load, users, load->context_tokens, assumptions);
    struct plan_step middle;
    plan_step_of(&middle, model, hardware, load, users,
                 fmax(1, load->prompt_tokens + load->output_tokens / 2), assumptions);
    time->itl_seconds = middle.seconds;
    const double cached = load->prompt_tokens * load->hit_rate, n = load->prompt_tokens - cached;
    const double flops =
        n * plan_model_matrix_flops(model) + plan_model_prefill_attention_flops(model, n, cached);
    const double peak = peak_flops(hardware, load), group = (double)load->tp * load->cp;
    const double compute = peak > 0 ? flops / group / peak : 0,
                 memory = read_weight_bytes(model, load, n) / group / hardware->bandwidth;
    time->prefill_seconds = fmax(compute, memory);
    time->prefill_limit = compute > memory ? PLAN_LIMIT_compute : PLAN_LIMIT_weight_bandwidth;
    time->prefill_tokens_per_second = n > 0 ? n / time->prefill_seconds : 0;
    time->ttft_seconds = time->prefill_seconds;
    return 0;
}
