/* Remedies and economics as JSON: what `cabinet plan --json` and the server's page give. Keys: docs/json.md.
 */
#ifndef CABINET_PLAN_WHAT_IF_JSON_H
#define CABINET_PLAN_WHAT_IF_JSON_H

#include <jansson.h>

#include "plan/economics.h"
#include "plan/what_if.h"

/* A number; null if it is without end or not known. */
json_t *plan_json_number(double value);
/* New references, or NULL out of memory. What is without end or not known is null. */
json_t *plan_what_if_json(const struct plan_what_if *table);
json_t *plan_economics_json(const struct plan_economics *economics);

#endif
