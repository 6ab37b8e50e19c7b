/* A plan as JSON: docs/json.md, "plan". */
#ifndef CABINET_PLAN_PLAN_JSON_H
#define CABINET_PLAN_PLAN_JSON_H

#include <jansson.h>

#include "plan/plan.h"

/* A new object; NULL without memory. Numbers that are not known, or have no end, are null. */
json_t *plan_json(const struct plan *plan);

#endif
