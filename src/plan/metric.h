/* The metrics of published measurements. */
#ifndef CABINET_PLAN_METRIC_H
#define CABINET_PLAN_METRIC_H

#include "plan/point.h"

/* name, unit */
#define PLAN_METRIC_LIST(X)                                                                                  \
    X(decode_tok_s_per_user, "tok/s")                                                                        \
    X(decode_tok_s_total, "tok/s")                                                                           \
    X(output_tok_s_total, "tok/s")                                                                           \
    X(total_tok_s, "tok/s")                                                                                  \
    X(prefill_tok_s, "tok/s")                                                                                \
    X(ttft_s, "s")                                                                                           \
    X(itl_s, "s")                                                                                            \
    X(e2e_latency_s, "s")                                                                                    \
    X(kv_bytes, "B")                                                                                         \
    X(max_output_tok_s_per_device, "tok/s/device")                                                           \
    X(decode_effective_bandwidth, "B/s")

/* UNSUPPORTED: a metric that the planner does not predict. `unit` lives for ever. */
int plan_metric_predict(const struct plan_question *question, const struct plan_point *point,
                        double *predicted, const char **unit, struct plan_assumptions *assumptions);

#endif
