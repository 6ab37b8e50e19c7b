#include "plan/load.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan/geometry.h"

/* More would be no plan but a typing error. */
static const double MOST_TOKENS = 1e9;
enum { MOST_USERS = 100000000 };

struct plan_load plan_load_default(void) {
    return (struct plan_load){.context_tokens = 8192,
                              .prompt_tokens = 7680,
                              .output_tokens = 512,
                              .users = 1,
                              .kv = plan_kv_format_find("f16"),
                              .weights = plan_weight_format_find("bf16"),
                              .tp = 1,
                              .pp = 1,
                              .ep = 1,
                              .dp = 1,
                              .cp = 1,
                              .replicas = 1,
                              .engine = PLAN_ENGINE_server,
                              .hold_seconds = 300};
}

enum plan_engine plan_usual_engine(const struct plan_hardware *hardware, const struct plan_load *load) {
    const struct plan_weight_format *weights = load->weights;
    if (hardware->device == PLAN_DEVICE_concept) return PLAN_ENGINE_ideal;
    if (strcmp(hardware->id, "this") == 0) return PLAN_ENGINE_cabinet;
    const bool is_shared = hardware->device == PLAN_DEVICE_cpu || hardware->device == PLAN_DEVICE_apu;
    const bool is_gguf = weights == NULL || (weights->is_unpacked && weights->arithmetic == PLAN_INT8);
    return is_shared || is_gguf ? PLAN_ENGINE_llama_cpp : PLAN_ENGINE_server;
}

double plan_load_replica_devices(const struct plan_load *load) {
    return (double)load->tp * load->pp * load->dp * load->cp;
}

double plan_load_devices(const struct plan_load *load) {
    return plan_load_replica_devices(load) * load->replicas;
}

double plan_load_rank_users(const struct plan_load *load) {
    return ceil(load->users / ((double)load->dp * load->replicas));
}

/* What a number of a layout may be. */
typedef bool (*layout_rule)(const struct plan_model *model, const struct plan_load *load, uint32_t ranks);

/* Query heads divide over the ranks; without heads, the width. */
static bool heads_divide(const struct plan_model *model, const struct plan_load *load, uint32_t ranks) {
    (void)load;
    return (model->n_heads > 0 ? model->n_heads : model->d_model) % ranks == 0;
}

/* Fewer KV heads than ranks are copied to each: then the ranks must divide over the heads. */
static bool kv_heads_divide(const struct plan_model *model, const struct plan_load *load, uint32_t ranks) {
    if (!heads_divide(model, load, ranks)) return false;
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const uint32_t n = model->kv_parts[i].n_rows;
        if (model->kv_parts[i].is_split && (n >= ranks ? n % ranks != 0 : ranks % n != 0)) return false;
    }
    return true;
}

static bool layers_divide(const struct plan_model *model, const struct plan_load *load, uint32_t ranks) {
    (void)load;
    return model->n_layers % ranks == 0;
}

static bool experts_divide(const struct plan_model *model, const struct plan_load *load, uint32_t ranks) {
    return model->experts.n % ranks == 0 && fmod((double)load->tp * load->dp, ranks) == 0;
}

/* "--tp 3 ...: it may be 1, 2, 4, 8" if the rule does not hold. */
static int check_rule(const struct plan_model *model, const struct plan_load *load, layout_rule rule,
                      const char *option, uint32_t ranks, const char *why) {
    enum { MOST_NAMED = 512 };
    char text[160] = "";
    size_t length = 0;
    if (rule(model, load, ranks)) return 0;
    for (uint32_t n = 1; n <= MOST_NAMED && length + 8 < sizeof text; n++)
        if (rule(model, load, n))
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%u", n > 1 ? ", " : "", n);
    return ERR(INVALID, "%s has %s --%s %u: it may be %s", model->name, why, option, ranks, text);
}

static int check_layout(const struct plan_model *model, const struct plan_load *load) {
    char why[160];
    if (model->n_heads > 0)
        snprintf(why, sizeof why, "%u query heads, which do not divide over", model->n_heads);
    else
        snprintf(why, sizeof why, "%u columns, which do not divide over", model->d_model);
    if (!heads_divide(model, load, load->tp))
        return check_rule(model, load, kv_heads_divide, "tp", load->tp, why);
    snprintf(why, sizeof why, "%u KV heads, which neither divide over nor are a part of",
             model->n_kv_heads_full > 0 ? model->n_kv_heads_full : model->n_kv_heads_window);
    TRY(check_rule(model, load, kv_heads_divide, "tp", load->tp, why));
    snprintf(why, sizeof why, "%u layers, which do not divide over", model->n_layers);
    TRY(check_rule(model, load, layers_divide, "pp", load->pp, why));
    if (load->ep == 1) return 0;
    if (model->experts.n == 0)
        return ERR(INVALID, "%s has no experts for --ep %u to divide", model->name, load->ep);
    snprintf(why, sizeof why, "%u experts on %u devices of --tp x --dp, which do not both divide over",
             model->experts.n, load->tp * load->dp);
    return check_rule(model, load, experts_divide, "ep", load->ep, why);
}

static int check_range(const char *what, double value, double low, double high) {
    if (isfinite(value) && value >= low && value <= high) return 0;
    return ERR(INVALID, "%s: %g is not within %g and %g", what, value, low, high);
}

static int check_numbers(const struct plan_load *load) {
    TRY(check_range("context tokens", load->context_tokens, 1, MOST_TOKENS));
    TRY(check_range("prompt tokens", load->prompt_tokens, 0, MOST_TOKENS));
    TRY(check_range("output tokens", load->output_tokens, 0, MOST_TOKENS));
    TRY(check_range("shared tokens", load->shared_tokens, 0, MOST_TOKENS));
    TRY(check_range("users", load->users, 1, MOST_USERS));
    TRY(check_range("hit rate", load->hit_rate, 0, 1));
    TRY(check_range("USD per device and hour", load->usd_per_device_hour, 0, 1e6));
    TRY(check_range("seconds of holding", load->hold_seconds, 0, 1e9));
    TRY(check_range("weight bytes", load->weight_bytes, 0, 1e16));
    const uint32_t ranks[] = {load->tp, load->pp, load->ep, load->dp, load->cp, load->replicas};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        TRY(check_range("ranks of a layout", ranks[i], 1, PLAN_MOST_DEVICES));
    TRY(check_range("devices", plan_load_devices(load), 1, PLAN_MOST_DEVICES));
    if (load->shared_tokens > load->context_tokens)
        return ERR(INVALID, "%.0f shared tokens are more than the context of %.0f", load->shared_tokens,
                   load->context_tokens);
    return 0;
}

int plan_load_check(const struct plan_load *load, const struct plan_model *model) {
    TRY(check_numbers(load));
    TRY(check_layout(model, load));
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        TRY(plan_kv_format_check(load->kv, model->kv_parts[i].k_dim));
        TRY(plan_kv_format_check(load->kv, model->kv_parts[i].v_dim));
    }
    return 0;
}
