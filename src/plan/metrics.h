/* What users and operators see, by the field's definitions (docs/planner.md, "Metrics"). */
#ifndef CABINET_PLAN_METRICS_H
#define CABINET_PLAN_METRICS_H

#include "plan/time.h"

/* What service is promised; 0: nothing. */
struct plan_promise {
    double ttft_seconds, itl_seconds;
};

struct plan_metrics {
    double ttft_seconds; /* request sent to first token */
    double itl_seconds;  /* (E2E - TTFT) / (output tokens - 1), as NIM and AIPerf: without the first token */
    double tpot_seconds; /* of one request the same as ITL; means over requests weigh them differently */
    double e2e_seconds;  /* TTFT + (output tokens - 1) x ITL */
    double utps, stps;   /* LIMINAL: 1 / step at the asked context; times the users */
    double output_tokens_per_second; /* closed loop: users x output tokens / E2E, prefill included */
    double requests_per_second;      /* closed loop: users / E2E (Little) */
    double goodput; /* requests per second that keep the promise; all of them if none is made */
};

void plan_metrics_of(struct plan_metrics *metrics, const struct plan_time *time, const struct plan_load *load,
                     const struct plan_promise *promise);
/* Both hold. */
bool plan_promise_is_kept(const struct plan_promise *promise, const struct plan_time *time);

#endif
