/* The other way round: the largest load that a machine holds, the cheapest machine that holds a load. */
#ifndef CABINET_PLAN_SOLVE_H
#define CABINET_PLAN_SOLVE_H

#include "plan/catalog.h"
#include "plan/plan.h"

#define PLAN_SOLVE_LIST(X)                                                                                   \
    X(max_context, "max-context", "the longest context of these users on this hardware and layout")          \
    X(max_users, "max-users", "the most users of this context on this hardware and layout")                  \
    X(cheapest, "cheapest", "the cheapest hardware and layout of the catalog that hold the load")            \
    X(slo, "slo", "the fewest devices of this hardware that keep --ttft and --itl")

enum plan_solve {
#define X(name, word, meaning) PLAN_SOLVE_##name,
    PLAN_SOLVE_LIST(X)
#undef X
};

struct plan_goal {
    struct plan_promise promise;
    double usd_per_hour;  /* at most; 0: any */
    bool prompt_is_given; /* else prompts follow the context: all of it but the answer */
    bool engine_is_given; /* else each hardware has its usual one */
};

enum { PLAN_MAX_ANSWERS = 8 };

struct plan_answer {
    size_t n;                            /* 0: nothing does */
    struct plan plans[PLAN_MAX_ANSWERS]; /* the best first; one for all but cheapest */
    enum plan_limit limit;               /* what keeps it from more, or from fewer devices */
    size_t n_tried;                      /* layouts */
};

/* `plan` is what was asked, its load the start. NOT_FOUND if nothing fits: says what stands in the way. */
int plan_solve(struct plan_answer *answer, enum plan_solve kind, const struct plan_catalog *catalog,
               const struct plan *plan, const struct plan_goal *goal);

#endif
