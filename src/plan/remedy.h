/* Remedies against the growing cache, each as a change of a plan: of the model's shape, the machine or the
 * load. Where the figures of a change come from: docs/planner.md, "Remedies". */
#ifndef CABINET_PLAN_REMEDY_H
#define CABINET_PLAN_REMEDY_H

#include "plan/catalog.h"
#include "plan/load.h"

/* How far each remedy goes. */
struct plan_remedy_opts {
    double window_tokens, sink_tokens; /* what a window keeps */
    double budget_share;               /* of the context that eviction keeps */
    double rank_share;                 /* of a head's numbers that a low-rank cache keeps */
    double hit_rate;                   /* part of the context that users have in common */
    double active_share;     /* of its time in which a conversation computes; else it can be elsewhere */
    double acceptance;       /* of a drafted token */
    uint32_t n_drafted;      /* tokens a step */
    double draft_cost;       /* a drafted token's time, in steps */
    double selected_tokens;  /* that attention reads, in whole blocks */
    double retrieved_tokens; /* of text, in place of the whole context */
};
struct plan_remedy_opts plan_remedy_opts_default(void);

/* A plan with what the load cannot say. Open with plan_case_open. */
struct plan_case {
    struct plan_model model;
    struct plan_hardware hardware;
    struct plan_load load;
    double tokens_per_step; /* of a user: 1, or more where drafts are accepted */
    double positions;       /* computed for each user in a step: 1, or with drafts */
    double draft_steps;     /* a step's drafting, in steps */
    double tier_bandwidth;  /* conversations at rest are moved over it; 0: they stay */
    double users_share;     /* of the users whose cache is in memory at a time; the rest is in the tier */
};
void plan_case_open(struct plan_case *plan, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load);

enum { PLAN_REMEDY_REASON = 160 };

struct plan_remedy {
    const char *name;  /* as in JSON: "kv_q8" */
    const char *title; /* for people */
    /* Whether Cabinet does it today, and what it was measured to lose; NULL: it does not. */
    const char *offered;
    /* Changes `plan`; false with the reason in reason[PLAN_REMEDY_REASON] if it has nothing to change there.
     */
    bool (*apply)(struct plan_case *plan, const struct plan_remedy_opts *opts,
                  const struct plan_catalog *catalog, char *reason);
};

/* All of them, in the order they are told; the number in *n. */
const struct plan_remedy *plan_remedies(size_t *n);

#endif
