#include "plan/plan_json.h"

#include <math.h>

#include "plan/reach.h"

struct member {
    const char *key;
    double value;
    bool is_count; /* bytes, tokens, users, devices: integers */
};
#define COUNT(key, value) {key, value, true}
#define NUMBER(key, value) {key, value, false}

static json_t *number(const struct member *member) {
    if (!isfinite(member->value)) return json_null();
    if (member->is_count && fabs(member->value) < 9e15)
        return json_integer((json_int_t)llround(member->value));
    return json_real(member->value);
}

static void put(json_t *object, const struct member *members, size_t n) {
    for (size_t i = 0; i < n; i++) json_object_set_new(object, members[i].key, number(&members[i]));
}
#define PUT(object, ...)                                                                                     \
    do {                                                                                                     \
        const struct member members_[] = {__VA_ARGS__};                                                      \
        put(object, members_, sizeof members_ / sizeof *members_);                                           \
    } while (0)

static json_t *load_json(const struct plan_load *load) {
    json_t *object = json_object();
    PUT(object, COUNT("context_tokens", load->context_tokens), COUNT("users", load->users),
        COUNT("prompt_tokens", load->prompt_tokens), COUNT("output_tokens", load->output_tokens),
        COUNT("shared_tokens", load->shared_tokens), NUMBER("hit_rate", load->hit_rate),
        NUMBER("hold_seconds", load->hold_seconds), COUNT("tp", load->tp), COUNT("pp", load->pp),
        COUNT("ep", load->ep), COUNT("dp", load->dp), COUNT("cp", load->cp),
        COUNT("replicas", load->replicas), COUNT("devices", plan_load_devices(load)));
    json_object_set_new(object, "kv", json_string(load->kv->name));
    json_object_set_new(object, "weights",
                        json_string(load->weights != NULL ? load->weights->name : "as stored"));
    json_object_set_new(object, "engine", json_string(plan_engine_name(load->engine)));
    return object;
}

static json_t *step_json(const struct plan_step *step) {
    json_t *object = json_object();
    PUT(object, NUMBER("weight_seconds", step->weight_seconds),
        NUMBER("kv_read_seconds", step->kv_read_seconds), NUMBER("kv_write_seconds", step->kv_write_seconds),
        NUMBER("compute_seconds", step->compute_seconds), NUMBER("sync_seconds", step->sync_seconds),
        NUMBER("overhead_seconds", step->overhead_seconds), COUNT("weight_bytes", step->weight_bytes),
        COUNT("kv_read_bytes", step->kv_read_bytes), COUNT("kv_write_bytes", step->kv_write_bytes),
        NUMBER("flops", step->flops));
    json_object_set_new(object, "binding_limit", json_string(plan_limit_name(step->limit)));
    return object;
}

static void put_memory(json_t *object, const struct plan *plan) {
    const struct plan_memory *memory = &plan->memory;
    PUT(object, NUMBER("kv_bytes_per_token", memory->kv_bytes_per_token), COUNT("kv_bytes", memory->kv_bytes),
        COUNT("kv_bytes_simplified", memory->kv_bytes_simplified),
        NUMBER("kv_simplified_factor", memory->kv_bytes_simplified / memory->kv_bytes),
        COUNT("state_bytes", memory->state_bytes), COUNT("weight_bytes", memory->weights.bytes),
        COUNT("device_weight_bytes", memory->weights.device_bytes),
        COUNT("device_kv_bytes", memory->kv_device_bytes),
        COUNT("activation_bytes", memory->activation_bytes), COUNT("reserved_bytes", memory->reserved_bytes),
        COUNT("device_bytes", memory->device_bytes), COUNT("capacity_bytes", memory->capacity_bytes),
        COUNT("max_context_tokens", memory->max_context_tokens), COUNT("max_users", memory->max_users));
    json_object_set_new(object, "fits", json_boolean(plan->fits));
}

static void put_time(json_t *object, const struct plan *plan) {
    const struct plan_time *time = &plan->time;
    const struct plan_metrics *metrics = &plan->metrics;
    json_object_set_new(object, "phase", json_string(plan_phase_name(plan->phases.phase)));
    PUT(object, COUNT("crossover_tokens", plan->phases.crossover_tokens),
        COUNT("crossover_users", plan->phases.crossover_users), NUMBER("step_seconds", time->step.seconds));
    json_object_set_new(object, "step", step_json(&time->step));
    PUT(object, NUMBER("prefill_seconds", time->prefill_seconds),
        NUMBER("prefill_tokens_per_second", time->prefill_tokens_per_second),
        NUMBER("ttft_seconds", metrics->ttft_seconds), NUMBER("itl_seconds", metrics->itl_seconds),
        NUMBER("tpot_seconds", metrics->tpot_seconds), NUMBER("e2e_seconds", metrics->e2e_seconds),
        NUMBER("utps", metrics->utps), NUMBER("stps", metrics->stps),
        NUMBER("output_tokens_per_second", metrics->output_tokens_per_second),
        NUMBER("requests_per_second", metrics->requests_per_second), NUMBER("goodput", metrics->goodput));
}

static void put_money(json_t *object, const struct plan_money *money) {
    PUT(object, NUMBER("usd_per_device_hour", money->usd_per_device_hour),
        NUMBER("usd_per_hour", money->usd_per_hour),
        NUMBER("usd_per_million_input_tokens", money->usd_per_million_input),
        NUMBER("usd_per_million_cached_input_tokens", money->usd_per_million_cached_input),
        NUMBER("usd_per_million_output_tokens", money->usd_per_million_output),
        NUMBER("usd_per_conversation", money->usd_per_conversation),
        NUMBER("usd_per_user_hour", money->usd_per_user_hour));
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
