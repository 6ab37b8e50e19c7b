/* Seconds: of a decode step and its parts, of a prefill, and what a user sees of them. */
#ifndef CABINET_PLAN_TIME_H
#define CABINET_PLAN_TIME_H

#include "plan/assumption.h"
#include "plan/load.h"

/* What binds a step. */
#define PLAN_LIMIT_LIST(X)                                                                                   \
    X(capacity, "memory capacity")                                                                           \
    X(weight_bandwidth, "weight bandwidth")                                                                  \
    X(kv_bandwidth, "KV bandwidth")                                                                          \
    X(compute, "compute")                                                                                    \
    X(interconnect, "interconnect latency")                                                                  \
    X(overhead, "fixed cost of a step")                                                                      \
    X(model_context, "the model's own context length")                                                       \
    X(money, "money")

enum plan_limit {
#define X(name, meaning) PLAN_LIMIT_##name,
    PLAN_LIMIT_LIST(X)
#undef X
};
const char *plan_limit_name(enum plan_limit limit);   /* "kv_bandwidth" */
const char *plan_limit_phrase(enum plan_limit limit); /* "KV bandwidth" */

/* One decode step: every user of a data-parallel rank gets one token. Bytes and time overlap with compute, so
 * seconds = max(memory parts, compute) + sync + overhead. */
struct plan_step {
    double seconds;
    double weight_seconds, kv_read_seconds, kv_write_seconds; /* transfers, one after another */
    double compute_seconds, sync_seconds, overhead_seconds;
    double weight_bytes, kv_read_bytes, kv_write_bytes; /* of all devices of a rank */
    double flops;
    enum plan_limit limit; /* the largest part */
};

struct plan_time {
    struct plan_step step;                             /* all users at context_tokens */
    double prefill_seconds, prefill_tokens_per_second; /* of one prompt alone, what the cache has left out */
    enum plan_limit prefill_limit;
    double ttft_seconds, itl_seconds; /* ITL over the answer, prompts of others between the steps */
};

/* A decode step of `users` (of one data-parallel rank) at `context` tokens each; at least one user. */
void plan_step_of(struct plan_step *step, const struct plan_model *model,
                  const struct plan_hardware *hardware, const struct plan_load *load, double users,
                  double context, struct plan_assumptions *assumptions);
/* INVALID if the hardware lacks a number that nothing can stand in for. */
int plan_time_of(struct plan_time *time, const struct plan_model *model, const struct plan_hardware *hardware,
                 const struct plan_load *load, struct plan_assumptions *assumptions);

#endif
