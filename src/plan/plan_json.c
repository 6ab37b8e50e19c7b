#include "plan/plan_json.h"

#include <math.h>

struct member {
    const char *key;
    double value;
};

static json_t *number(double value) {
    if (!isfinite(value)) return json_null();
    if (value == floor(value) && fabs(value) < 9e15) return json_integer((json_int_t)value);
    return json_real(value);
}

static void put(json_t *object, const struct member *members, size_t n) {
    for (size_t i = 0; i < n; i++) json_object_set_new(object, members[i].key, number(members[i].value));
}
#define PUT(object, ...)                                                                                     \
    do {                                                                                                     \
        const struct member members_[] = {__VA_ARGS__};                                                      \
        put(object, members_, sizeof members_ / sizeof *members_);                                           \
    } while (0)

static json_t *load_json(const struct plan_load *load) {
    static const char *const engines[] = {
#define X(name, meaning) #name,
        PLAN_ENGINE_LIST(X)
#undef X
    };
    json_t *object = json_object();
    PUT(object, {"context_tokens", load->context_tokens}, {"users", load->users},
        {"prompt_tokens", load->prompt_tokens}, {"output_tokens", load->output_tokens},
        {"shared_tokens", load->shared_tokens}, {"hit_rate", load->hit_rate},
        {"hold_seconds", load->hold_seconds}, {"tp", load->tp}, {"pp", load->pp}, {"ep", load->ep},
        {"dp", load->dp}, {"cp", load->cp}, {"replicas", load->replicas},
        {"devices", plan_load_devices(load)});
    json_object_set_new(object, "kv", json_string(load->kv->name));
    json_object_set_new(object, "weights",
                        json_string(load->weights != NULL ? load->weights->name : "as stored"));
    json_object_set_new(object, "engine", json_string(engines[load->engine]));
    return object;
}

static json_t *step_json(const struct plan_step *step) {
    json_t *object = json_object();
    PUT(object, {"weight_seconds", step->weight_seconds}, {"kv_read_seconds", step->kv_read_seconds},
        {"kv_write_seconds", step->kv_write_seconds}, {"compute_seconds", step->compute_seconds},
        {"sync_seconds", step->sync_seconds}, {"overhead_seconds", step->overhead_seconds},
        {"weight_bytes", step->weight_bytes}, {"kv_read_bytes", step->kv_read_bytes},
        {"kv_write_bytes", step->kv_write_bytes}, {"flops", step->flops});
    json_object_set_new(object, "binding_limit", json_string(plan_limit_name(step->limit)));
    return object;
}

static void put_memory(json_t *object, const struct plan *plan) {
    const struct plan_memory *memory = &plan->memory;
    PUT(object, {"kv_bytes_per_token", memory->kv_bytes_per_token}, {"kv_bytes", memory->kv_bytes},
        {"kv_bytes_simplified", memory->kv_bytes_simplified},
        {"kv_simplified_factor", memory->kv_bytes_simplified / memory->kv_bytes},
        {"state_bytes", memory->state_bytes}, {"weight_bytes", memory->weights.bytes},
        {"device_weight_bytes", memory->weights.device_bytes}, {"device_kv_bytes", memory->kv_device_bytes},
        {"activation_bytes", memory->activation_bytes}, {"reserved_bytes", memory->reserved_bytes},
        {"device_bytes", memory->device_bytes}, {"capacity_bytes", memory->capacity_bytes},
        {"max_context_tokens", memory->max_context_tokens}, {"max_users", memory->max_users});
    json_object_set_new(object, "fits", json_boolean(plan->fits));
}

static void put_time(json_t *object, const struct plan *plan) {
    const struct plan_time *time = &plan->time;
    const struct plan_metrics *metrics = &plan->metrics;
    json_object_set_new(object, "phase", json_string(plan_phase_name(plan->phases.phase)));
    PUT(object, {"crossover_tokens", plan->phases.crossover_tokens},
        {"crossover_users", plan->phases.crossover_users}, {"step_seconds", time->step.seconds});
    json_object_set_new(object, "step", step_json(&time->step));
    PUT(object, {"prefill_seconds", time->prefill_seconds},
        {"prefill_tokens_per_second", time->prefill_tokens_per_second},
        {"ttft_seconds", metrics->ttft_seconds}, {"itl_seconds", metrics->itl_seconds},
        {"tpot_seconds", metrics->tpot_seconds}, {"e2e_seconds", metrics->e2e_seconds},
        {"utps", metrics->utps}, {"stps", metrics->stps},
        {"output_tokens_per_second", metrics->output_tokens_per_second},
        {"requests_per_second", metrics->requests_per_second}, {"goodput", metrics->goodput});
}

static void put_money(json_t *object, const struct plan_money *money) {
    PUT(object, {"usd_per_device_hour", money->usd_per_device_hour}, {"usd_per_hour", money->usd_per_hour},
        {"usd_per_million_input_tokens", money->usd_per_million_input},
        {"usd_per_million_cached_input_tokens", money->usd_per_million_cached_input},
        {"usd_per_million_output_tokens", money->usd_per_million_output},
        {"usd_per_conversation", money->usd_per_conversation},
        {"usd_per_user_hour", money->usd_per_user_hour});
}

json_t *plan_json(const struct plan *plan) {
    json_t *object = json_object(), *assumptions = json_array();
    json_object_set_new(object, "model", json_string(plan->model->name));
    json_object_set_new(object, "hardware", json_string(plan->hardware->id));
    json_object_set_new(object, "load", load_json(&plan->load));
    put_memory(object, plan);
    put_time(object, plan);
    put_money(object, &plan->money);
    json_object_set_new(object, "binding_limit", json_string(plan_limit_name(plan->limit)));
    if (!plan->fits) {
        char text[512];
        plan_what_fits(plan, text, sizeof text);
        json_object_set_new(object, "what_fits", json_string(text));
    }
    for (size_t i = 0; i < plan->assumptions.n; i++)
        json_array_append_new(assumptions, json_string(plan->assumptions.texts[i]));
    json_object_set_new(object, "assumptions", assumptions);
    json_object_set_new(object, "model_source", json_string(plan->model->source));
    json_object_set_new(object, "hardware_source", json_string(plan->hardware->source));
    return object;
}
