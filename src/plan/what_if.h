/* One table of what each remedy buys for a model, a machine and a load, alone and the best two together. */
#ifndef CABINET_PLAN_WHAT_IF_H
#define CABINET_PLAN_WHAT_IF_H

#include "plan/remedy.h"

struct plan_outcome {
    double memory_bytes;           /* weights, cache and the rest, on all devices together */
    double seconds_per_token;      /* between two tokens of a user, at the load asked for */
    double users;                  /* who fit at that context; INFINITY: no end */
    double usd_per_million_output; /* with as many users as fit, at most PLAN_MOST_USERS */
};
enum { PLAN_MOST_USERS = 4096 };

struct plan_outcome plan_outcome_of(const struct plan_case *plan);

enum { PLAN_MAX_REMEDIES = 24 };

struct plan_what_if {
    struct plan_outcome base;
    size_t n;
    struct plan_what_if_row {
        const struct plan_remedy *remedy;
        bool applies;
        char reason[PLAN_REMEDY_REASON]; /* why not */
        struct plan_outcome outcome;
    } rows[PLAN_MAX_REMEDIES];
    /* The two that together make output cheapest; NULL if no two go together. */
    const struct plan_remedy *best[2];
    struct plan_outcome best_outcome;
};

/* The load must have passed plan_load_check. */
void plan_what_if_of(struct plan_what_if *table, const struct plan_model *model,
                     const struct plan_hardware *hardware, const struct plan_load *load,
                     const struct plan_remedy_opts *opts, const struct plan_catalog *catalog);

#endif
