#include "plan/curves.h"
#include "plan/what_if_json.h"

static json_t *of_point(const struct plan_curve_point *point) {
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "context_tokens",
        plan_json_number(point->context_tokens), "weight_bytes", plan_json_number(point->weight_bytes),
        "kv_bytes", plan_json_number(point->kv_bytes), "other_bytes", plan_json_number(point->other_bytes),
        "weight_seconds", plan_json_number(point->weight_seconds), "kv_seconds",
        plan_json_number(point->kv_seconds), "compute_seconds", plan_json_number(point->compute_seconds),
        "other_seconds", plan_json_number(point->other_seconds), "step_seconds",
        plan_json_number(point->step_seconds), "users", plan_json_number(point->users),
        "usd_per_million_output_tokens", plan_json_number(point->usd_per_million_output));
}

json_t *plan_curves_json(const struct plan_curves *curves, const struct plan_what_if *table) {
    json_t *points = json_array();
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++)
        json_array_append_new(points, of_point(&curves->points[i]));
    json_t *object = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "title", curves->title, "users",
        plan_json_number(curves->users), "context_tokens", plan_json_number(curves->context_tokens),
        "capacity_bytes", plan_json_number(curves->capacity_bytes), "crossover_tokens",
        plan_json_number(curves->crossover_tokens), "asked", of_point(&curves->asked), "points", points);
    if (table != NULL) json_object_set_new(object, "what_if", plan_what_if_json(table));
    return object;
}
