#include "plan/solve.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "plan/layout.h"

struct search {
    const struct plan_goal *goal;
    const struct plan_model *model;
    const struct plan_hardware *hardware;
    enum plan_limit limit; /* of the latest load that did not do */
    struct plan plan;      /* the latest load tried */
};

static struct plan_load at_context(const struct plan_load *load, double context,
                                   const struct plan_goal *goal) {
    struct plan_load other = *load;
    other.context_tokens = context;
    other.shared_tokens = fmin(other.shared_tokens, context);
    if (!goal->prompt_is_given) {
        other.output_tokens = fmin(load->output_tokens, context);
        other.prompt_tokens = fmax(1, context - other.output_tokens);
    }
    return other;
}

/* Whether the load fits and keeps the promise. Else `limit` says what it breaks on. */
static bool serves(struct search *search, const struct plan_load *load) {
    struct plan *plan = &search->plan;
    const struct plan_promise *promise = &search->goal->promise;
    if (plan_make(plan, search->model, search->hardware, load, promise) < 0) return false;
    search->limit = plan->limit;
    if (!plan->fits) return false;
    if (promise->itl_seconds > 0 && plan->time.itl_seconds > promise->itl_seconds) return false;
    search->limit = plan->time.prefill_limit;
    if (promise->ttft_seconds > 0 && plan->time.ttft_seconds > promise->ttft_seconds) return false;
    search->limit = plan->limit;
    return true;
}

/* Of the load that serves. Where no price is known no budget holds. */
static bool is_within_budget(struct search *search) {
    if (search->goal->usd_per_hour == 0 || search->plan.money.usd_per_hour <= search->goal->usd_per_hour)
        return true;
    search->limit = PLAN_LIMIT_money;
    return false;
}

static bool does(struct search *search, const struct plan_load *load) {
    return serves(search, load) && is_within_budget(search);
}

/* Puts the load with `value` users or tokens to the test. */
static bool value_does(struct search *search, enum plan_solve kind, const struct plan_load *load,
                       double value) {
    struct plan_load other = *load;
    if (kind == PLAN_SOLVE_max_context)
        other = at_context(load, value, search->goal);
    else
        other.users = (uint32_t)value;
    return does(search, &other);
}

/* Of the load tried last, one token or user; what would fit is said where memory is in the way. */
static int nothing_does(const struct search *search, const char *what) {
    char fits[256] = "";
    if (search->limit == PLAN_LIMIT_capacity) {
        memcpy(fits, ": ", 3);
        plan_what_fits(&search->plan, fits + 2, sizeof fits - 2);
    }
    return ERR(NOT_FOUND, "not even one %s does on %s: %s is in the way%s", what, search->hardware->id,
               plan_limit_phrase(search->limit), fits);
}

/* The largest value that does, up to `most` with `most_limit` as the reason for it. */
static int largest(struct plan_answer *answer, struct search *search, enum plan_solve kind,
                   const struct plan_load *load, double most, enum plan_limit most_limit) {
    double low = 0, high = 1;
    while (high <= most && value_does(search, kind, load, high)) {
        low = high;
        high *= 2;
    }
    if (high > most) high = most + 1;
    while (high - low > 1) {
        const double middle = floor(low + (high - low) / 2);
        if (value_does(search, kind, load, middle))
            low = middle;
        else
            high = middle;
    }
    if (low == 0) return nothing_does(search, kind == PLAN_SOLVE_max_context ? "token of context" : "user");
    answer->limit = most_limit;
    if (low < most) {
        (void)value_does(search, kind, load, low + 1);
        answer->limit = search->limit;
    }
    (void)value_does(search, kind, load, low);
    answer->plans[answer->n++] = search->plan;
    return 0;
}

/* Keeps the cheapest, sorted; one a device type. */
static void keep(struct plan_answer *answer, const struct plan *plan) {
    size_t at = answer->n;
    for (size_t i = 0; i < answer->n; i++)
        if (answer->plans[i].hardware == plan->hardware) {
            if (answer->plans[i].money.usd_per_hour <= plan->money.usd_per_hour) return;
            for (; i + 1 < answer->n; i++) answer->plans[i] = answer->plans[i + 1];
            at = --answer->n;
            break;
        }
    while (at > 0 && plan->money.usd_per_hour < answer->plans[at - 1].money.usd_per_hour) at--;
    if (at == PLAN_MAX_ANSWERS) return;
    if (answer->n < PLAN_MAX_ANSWERS) answer->n++;
    for (size_t i = answer->n - 1; i > at; i--) answer->plans[i] = answer->plans[i - 1];
    answer->plans[at] = *plan;
}

enum { MOST_REPLICAS = 4096 };

/* The fewest replicas of a layout that serve; the users divide over them. False if none do, or cost too much.
 */
static bool enough_replicas(struct search *search, struct plan_load *load) {
    uint32_t low = 0, high = 1;
    const uint32_t most = load->users < MOST_REPLICAS ? load->users : MOST_REPLICAS;
    for (;; high *= 2) {
        load->replicas = high < most ? high : most;
        if (serves(search, load)) break;
        if (load->replicas == most) return false;
        low = load->replicas;
    }
    high = load->replicas;
    while (high - low > 1) {
        load->replicas = low + (high - low) / 2;
        if (serves(search, load))
            high = load->replicas;
        else
            low = load->replicas;
    }
    load->replicas = high;
    return does(search, load);
}

static void try_hardware(struct plan_answer *answer, struct search *search, const struct plan_load *asked,
                         bool by_devices) {
    struct plan_load load = *asked;
    int can;
    if (!search->goal->engine_is_given) load.engine = plan_usual_engine(search->hardware, &load);
    for (size_t i = 0; (can = plan_layout_at(search->hardware, search->model, i, &load)) >= 0; i++) {
        if (can == 0) continue;
        answer->n_tried++;
        if (!enough_replicas(search, &load)) {
            answer->limit = search->limit;
            continue;
        }
        if (!by_devices)
            keep(answer, &search->plan);
        else if (answer->n == 0 || plan_load_devices(&load) < plan_load_devices(&answer->plans[0].load)) {
            answer->plans[0] = search->plan;
            answer->n = 1;
        }
    }
}

/* What the answer with a replica, half its tensor group or a stage less breaks on; of one device alone what
 * binds its steps. */
static enum plan_limit limit_of_less(struct search *search, const struct plan *best) {
    struct plan_load load = best->load;
    search->hardware = best->hardware;
    if (load.replicas > 1)
        load.replicas--;
    else if (load.dp > 1)
        load.dp /= 2;
    else if (load.tp > 1)
        load.tp /= 2;
    else if (load.pp > 1)
        load.pp = 1;
    else
        return best->limit;
    if (load.ep > load.tp * load.dp) load.ep = load.tp * load.dp;
    return serves(search, &load) ? best->limit : search->limit;
}

static void try_catalog(struct plan_answer *answer, struct search *search, const struct plan_catalog *catalog,
                        const struct plan_load *load) {
    for (size_t i = 0; i < catalog->n_hardware; i++) {
        search->hardware = &catalog->hardware[i];
        if (search->hardware->memory_bytes <= 0 || search->hardware->bandwidth <= 0) continue;
        if (isnan(plan_device_hour_usd(search->hardware, load, NULL))) continue;
        try_hardware(answer, search, load, false);
    }
}

static int cheapest(struct plan_answer *answer, struct search *search, const struct plan_catalog *catalog,
                    const struct plan_load *load) {
    const struct plan_goal *goal = search->goal;
    char above[160] = "";
    try_catalog(answer, search, catalog, load);
    if (answer->n == 0 && goal->usd_per_hour > 0) { /* what any budget would buy */
        struct plan_goal any = *goal;
        struct plan_answer *dearer = mem_alloc(1, sizeof *dearer);
        if (dearer == NULL) return ERR_NO_MEMORY;
        any.usd_per_hour = 0;
        search->goal = &any;
        try_catalog(dearer, search, catalog, load);
        search->goal = goal;
        const struct plan *best = &dearer->plans[0];
        if (dearer->n > 0)
            snprintf(above, sizeof above, "; %.0f x %s would do for %.2f USD an hour",
                     plan_load_devices(&best->load), best->hardware->id, best->money.usd_per_hour);
        mem_free(dearer);
    }
    if (answer->n == 0)
        return ERR(NOT_FOUND,
                   "no hardware of the catalog with a price does, in %zu layouts: %s is in the way%s",
                   answer->n_tried, plan_limit_phrase(answer->limit), above);
    answer->limit = limit_of_less(search, &answer->plans[0]);
    return 0;
}

static int fewest_devices(struct plan_answer *answer, struct search *search, const struct plan_load *load) {
    try_hardware(answer, search, load, true);
    if (answer->n == 0)
        return ERR(NOT_FOUND, "no layout of %s does, of %zu tried: %s is in the way", search->hardware->id,
                   answer->n_tried, plan_limit_phrase(answer->limit));
    answer->limit = limit_of_less(search, &answer->plans[0]);
    return 0;
}

int plan_solve(struct plan_answer *answer, enum plan_solve kind, const struct plan_catalog *catalog,
               const struct plan *plan, const struct plan_goal *goal) {
    *answer = (struct plan_answer){0};
    struct search *search = mem_alloc(1, sizeof *search);
    if (search == NULL) return ERR_NO_MEMORY;
    *search = (struct search){.goal = goal, .model = plan->model, .hardware = plan->hardware};
    int result = 0;
    switch (kind) {
    case PLAN_SOLVE_max_context: {
        const double own = plan->model->n_context > 0 ? plan->model->n_context : 1e8;
        result = largest(answer, search, kind, &plan->load, own, PLAN_LIMIT_model_context);
        break;
    }
    case PLAN_SOLVE_max_users:
        result = largest(answer, search, kind, &plan->load, 1e7, PLAN_LIMIT_capacity);
        break;
    case PLAN_SOLVE_cheapest: result = cheapest(answer, search, catalog, &plan->load); break;
    case PLAN_SOLVE_slo: result = fewest_devices(answer, search, &plan->load); break;
    }
    mem_free(search);
    return result;
}
