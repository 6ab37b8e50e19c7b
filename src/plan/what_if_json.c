#include "plan/what_if_json.h"

#include <math.h>

json_t *plan_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *of_outcome(const struct plan_outcome *outcome, const struct plan_outcome *base) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "memory_bytes",
                     plan_json_number(outcome->memory_bytes), "seconds_per_token",
                     plan_json_number(outcome->seconds_per_token), "max_users",
                     plan_json_number(outcome->users), "usd_per_million_output_tokens",
                     plan_json_number(outcome->usd_per_million_output), "memory_factor",
                     plan_json_number(outcome->memory_bytes / base->memory_bytes), "seconds_factor",
                     plan_json_number(outcome->seconds_per_token / base->seconds_per_token), "users_factor",
                     plan_json_number(outcome->users / base->users), "usd_factor",
                     plan_json_number(outcome->usd_per_million_output / base->usd_per_million_output));
}

static json_t *of_row(const struct plan_what_if_row *row, const struct plan_outcome *base) {
    json_t *object = json_pack("{s:s, s:s, s:s?, s:b}", "remedy", row->remedy->name, "title",
                               row->remedy->title, "cabinet", row->remedy->offered, "applies", row->applies);
    if (row->applies)
        json_object_update_new(object, of_outcome(&row->outcome, base));
    else
        json_object_set_new(object, "reason", json_string(row->reason));
    return object;
}

json_t *plan_what_if_json(const struct plan_what_if *table) {
    json_t *rows = json_array();
    for (size_t i = 0; i < table->n; i++) json_array_append_new(rows, of_row(&table->rows[i], &table->base));
    json_t *best = json_null();
    if (table->best[0] != NULL) {
        best = json_pack("{s:[s, s]}", "remedies", table->best[0]->name, table->best[1]->name);
        json_object_update_new(best, of_outcome(&table->best_outcome, &table->base));
    }
    return json_pack("{s:o, s:o, s:o}", "base", of_outcome(&table->base, &table->base), "remedies", rows,
                     "best_pair", best);
}

static json_t *of_point(const struct plan_economics_point *point) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "context_tokens",
                     plan_json_number(point->context_tokens), "users", plan_json_number(point->users),
                     "usd_per_million_output_tokens", plan_json_number(point->usd_per_million_output),
                     "usd_per_million_input_tokens", plan_json_number(point->usd_per_million_input),
                     "usd_per_user_hour", plan_json_number(point->usd_per_user_hour), "remember_usd_per_turn",
                     plan_json_number(point->remember_usd), "compute_usd_per_turn",
                     plan_json_number(point->compute_usd), "flat_price_loss_usd",
                     plan_json_number(point->flat_loss_usd));
}

json_t *plan_economics_json(const struct plan_economics *economics) {
    json_t *points = json_array();
    for (size_t i = 0; i < economics->n_points; i++)
        json_array_append_new(points, of_point(&economics->points[i]));
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "usd_per_hour", plan_json_number(economics->usd_per_hour),
        "remember_above_tokens", plan_json_number(economics->remember_tokens), "economic_ceiling_tokens",
        plan_json_number(economics->ceiling_tokens), "free_tier_tokens",
        plan_json_number(economics->free_tier_tokens), "cache_break_even_seconds",
        plan_json_number(economics->break_even_seconds), "computed_usd_per_million_tokens",
        plan_json_number(economics->computed_usd_per_million), "held_usd_per_million_token_hours",
        plan_json_number(economics->held_usd_per_million_hour), "points", points);
}
