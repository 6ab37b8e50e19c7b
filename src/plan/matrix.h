/* Products with weights: the bytes that a step reads for its tokens, the operations, and the time of both. */
#ifndef CABINET_PLAN_MATRIX_H
#define CABINET_PLAN_MATRIX_H

#include "plan/reach.h"

/* Part of the experts of a layer that `tokens` tokens open: 1 - (1 - k/E)^t with t = 1 + (tokens - 1)/2,
 * since routing is not even (docs/planner.md). */
double plan_expert_coverage(const struct plan_experts *experts, double tokens);

/* A product of `tokens` rows with all weights of one pipeline stage's device, of a tensor group that has them
 * all once when pp is 1; the caller multiplies by stages. */
struct plan_product {
    double weight_bytes, flops;               /* of one device */
    double transfer_seconds, compute_seconds; /* each alone */
    double seconds;                           /* overlapped as the engine does */
};
/* `is_decode`: each row has its logits, and experts' tiles are as small as their rows; in a prompt only the
 * last row has logits. */
struct plan_product plan_product_of(const struct plan_model *model, const struct plan_hardware *hardware,
                                    const struct plan_load *load, const struct plan_reach *reach,
                                    double tokens, bool is_decode, struct plan_assumptions *assumptions);

#endif
