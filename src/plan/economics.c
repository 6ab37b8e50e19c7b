#include "plan/economics.h"

#include <math.h>
#include <string.h>

#include "plan/geometry.h"
#include "plan/memory.h"
#include "plan/money.h"
#include "plan/time.h"

enum { HOURS_A_MONTH = 730, SECONDS_AN_HOUR = 3600 };

struct plan_economics_opts plan_economics_opts_default(void) {
    return (struct plan_economics_opts){.think_seconds = 60,
                                        .turn_tokens = 256,
                                        .price = 0,
                                        .flat_price = 20,
                                        .flat_hours = 40,
                                        .free_tier = 0};
}

/* One machine and its price, asked again and again for another context. */
struct firm {
    const struct plan_model *model;
    const struct plan_hardware *hardware;
    const struct plan_load *load;
    const struct plan_economics_opts *opts;
    double usd_per_hour;
};

static struct plan_economics_point point_at(const struct firm *firm, double context) {
    struct plan_load load = *firm->load;
    load.context_tokens = context;
    load.prompt_tokens = fmax(1, context - load.output_tokens);
    load.shared_tokens = fmin(load.shared_tokens, context);
    load.users = 1;
    struct plan_memory memory;
    plan_memory_of(&memory, firm->model, firm->hardware, &load, NULL);
    struct plan_economics_point point = {.context_tokens = context, .users = memory.max_users};
    double working = fmin(floor(memory.max_users), 1 << 20);
    if (working < 1) {
        point.users = 0;
        point.usd_per_million_output = point.usd_per_million_input = point.usd_per_user_hour = INFINITY;
        point.remember_usd = point.compute_usd = point.flat_loss_usd = INFINITY;
        return point;
    }
    double ranks = (double)load.dp * load.replicas, usd_per_second = firm->usd_per_hour / SECONDS_AN_HOUR;
    struct plan_step step;
    plan_step_of(&step, firm->model, firm->hardware, &load, ceil(working / ranks), context, NULL);
    struct plan_time alone, turn;
    struct plan_load of_turn = load;
    of_turn.prompt_tokens = context;
    of_turn.hit_rate = fmax(0, 1 - firm->opts->turn_tokens / context);
    bool has_times = plan_time_of(&alone, firm->model, firm->hardware, &load, NULL) == 0 &&
                     plan_time_of(&turn, firm->model, firm->hardware, &of_turn, NULL) == 0;
    point.usd_per_million_output = usd_per_second * step.seconds / working * 1e6;
    point.usd_per_million_input =
        has_times ? usd_per_second / (alone.prefill_tokens_per_second * ranks) * 1e6 : INFINITY;
    point.usd_per_user_hour = firm->usd_per_hour / working;
    double answer_seconds = load.output_tokens * step.seconds;
    double prefill_seconds = has_times ? turn.prefill_seconds : INFINITY;
    point.remember_usd = usd_per_second / working * (firm->opts->think_seconds + answer_seconds);
    point.compute_usd = usd_per_second * (prefill_seconds / ranks + answer_seconds / working);
    point.flat_loss_usd = point.usd_per_user_hour * firm->opts->flat_hours - firm->opts->flat_price;
    return point;
}

typedef bool holds(const struct firm *firm, const struct plan_economics_point *point);

static bool is_cheap_to_hold(const struct firm *firm, const struct plan_economics_point *point) {
    (void)firm;
    return point->users >= 1 && point->remember_usd <= point->compute_usd;
}
static bool is_under_price(const struct firm *firm, const struct plan_economics_point *point) {
    return point->usd_per_million_output <= firm->opts->price;
}
static bool is_in_free_tier(const struct firm *firm, const struct plan_economics_point *point) {
    return point->usd_per_user_hour * HOURS_A_MONTH <= firm->opts->free_tier;
}

/* The longest context up to `most` at which `condition` holds, which it does up to some length and then no
 * more. 0 if never; INFINITY if at `most` too. */
static double longest(const struct firm *firm, double most, holds *condition) {
    struct plan_economics_point point = point_at(firm, most);
    if (condition(firm, &point)) return INFINITY;
    double low = 1, high = most;
    point = point_at(firm, low);
    if (!condition(firm, &point)) return 0;
    while (high - low > 1) {
        double middle = floor((low + high) / 2);
        point = point_at(firm, middle);
        if (condition(firm, &point))
            low = middle;
        else
            high = middle;
    }
    return low;
}

static double longest_context(const struct firm *firm) {
    struct plan_load load = *firm->load;
    load.users = 1;
    struct plan_memory memory;
    plan_memory_of(&memory, firm->model, firm->hardware, &load, NULL);
    double most = firm->model->n_context > 0 ? firm->model->n_context : 1 << 20;
    return fmax(1, fmin(most, floor(memory.max_context_tokens)));
}

/* Holding against computing again, of one token at the load's context. */
static void find_break_even(struct plan_economics *economics, const struct firm *firm) {
    const struct plan_load *load = firm->load;
    struct plan_economics_point point = point_at(firm, load->context_tokens);
    /* A place in memory is paid for by the bytes that it takes of what weights leave. */
    economics->held_usd_per_million_hour =
        point.users >= 1 ? point.usd_per_user_hour / load->context_tokens * 1e6 : INFINITY;
    economics->computed_usd_per_million = point.usd_per_million_input;
    economics->break_even_seconds =
        economics->computed_usd_per_million / economics->held_usd_per_million_hour * SECONDS_AN_HOUR;
}

void plan_economics_of(struct plan_economics *economics, const struct plan_model *model,
                       const struct plan_hardware *hardware, const struct plan_load *load,
                       const struct plan_economics_opts *opts, struct plan_assumptions *assumptions) {
    memset(economics, 0, sizeof *economics);
    struct firm firm = {model, hardware, load, opts,
                        plan_device_hour_usd(hardware, load, assumptions) * plan_load_devices(load)};
    economics->usd_per_hour = firm.usd_per_hour;
    double most = longest_context(&firm);
    for (double context = 1024; economics->n_points < PLAN_MAX_POINTS; context *= 2) {
        economics->points[economics->n_points++] = point_at(&firm, fmin(context, most));
        if (context >= most) break;
    }
    economics->remember_tokens = longest(&firm, most, is_cheap_to_hold);
    economics->ceiling_tokens = opts->price > 0 ? longest(&firm, most, is_under_price) : 0;
    economics->free_tier_tokens = opts->free_tier > 0 ? longest(&firm, most, is_in_free_tier) : 0;
    find_break_even(economics, &firm);
}

double plan_devices_for_cache(const struct plan_model *model, const struct plan_kv_format *format,
                              const struct plan_hardware *hardware, double users, double context) {
    return users * (plan_kv_bytes(model, format, context) + plan_state_bytes(model)) / hardware->memory_bytes;
}
