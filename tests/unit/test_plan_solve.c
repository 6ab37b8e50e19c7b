/* The solver against plans: what it names does, one more does not, nothing cheaper does. */
#include "plan_test.h"

#include <math.h>

#include "plan/layout.h"
#include "plan/solve.h"

static struct plan_answer answer; /* too large for the stack */

static struct plan asked(const char *model, const char *hardware, uint32_t users, double context) {
    struct plan plan = {
        .model = model_of(model), .hardware = hardware_of(hardware), .load = plan_load_default()};
    plan.load.users = users;
    plan.load.context_tokens = context;
    plan.load.prompt_tokens = context - plan.load.output_tokens;
    return plan;
}

/* Of plan_make: fits and keeps what is promised. */
static bool does(const struct plan *start, const struct plan_load *load, const struct plan_goal *goal) {
    struct plan plan;
    assert_int_equal(plan_make(&plan, start->model, start->hardware, load, &goal->promise), 0);
    return plan.fits && plan_promise_is_kept(&goal->promise, &plan.time) &&
           (goal->usd_per_hour == 0 || plan.money.usd_per_hour <= goal->usd_per_hour);
}

static struct plan_load longer(const struct plan_load *load, double context) {
    struct plan_load other = *load;
    other.context_tokens = context;
    other.prompt_tokens = context - load->output_tokens;
    return other;
}

static void the_longest_context(void **state) {
    (void)state;
    struct plan plan = asked("llama-3.1-8b", "h100-sxm", 16, 8192);
    struct plan_goal goal = {.promise = {.ttft_seconds = 1e9}};
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_max_context, &catalog, &plan, &goal), 0);
    const double longest = answer.plans[0].load.context_tokens;
    struct plan_load load = longer(&plan.load, longest);
    assert_true(does(&plan, &load, &goal));
    load = longer(&plan.load, longest + 1);
    assert_false(does(&plan, &load, &goal));
    assert_int_equal(answer.limit, PLAN_LIMIT_capacity);
    /* A promise that binds before memory does. */
    goal.promise.itl_seconds = answer.plans[0].time.itl_seconds * 0.7;
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_max_context, &catalog, &plan, &goal), 0);
    assert_true(answer.plans[0].load.context_tokens < longest);
    assert_true(answer.plans[0].time.itl_seconds <= goal.promise.itl_seconds);
    assert_int_not_equal(answer.limit, PLAN_LIMIT_capacity);
    /* One user has room for more than the model was made for. */
    plan.load.users = 1;
    goal.promise = (struct plan_promise){0};
    plan.model = model_of("SmolLM2 135M");
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_max_context, &catalog, &plan, &goal), 0);
    assert_int_equal(answer.limit, PLAN_LIMIT_model_context);
    assert_true(answer.plans[0].load.context_tokens == plan.model->n_context);
}

static void the_most_users(void **state) {
    (void)state;
    struct plan plan = asked("Qwen3 32B", "h200-sxm", 1, 32768);
    struct plan_goal goal = {0};
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_max_users, &catalog, &plan, &goal), 0);
    struct plan_load load = plan.load;
    load.users = answer.plans[0].load.users;
    assert_true(does(&plan, &load, &goal));
    assert_true(answer.plans[0].memory.max_users == load.users);
    load.users++;
    assert_false(does(&plan, &load, &goal));
    assert_int_equal(answer.limit, PLAN_LIMIT_capacity);
}

/* Every hardware and layout by hand, replicas one by one. */
static void the_cheapest(void **state) {
    (void)state;
    struct plan plan = asked("llama-3.1-8b", "h100-sxm", 24, 16384);
    struct plan_goal goal = {.promise = {.itl_seconds = 0.06}, .engine_is_given = true};
    double least = INFINITY;
    for (size_t h = 0; h < catalog.n_hardware; h++) {
        const struct plan_hardware *hardware = &catalog.hardware[h];
        struct plan_load load = plan.load;
        int can;
        if (isnan(plan_device_hour_usd(hardware, &load, NULL)) || hardware->bandwidth <= 0) continue;
        for (size_t i = 0; (can = plan_layout_at(hardware, plan.model, i, &load)) >= 0; i++)
            for (load.replicas = 1; can > 0 && load.replicas <= 24; load.replicas++) {
                struct plan other;
                if (plan_make(&other, plan.model, hardware, &load, &goal.promise) < 0) break;
                if (other.fits && plan_promise_is_kept(&goal.promise, &other.time))
                    least = fmin(least, other.money.usd_per_hour);
            }
    }
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_cheapest, &catalog, &plan, &goal), 0);
    assert_true(isfinite(least));
    assert_near(answer.plans[0].money.usd_per_hour, least, 1e-9);
    for (size_t i = 0; i < answer.n; i++) {
        assert_true(answer.plans[i].fits && plan_promise_is_kept(&goal.promise, &answer.plans[i].time));
        assert_true(i == 0 || answer.plans[i].money.usd_per_hour >= answer.plans[i - 1].money.usd_per_hour);
    }
    goal.usd_per_hour = least / 2;
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_cheapest, &catalog, &plan, &goal), ERR_NOT_FOUND);
    goal.usd_per_hour = least;
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_cheapest, &catalog, &plan, &goal), 0);
}

static void the_fewest_devices(void **state) {
    (void)state;
    struct plan plan = asked("llama-3.1-70b", "h100-sxm", 8, 8192);
    struct plan_goal goal = {.promise = {.itl_seconds = 0.1}};
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_slo, &catalog, &plan, &goal), 0);
    assert_true(answer.plans[0].fits && answer.plans[0].time.itl_seconds <= 0.1);
    assert_true(plan_load_devices(&answer.plans[0].load) >= 2); /* 141 GB do not fit into one */
    assert_int_equal(answer.limit, PLAN_LIMIT_capacity);
    goal.promise.itl_seconds = 1e-7;
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_slo, &catalog, &plan, &goal), ERR_NOT_FOUND);
}

static void what_fits_nowhere_says_why(void **state) {
    (void)state;
    struct plan plan = asked("llama-3.1-405b", "rtx4090", 1, 8192), made;
    struct plan_goal goal = {0};
    assert_int_equal(plan_solve(&answer, PLAN_SOLVE_max_context, &catalog, &plan, &goal), ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(), "memory capacity"));
    assert_int_equal(plan_make(&made, plan.model, plan.hardware, &plan.load, &goal.promise), 0);
    char text[512];
    plan_what_fits(&made, text, sizeof text);
    assert_false(made.fits);
    assert_int_equal(made.limit, PLAN_LIMIT_capacity);
    assert_non_null(strstr(text, "would hold it"));
}

static void layouts_that_do_not_divide(void **state) {
    (void)state;
    struct plan plan = asked("llama-3.1-70b", "h100-sxm", 1, 8192), made;
    const struct plan_promise none = {0};
    const struct {
        uint32_t tp, pp, ep;
        double context;
        const char *word;
    } wrong[] = {
        {3, 1, 1, 8192, "64 query heads"}, {1, 7, 1, 8192, "80 layers"},    {1, 1, 4, 8192, "no experts"},
        {0, 1, 1, 8192, "layout"},         {2000000, 1, 1, 8192, "layout"}, {1, 1, 1, 0, "context tokens"},
        {1, 1, 1, 1e12, "context tokens"}, {1, 1, 1, -5, "context tokens"}, {1, 1, 1, NAN, "context tokens"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct plan_load load = plan.load;
        load.tp = wrong[i].tp;
        load.pp = wrong[i].pp;
        load.ep = wrong[i].ep;
        load.context_tokens = wrong[i].context;
        assert_int_equal(plan_make(&made, plan.model, plan.hardware, &load, &none), ERR_INVALID);
        if (strstr(err_message(), wrong[i].word) == NULL) fail_msg("%s", err_message());
    }
}

/* The line says what would do: every number up to 512 for which the layout is right, and no other. */
static void layouts_that_would_fit_are_named(void **state) {
    (void)state;
    static const struct {
        const char *model, *option;
        uint32_t ranks;
    } wrong[] = {{"llama-3.1-70b", "tp", 3}, {"Qwen2.5 7B", "tp", 7}, {"DeepSeek-V3", "pp", 2},
                 {"DeepSeek-V3", "ep", 3},   {"Mamba 2.8B", "tp", 7}, {"gpt-oss-120b", "tp", 5}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct plan_load load = plan_load_default();
        load.dp = wrong[i].option[0] == 'e' ? 8 : 1;
        uint32_t *ranks = wrong[i].option[0] == 't'   ? &load.tp
                          : wrong[i].option[0] == 'p' ? &load.pp
                                                      : &load.ep;
        const struct plan_model *model = model_of(wrong[i].model);
        *ranks = wrong[i].ranks;
        assert_int_equal(plan_load_check(&load, model), ERR_INVALID);
        char message[512], want[512] = "";
        snprintf(message, sizeof message, "%s", err_message());
        const char *list = strstr(message, ": it may be ");
        assert_non_null(list);
        assert_non_null(strstr(message, wrong[i].option));
        for (*ranks = 1; *ranks <= 512; ++*ranks)
            if (plan_load_check(&load, model) == 0)
                snprintf(want + strlen(want), sizeof want - strlen(want), "%s%u", want[0] != '\0' ? ", " : "",
                         *ranks);
        assert_string_equal(list + strlen(": it may be "), want);
    }
}

/* E2E = TTFT + (n - 1) ITL, Little's law, USD per token from tokens per second. */
static void metrics_and_money_hold_together(void **state) {
    (void)state;
    struct plan plan = asked("llama-3.1-8b", "h100-sxm", 32, 8192);
    const struct plan_promise none = {0};
    plan.load.usd_per_device_hour = 3.6;
    struct plan made;
    assert_int_equal(plan_make(&made, plan.model, plan.hardware, &plan.load, &none), 0);
    const struct plan_metrics *m = &made.metrics;
    assert_near(m->e2e_seconds, m->ttft_seconds + 511 * m->itl_seconds, 1e-12);
    assert_near(m->requests_per_second * m->e2e_seconds, 32, 1e-12);
    assert_near(m->stps, 32 * m->utps, 1e-12);
    assert_near(made.money.usd_per_million_output, 3.6 / 3600 / m->stps * 1e6, 1e-12);
    assert_near(made.money.usd_per_user_hour * 32, 3.6, 1e-12);
    assert_near(made.money.usd_per_million_input, 3.6 / 3600 / made.time.prefill_tokens_per_second * 1e6,
                1e-12);
    /* Where the cache is read as much as the weights. */
    struct plan_step step;
    plan_step_of(&step, made.model, made.hardware, &made.load, 32, made.phases.crossover_tokens, NULL);
    assert_true(step.kv_read_bytes >= step.weight_bytes);
    plan_step_of(&step, made.model, made.hardware, &made.load, 32, made.phases.crossover_tokens - 1, NULL);
    assert_true(step.kv_read_bytes < step.weight_bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_context),
        cmocka_unit_test(the_most_users),
        cmocka_unit_test(the_cheapest),
        cmocka_unit_test(the_fewest_devices),
        cmocka_unit_test(what_fits_nowhere_says_why),
        cmocka_unit_test(layouts_that_do_not_divide),
        cmocka_unit_test(layouts_that_would_fit_are_named),
        cmocka_unit_test(metrics_and_money_hold_together),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
