/* Many questions in one call: a line of JSON with the fields of a published measurement in, its prediction
 * out. */
#ifndef CABINET_PLAN_BATCH_H
#define CABINET_PLAN_BATCH_H

#include <jansson.h>
#include <stdio.h>

#include "plan/catalog.h"

/* {"id", "metric", "predicted" (in the metric's unit, or null), "unit", "in_scope", "reason"}; "reason" says
 * what was assumed, or why there is no prediction. An unusable line gives {"error"} instead. New reference,
 * NULL without memory. */
json_t *plan_batch_answer(const struct plan_catalog *catalog, const json_t *line);

struct plan_batch_counts {
    size_t n_lines, n_in_scope, n_errors;
};
/* Answers each line of `in` by one on `out`; empty lines are passed over. A line that is no JSON gives
 * {"line", "error"} and the rest goes on. IO when reading or writing fails. */
int plan_batch_run(const struct plan_catalog *catalog, FILE *in, FILE *out, struct plan_batch_counts *counts);

#endif
