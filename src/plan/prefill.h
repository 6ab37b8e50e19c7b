/* Seconds of prompts. */
#ifndef CABINET_PLAN_PREFILL_H
#define CABINET_PLAN_PREFILL_H

#include "plan/reach.h"
#include "plan/time.h"

/* A prompt's work: `sequences` of `tokens` new tokens each behind `before` cached ones, on one data-parallel
 * rank, in chunks of at most the engine's. */
struct plan_prefill {
    double seconds;
    double product_seconds, attention_seconds, sync_seconds, overhead_seconds; /* add up, over all stages */
    double flops; /* products' and attention's, of one device */
    enum plan_limit limit;
};
struct plan_prefill plan_prefill_of(const struct plan_model *model, const struct plan_hardware *hardware,
                                    const struct plan_load *load, double tokens, double before,
                                    double sequences, struct plan_assumptions *assumptions);

/* Operations per second of attention on one device: scores of narrow heads cost as much in exponentials as in
 * products, so the rate grows with head_dim / (head_dim + 64). */
double plan_attention_rate(const struct plan_model *model, const struct plan_hardware *hardware,
                           const struct plan_reach *reach, struct plan_assumptions *assumptions);

#endif
