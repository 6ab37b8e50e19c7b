/* A published measurement, or a question of that form: the fields of one line of a batch. */
#ifndef CABINET_PLAN_POINT_H
#define CABINET_PLAN_POINT_H

#include <jansson.h>

#include "plan/assumption.h"
#include "plan/catalog.h"
#include "plan/load.h"

/* Numbers are NAN and texts NULL where the line has null or nothing. Texts are borrowed from the line. */
struct plan_point {
    const char *id, *category, *model, *hardware, *engine, *weight_format, *kv_dtype, *metric, *date;
    double n_devices, tp, pp, ep, dp, weight_bytes, batch, input_tokens, output_tokens, context_tokens;
};

/* INVALID names the member whose type or range is wrong. Unknown members are left alone. */
int plan_point_read(struct plan_point *point, const json_t *line);

/* What a point asks, in the planner's words; everything that it leaves open is filled in and marked. */
struct plan_question {
    struct plan_model model;
    struct plan_hardware hardware;
    struct plan_load load;
    bool has_hardware;
};
/* NOT_FOUND: a model that cannot be told, or hardware that the metric needs. */
int plan_question_of(struct plan_question *question, const struct plan_catalog *catalog,
                     const struct plan_point *point, struct plan_assumptions *assumptions);

#endif
