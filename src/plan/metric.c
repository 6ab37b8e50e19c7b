#include "plan/metric.h"

#include <math.h>
#include <string.h>

#include "plan/memory.h"
#include "plan/offload.h"
#include "plan/prefill.h"
#include "plan/reach.h"
#include "plan/serving.h"
#include "plan/time.h"

#define QUESTION                                                                                             \
    const struct plan_question *q, const struct plan_point *point, struct plan_assumptions *assumptions

static bool is_server(const struct plan_question *q) {
    const enum plan_engine engine = q->load.engine;
    return engine == PLAN_ENGINE_server || engine == PLAN_ENGINE_server_2024 ||
           engine == PLAN_ENGINE_sglang || engine == PLAN_ENGINE_native || engine == PLAN_ENGINE_native_2023;
}

static bool says(const struct plan_point *point, const char *word) {
    return point->category != NULL && strcasestr(point->category, word) != NULL;
}

/* Users keep the server busy, each with its next request as soon as its answer is there. */
static bool is_closed_loop(const struct plan_question *q, const struct plan_point *point) {
    return is_server(q) && !says(point, "static") && (says(point, "serving") || says(point, "concurren"));
}

static double batch_seconds(QUESTION) {
    if (q->load.engine == PLAN_ENGINE_offload)
        return plan_offload_batch_seconds(&q->model, &q->hardware, &q->load, assumptions);
    if (is_closed_loop(q, point))
        return plan_serving_of(&q->model, &q->hardware, &q->load, assumptions).e2e_seconds;
    return plan_static_batch_seconds(&q->model, &q->hardware, &q->load, assumptions);
}

static double step_seconds(const struct plan_question *q, struct plan_assumptions *assumptions) {
    if (q->load.engine == PLAN_ENGINE_offload) {
        struct plan_load none = q->load, one = q->load;
        none.output_tokens = 0, one.output_tokens = 1;
        return plan_offload_batch_seconds(&q->model, &q->hardware, &one, assumptions) -
               plan_offload_batch_seconds(&q->model, &q->hardware, &none, assumptions);
    }
    struct plan_step step;
    plan_step_of(&step, &q->model, &q->hardware, &q->load, plan_load_rank_users(&q->load),
                 q->load.context_tokens, assumptions);
    return step.seconds;
}

static double decode_tok_s_per_user(QUESTION) {
    (void)point;
    return 1 / step_seconds(q, assumptions);
}

static double decode_tok_s_total(QUESTION) {
    (void)point;
    return q->load.users / step_seconds(q, assumptions);
}

static double output_tok_s_total(QUESTION) {
    return q->load.users * q->load.output_tokens / batch_seconds(q, point, assumptions);
}

static double total_tok_s(QUESTION) {
    return q->load.users * (q->load.prompt_tokens + q->load.output_tokens) /
           batch_seconds(q, point, assumptions);
}

static double prompt_seconds(const struct plan_question *q, double tokens, double before,
                             struct plan_assumptions *assumptions) {
    return plan_prefill_of(&q->model, &q->hardware, &q->load, tokens, before, plan_load_rank_users(&q->load),
                           assumptions)
        .seconds;
}

/* The mean context of a prompt that begins behind cached tokens is theirs plus half of the prompt. */
static double prefill_tok_s(QUESTION) {
    (void)point;
    const double tokens = fmax(1, q->load.prompt_tokens),
                 before = fmax(0, q->load.context_tokens - tokens / 2);
    return q->load.users * tokens / prompt_seconds(q, tokens, before, assumptions);
}

static double ttft_s(QUESTION) {
    (void)point;
    if (is_server(q)) return plan_serving_of(&q->model, &q->hardware, &q->load, assumptions).ttft_seconds;
    return prompt_seconds(q, fmax(1, q->load.prompt_tokens), 0, assumptions);
}

static double itl_s(QUESTION) {
    const bool has_prompts = q->load.users > 1 && q->load.prompt_tokens >= 1 && q->load.output_tokens > 1;
    if (!is_server(q) || says(point, "static") || !has_prompts) return step_seconds(q, assumptions);
    return plan_serving_of(&q->model, &q->hardware, &q->load, assumptions).itl_seconds;
}

static double e2e_latency_s(QUESTION) { return batch_seconds(q, point, assumptions); }

/* As the ranks of a tensor group store it: copies of heads and latents count. */
static double kv_bytes(QUESTION) {
    (void)point;
    const double state = plan_state_bytes(&q->model), ranks = (double)q->load.tp * q->load.pp;
    if (state > 0) plan_assume(assumptions, "recurrent state counts, in F32");
    return q->load.users *
           (ranks * plan_kv_device_bytes(&q->model, &q->load, q->load.context_tokens) + state);
}

static double max_output_tok_s_per_device(QUESTION) {
    (void)point;
    double users;
    const double rate = plan_max_output_rate(&q->model, &q->hardware, &q->load, &users, assumptions);
    plan_assume(assumptions, "%.0f users at the best rate", users);
    return rate;
}

static double decode_effective_bandwidth(QUESTION) {
    (void)point, (void)assumptions;
    return plan_reach_of(q->load.engine, &q->hardware).weight * plan_peak_bandwidth(&q->hardware);
}

int plan_metric_predict(const struct plan_question *question, const struct plan_point *point,
                        double *predicted, const char **unit, struct plan_assumptions *assumptions) {
    static const struct {
        const char *name, *unit;
        double (*predict)(QUESTION);
    } metrics[] = {
#define X(name, unit) {#name, unit, name},
        PLAN_METRIC_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        if (strcmp(metrics[i].name, point->metric) != 0) continue;
        *unit = metrics[i].unit;
        *predicted = metrics[i].predict(question, point, assumptions);
        if (isfinite(*predicted) && *predicted > 0) return 0;
        return ERR(UNSUPPORTED, "%s of %s on %s: nothing fits, or a number is missing", point->metric,
                   question->model.name, question->hardware.name);
    }
    return ERR(UNSUPPORTED, "metric %.40s is not one that is predicted", point->metric);
}
