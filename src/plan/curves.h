/* A plan along the length of the context: what the pictures and the page draw. */
#ifndef CABINET_PLAN_CURVES_H
#define CABINET_PLAN_CURVES_H

#include <jansson.h>

#include "plan/load.h"
#include "plan/what_if.h"

struct plan_curve_point {
    double context_tokens;
    double weight_bytes, kv_bytes, other_bytes; /* on all devices, the users as asked */
    /* Of a decode step, the users as asked. Arithmetic overlaps with the transfers. */
    double weight_seconds, kv_seconds, compute_seconds, other_seconds, step_seconds;
    double users;                  /* who fit; INFINITY: no end */
    double usd_per_million_output; /* with as many as fit, at most PLAN_MOST_USERS, decoding; INFINITY: none
                                      fits */
};

enum { PLAN_CURVE_POINTS = 49, PLAN_CURVE_TITLE = 320 };

struct plan_curves {
    char title[PLAN_CURVE_TITLE];  /* "Llama 3.1 8B on H100, 8 users, f16" */
    double users, context_tokens;  /* as asked */
    double capacity_bytes;         /* of all devices */
    double crossover_tokens;       /* where a step reads as much cache as weights; INFINITY: never */
    struct plan_curve_point asked; /* at context_tokens */
    struct plan_curve_point points[PLAN_CURVE_POINTS]; /* even steps of the logarithm, from 256 tokens */
};

/* As far as the model's own context, or the asked one if that is longer. The load must have passed
 * plan_load_check. */
void plan_curves_of(struct plan_curves *curves, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load);
/* A new reference, or NULL out of memory; with the remedies if `table` is not NULL. */
json_t *plan_curves_json(const struct plan_curves *curves, const struct plan_what_if *table);

#endif
