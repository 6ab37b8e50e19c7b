/* Which of the two a decode step reads more of, weights or cache, and where that changes. */
#ifndef CABINET_PLAN_PHASE_H
#define CABINET_PLAN_PHASE_H

#include "plan/load.h"

/* With W bytes of weights and K of cache read per step: K < W/2, between, K > 2W. */
#define PLAN_PHASE_LIST(X)                                                                                   \
    X(weights, "weights dominate")                                                                           \
    X(crossover, "weights and cache are alike")                                                              \
    X(cache, "the cache dominates")

enum plan_phase {
#define X(name, phrase) PLAN_PHASE_##name,
    PLAN_PHASE_LIST(X)
#undef X
};

struct plan_phases {
    enum plan_phase phase;
    /* Where K = W: context of every user, the users as asked; users, the context as asked. INFINITY: never.
     */
    double crossover_tokens, crossover_users;
};

void plan_phases_of(struct plan_phases *phases, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load);
const char *plan_phase_name(enum plan_phase phase);
const char *plan_phase_phrase(enum plan_phase phase);

#endif
