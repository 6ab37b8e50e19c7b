/* A plan: one load of one model on one machine, in bytes, seconds and money. */
#ifndef CABINET_PLAN_PLAN_H
#define CABINET_PLAN_PLAN_H

#include "plan/memory.h"
#include "plan/metrics.h"
#include "plan/money.h"
#include "plan/phase.h"
#include "plan/time.h"

struct plan {
    const struct plan_model *model;
    const struct plan_hardware *hardware;
    struct plan_load load;
    struct plan_promise promise;
    struct plan_memory memory;
    struct plan_time time;
    struct plan_metrics metrics;
    struct plan_phases phases;
    struct plan_money money;
    bool fits;
    enum plan_limit limit; /* capacity if it does not fit, else what binds a decode step */
    struct plan_assumptions assumptions;
};

/* Plans `load`; model and hardware live as long as the plan. A load that does not fit is planned too, as if
 * memory had no end, with `fits` false. INVALID for what makes no sense (plan_load_check). */
int plan_make(struct plan *plan, const struct plan_model *model, const struct plan_hardware *hardware,
              const struct plan_load *load, const struct plan_promise *promise);
/* For a plan that does not fit: one line of what would, in `text`. */
void plan_what_fits(const struct plan *plan, char *text, size_t size);

#endif
