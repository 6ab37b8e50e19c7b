/* What remembering costs: money as a function of the context's length, on one machine. docs/planner.md,
 * "Economics", derives the formulas. */
#ifndef CABINET_PLAN_ECONOMICS_H
#define CABINET_PLAN_ECONOMICS_H

#include "plan/assumption.h"
#include "plan/load.h"

struct plan_economics_opts {
    double think_seconds; /* between an answer and the next question, while the cache is held */
    double turn_tokens;   /* new prompt tokens of a turn; its answer is the load's output_tokens */
    double price;         /* USD per million output tokens asked of users; 0: no ceiling */
    double flat_price;    /* USD a user and month */
    double flat_hours;    /* of use a month that a flat price buys */
    double free_tier;     /* USD a user and month that a free tier may cost; 0: none */
};
struct plan_economics_opts plan_economics_opts_default(void);

/* A machine full of conversations of one length. */
struct plan_economics_point {
    double context_tokens;
    double users;                  /* who fit; 0: not even one, and then the rest is INFINITY */
    double usd_per_million_output; /* all of them decoding */
    double usd_per_million_input;  /* prompts of that length, computed */
    double usd_per_user_hour;      /* of holding a conversation's place */
    double remember_usd,
        compute_usd;      /* of one turn: its share of the memory while it is held; of the device's time */
    double flat_loss_usd; /* a month's cost of a user who uses all hours, less the flat price; < 0: a gain */
};

enum { PLAN_MAX_POINTS = 24 };

struct plan_economics {
    double usd_per_hour; /* of all devices */
    size_t n_points;
    struct plan_economics_point points[PLAN_MAX_POINTS]; /* contexts doubling, from 1,024 */
    /* Contexts in tokens; 0: from the first token on; INFINITY: at no length that fits. */
    double remember_tokens;  /* above it a turn costs more to remember than to compute */
    double ceiling_tokens;   /* the longest at the asked price */
    double free_tier_tokens; /* the longest whose place, held all month, costs no more than free_tier */
    /* Seconds after which holding a token costs more than computing it again, at the load's context. */
    double break_even_seconds;
    double computed_usd_per_million,
        held_usd_per_million_hour; /* of a million tokens: computing, an hour's holding */
};

/* The longest context looked at is the model's own, or the longest that fits one user. */
void plan_economics_of(struct plan_economics *economics, const struct plan_model *model,
                       const struct plan_hardware *hardware, const struct plan_load *load,
                       const struct plan_economics_opts *opts, struct plan_assumptions *assumptions);

/* Devices' worth of memory that the caches of `users` with `context` tokens fill, weights aside. */
double plan_devices_for_cache(const struct plan_model *model, const struct plan_kv_format *format,
                              const struct plan_hardware *hardware, double users, double context);

#endif
