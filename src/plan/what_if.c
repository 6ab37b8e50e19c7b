#include "plan/what_if.h"

#include <math.h>
#include <string.h>

#include "plan/memory.h"
#include "plan/money.h"
#include "plan/time.h"

/* Between two tokens of a user. Memory and arithmetic overlap; with drafts each user's arithmetic is done for
 * several positions, weights and cache are read once for all of them. */
static double token_seconds(const struct plan_case *plan, double rank_users) {
    struct plan_step step;
    double context = plan->load.context_tokens;
    plan_step_of(&step, &plan->model, &plan->hardware, &plan->load, fmax(rank_users, 1), context, NULL);
    double memory = step.weight_seconds + step.kv_read_seconds + step.kv_write_seconds;
    double seconds = step.seconds;
    if (plan->positions > 1) {
        double others = step.seconds - fmax(memory, step.compute_seconds);
        seconds =
            others + fmax(memory, step.compute_seconds * plan->positions) + plan->draft_steps * step.seconds;
    }
    if (plan->tier_bandwidth > 0) {
        /* Each turn brings a user's cache back; its answer's tokens share that time. */
        double bytes = plan_kv_bytes(&plan->model, plan->load.kv, context) * fmax(rank_users, 1);
        seconds += bytes / plan->tier_bandwidth / fmax(plan->load.output_tokens, 1);
    }
    return seconds / plan->tokens_per_step;
}

struct plan_outcome plan_outcome_of(const struct plan_case *plan) {
    struct plan_outcome outcome;
    struct plan_memory memory;
    struct plan_load load = plan->load;
    /* Where conversations at rest wait in a tier, only the others take memory. */
    load.users = (uint32_t)fmax(1, ceil(plan->load.users * plan->users_share));
    plan_memory_of(&memory, &plan->model, &plan->hardware, &load, NULL);
    double ranks = (double)load.dp * load.replicas;
    double in_memory = memory.max_users;
    outcome.memory_bytes = memory.device_bytes * plan_load_devices(&load);
    outcome.seconds_per_token = token_seconds(plan, plan_load_rank_users(&plan->load));
    outcome.users = floor(in_memory / plan->users_share);
    double working = fmin(in_memory, PLAN_MOST_USERS);
    double usd_per_hour = plan_device_hour_usd(&plan->hardware, &plan->load, NULL) * plan_load_devices(&load);
    double tokens_per_hour = working < 1 ? 0 : 3600 * working / token_seconds(plan, ceil(working / ranks));
    outcome.usd_per_million_output = tokens_per_hour > 0 ? usd_per_hour / tokens_per_hour * 1e6 : INFINITY;
    return outcome;
}

static bool is_better(const struct plan_outcome *a, const struct plan_outcome *b) {
    if (a->usd_per_million_output != b->usd_per_million_output)
        return a->usd_per_million_output < b->usd_per_million_output;
    return a->seconds_per_token < b->seconds_per_token;
}

/* Of remedies that apply alone; one may leave the other nothing to do. */
static void find_best_pair(struct plan_what_if *table, const struct plan_case *base,
                           const struct plan_remedy_opts *opts, const struct plan_catalog *catalog) {
    char reason[PLAN_REMEDY_REASON];
    for (size_t i = 0; i < table->n; i++)
        for (size_t j = i + 1; j < table->n; j++) {
            if (!table->rows[i].applies || !table->rows[j].applies) continue;
            struct plan_case both = *base;
            const struct plan_remedy *first = table->rows[i].remedy, *second = table->rows[j].remedy;
            if (!first->apply(&both, opts, catalog, reason) || !second->apply(&both, opts, catalog, reason))
                continue;
            struct plan_outcome outcome = plan_outcome_of(&both);
            if (table->best[0] != NULL && !is_better(&outcome, &table->best_outcome)) continue;
            table->best[0] = first;
            table->best[1] = second;
            table->best_outcome = outcome;
        }
}

void plan_what_if_of(struct plan_what_if *table, const struct plan_model *model,
                     const struct plan_hardware *hardware, const struct plan_load *load,
                     const struct plan_remedy_opts *opts, const struct plan_catalog *catalog) {
    memset(table, 0, sizeof *table);
    struct plan_case base;
    plan_case_open(&base, model, hardware, load);
    table->base = plan_outcome_of(&base);
    const struct plan_remedy *remedies = plan_remedies(&table->n);
    ASSERT(table->n <= PLAN_MAX_REMEDIES);
    for (size_t i = 0; i < table->n; i++) {
        struct plan_what_if_row *row = &table->rows[i];
        struct plan_case changed = base;
        row->remedy = &remedies[i];
        row->applies = remedies[i].apply(&changed, opts, catalog, row->reason);
        if (row->applies) row->outcome = plan_outcome_of(&changed);
    }
    find_best_pair(table, &base, opts, catalog);
}
