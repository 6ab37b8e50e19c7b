#include "plan/load.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan/geometry.h"

/* More would be no plan but a typing error. */
static const double MOST_TOKENS = 1e9;
enum { MOST_USERS = 100000000, MOST_DEVICES = 1000000 };

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

/* "1, 2, 4, 8": the divisors of n up to 64. */
static const char *divisors(uint32_t n, char *text, size_t size) {
    size_t length = 0;
    text[0] = '\0';
    for (uint32_t i = 1; i <= n && i <= 64 && length + 8 < size; i++)
        if (n % i == 0)
            length += (size_t)snprintf(text + length, size - length, "%s%u", length > 0 ? ", " : "", i);
    return text;
}

static int check_divides(const struct plan_model *model, const char *option, uint32_t ranks, uint32_t n,
                         const char *things) {
    char text[128];
    if (n == 0 || n % ranks == 0) return 0;
    return ERR(INVALID, "%s has %u %s, which do not divide over --%s %u: it may be %s", model->name, n,
               things, option, ranks, divisors(n, text, sizeof text));
}

/* Fewer KV heads than ranks are copied to each: then the ranks must divide over the heads. */
static int check_kv_heads(const struct plan_model *model, uint32_t tp) {
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const struct plan_kv_part *part = &model->kv_parts[i];
        if (!part->is_split) continue;
        if (part->n_rows >= tp ? part->n_rows % tp != 0 : tp % part->n_rows != 0)
            return ERR(INVALID, "%s has %u KV heads, which neither divide over --tp %u nor it over them",
                       model->name, part->n_rows, tp);
    }
    return 0;
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
        TRY(check_range("ranks of a layout", ranks[i], 1, MOST_DEVICES));
    TRY(check_range("devices", plan_load_devices(load), 1, MOST_DEVICES));
    if (load->shared_tokens > load->context_tokens)
        return ERR(INVALID, "%.0f shared tokens are more than the context of %.0f", load->shared_tokens,
                   load->context_tokens);
    return 0;
}

int plan_load_check(const struct plan_load *load, const struct plan_model *model) {
    TRY(check_numbers(load));
    TRY(check_divides(model, "tp", load->tp, model->n_heads, "query heads"));
    if (model->n_heads == 0) TRY(check_divides(model, "tp", load->tp, model->d_model, "columns"));
    TRY(check_kv_heads(model, load->tp));
    TRY(check_divides(model, "pp", load->pp, model->n_layers, "layers"));
    if (load->ep > 1 && model->experts.n == 0)
        return ERR(INVALID, "%s has no experts for --ep %u to divide", model->name, load->ep);
    if (load->ep > 1) TRY(check_divides(model, "ep", load->ep, model->experts.n, "experts"));
    if (load->ep > 1 && fmod((double)load->tp * load->dp, load->ep) != 0)
        return ERR(INVALID, "--ep %u does not divide the %u devices of --tp x --dp", load->ep,
                   load->tp * load->dp);
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        TRY(plan_kv_format_check(load->kv, model->kv_parts[i].k_dim));
        TRY(plan_kv_format_check(load->kv, model->kv_parts[i].v_dim));
    }
    return 0;
}
