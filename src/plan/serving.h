/* What users of a server see: a closed loop, each sending its next prompt when it has its answer. */
#ifndef CABINET_PLAN_SERVING_H
#define CABINET_PLAN_SERVING_H

#include "plan/reach.h"

struct plan_serving {
    double ttft_seconds, itl_seconds, e2e_seconds; /* of one request, mean */
    double output_tokens_per_second;               /* of all users of all replicas */
};
/* The load's users, prompt and output. Each decode step carries users x prompt/output tokens of others'
 * prompts (a part of them: mix_share), a prompt waits for half of the others' that came with it
 * (queue_share). */
struct plan_serving plan_serving_of(const struct plan_model *model, const struct plan_hardware *hardware,
                                    const struct plan_load *load, struct plan_assumptions *assumptions);

/* Seconds of a whole batch that starts together: all prompts, then all steps. */
double plan_static_batch_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                                 const struct plan_load *load, struct plan_assumptions *assumptions);

/* The best output tokens per second and device over all numbers of users that fit in memory, each with room
 * for its whole answer (what engines that never preempt admit), at most 2,048 a rank; `users` says how many
 * it took (may be NULL). 0: not even one fits. */
double plan_max_output_rate(const struct plan_model *model, const struct plan_hardware *hardware,
                            const struct plan_load *load, double *users,
                            struct plan_assumptions *assumptions);

#endif
