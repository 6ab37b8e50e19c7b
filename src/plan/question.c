/* What a point leaves open, filled in. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan/memory.h"
#include "plan/point.h"
#include "plan/reach.h"
#include "plan/resolve.h"

static double known(double number, double otherwise) { return isnan(number) ? otherwise : number; }

static bool is_max_rate(const struct plan_point *point) { return strncmp(point->metric, "max_", 4) == 0; }

static bool is_layer_split(enum plan_engine engine) {
    return engine == PLAN_ENGINE_llama_cpp || engine == PLAN_ENGINE_llama_cpp_2024;
}

/* Bits by the digits of a name that no table has: "UD-Q4_K_XL", "4bit", "W4A8". */
static const struct plan_weight_format *like_format(const char *name, bool is_file) {
    const size_t at = strcspn(name, "234568");
    const char digit = name[at];
    const char *like = digit == '2' || digit == '3' ? "q3_k_m"
                       : digit == '4'               ? "q4_k_m"
                       : digit == '5'               ? "q5_k_m"
                       : digit == '6'               ? "q6_k"
                                                    : "q8_0";
    if (!is_file && digit == '4') like = "int4";
    if (!is_file && digit == '8') like = "fp8";
    return digit == '\0' ? NULL : plan_weight_format_find(like);
}

static void set_weights(struct plan_question *question, const struct plan_point *point,
                        struct plan_assumptions *assumptions) {
    struct plan_load *load = &question->load;
    const bool is_file = is_layer_split(load->engine) || load->engine == PLAN_ENGINE_cabinet ||
                         load->engine == PLAN_ENGINE_distributed;
    load->weight_bytes = known(point->weight_bytes, 0);
    load->weights = NULL;
    if (point->weight_format != NULL) {
        load->weights = plan_weight_format_find(point->weight_format);
        if (load->weights == NULL) {
            load->weights = like_format(point->weight_format, is_file);
            plan_assume(assumptions, "weight format '%.40s' is taken as %s", point->weight_format,
                        load->weights != NULL ? load->weights->name : "bf16");
        }
    } else if (load->weight_bytes == 0) {
        load->weights = plan_weight_format_find(is_file ? "q4_k_m" : "bf16");
        plan_assume(assumptions, "weights are taken as %s", load->weights->name);
    }
    if (load->weights == NULL && load->weight_bytes == 0) load->weights = plan_weight_format_find("bf16");
}

static void set_kv(struct plan_question *question, const struct plan_point *point,
                   struct plan_assumptions *assumptions) {
    struct plan_load *load = &question->load;
    load->kv = point->kv_dtype != NULL ? plan_kv_format_find(point->kv_dtype) : NULL;
    if (load->kv != NULL) return;
    const bool is_tuned = is_max_rate(point) && load->weights != NULL && load->weights->bits <= 8.5;
    load->kv = plan_kv_format_find(is_tuned ? "f8" : "f16");
    plan_assume(assumptions, is_tuned
                                 ? "the cache is taken as 8 bits, as tuned servers of such weights keep it"
                                 : "the cache is taken as 16 bits");
}

/* Lengths of MLPerf Inference's tasks, for its models; else of an ordinary chat. */
static void unknown_lengths(const char *model, double *input, double *output,
                            struct plan_assumptions *assumptions) {
    *input = 295, *output = 294;
    if (strstr(model, "405B") != NULL) *input = 9400, *output = 680;
    if (strstr(model, "DeepSeek") != NULL) *input = 800, *output = 3880;
    plan_assume(assumptions, "prompts of %.0f and answers of %.0f tokens, as in MLPerf's task", *input,
                *output);
}

static void set_lengths(struct plan_question *question, const struct plan_point *point,
                        struct plan_assumptions *assumptions) {
    struct plan_load *load = &question->load;
    double input = point->input_tokens, output = point->output_tokens;
    if (isnan(input) && isnan(output) && isnan(point->context_tokens))
        unknown_lengths(question->model.name, &input, &output, assumptions);
    load->context_tokens = known(point->context_tokens, known(input, 0) + known(output, 0) / 2);
    load->prompt_tokens = known(input, load->context_tokens);
    load->output_tokens = known(output, 1);
    load->context_tokens = fmax(1, load->context_tokens);
    load->users = (uint32_t)known(point->batch, 1);
}

/* The smallest tensor group, a power of two, whose devices have room for the weights and a cache. */
static uint32_t fitting_group(struct plan_question *question, uint32_t devices) {
    struct plan_load *load = &question->load;
    for (load->tp = 1; load->tp * 2 <= devices; load->tp *= 2)
        if (plan_weights_of(&question->model, load).device_bytes < 0.8 * question->hardware.memory_bytes)
            break;
    return load->tp;
}

static int set_layout(struct plan_question *question, const struct plan_point *point,
                      struct plan_assumptions *assumptions) {
    struct plan_load *load = &question->load;
    load->pp = (uint32_t)known(point->pp, 1);
    load->dp = (uint32_t)known(point->dp, 1);
    load->tp = (uint32_t)known(point->tp, 1);
    const double given = (double)load->tp * load->pp * load->dp;
    if (given > PLAN_MOST_DEVICES)
        return ERR(INVALID, "tp x pp x dp: %.0f devices are more than %d", given, PLAN_MOST_DEVICES);
    const uint32_t devices = (uint32_t)known(point->n_devices, given);
    load->ep = (uint32_t)known(point->ep, 1);
    if (given >= devices) return 0;
    const uint32_t left = devices / (load->tp * load->pp * load->dp);
    if (is_max_rate(point) && isnan(point->tp)) {
        load->tp = fitting_group(question, devices / (load->pp * load->dp));
        load->dp *= devices / (load->tp * load->pp * load->dp);
        if (question->model.experts.n > 0 && load->dp > 1) load->ep = load->tp * load->dp;
    } else if (is_max_rate(point)) {
        load->dp *= left;
    } else if (is_layer_split(load->engine)) {
        load->pp *= left;
    } else {
        load->tp *= left;
    }
    plan_assume(assumptions, "%u devices are taken as tp %u, pp %u, dp %u, ep %u", devices, load->tp,
                load->pp, load->dp, load->ep);
    return 0;
}

static int set_hardware(struct plan_question *question, const struct plan_catalog *catalog,
                        const struct plan_point *point, struct plan_assumptions *assumptions) {
    const char *name = point->hardware;
    question->has_hardware = false;
    if (strcmp(point->metric, "kv_bytes") == 0) return 0;
    if (name == NULL || strcmp(name, "any") == 0)
        return ERR(NOT_FOUND, "%s depends on the hardware, and none is named", point->metric);
    TRY(plan_resolve_hardware(catalog, name, &question->hardware, assumptions));
    if (plan_peak_bandwidth(&question->hardware) <= 0)
        return ERR(NOT_FOUND, "the catalog has no memory bandwidth of %s", question->hardware.name);
    question->has_hardware = true;
    return 0;
}

int plan_question_of(struct plan_question *question, const struct plan_catalog *catalog,
                     const struct plan_point *point, struct plan_assumptions *assumptions) {
    TRY(plan_resolve_model(catalog, point->model, &question->model, assumptions));
    question->hardware = (struct plan_hardware){0};
    question->load = plan_load_default();
    TRY(set_hardware(question, catalog, point, assumptions));
    question->load.engine = question->has_hardware ? plan_resolve_engine(point->engine, point->date,
                                                                         &question->hardware, assumptions)
                                                   : PLAN_ENGINE_server;
    if (question->has_hardware) set_weights(question, point, assumptions);
    set_kv(question, point, assumptions);
    set_lengths(question, point, assumptions);
    return set_layout(question, point, assumptions);
}
