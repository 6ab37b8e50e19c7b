/* Remedies, economics and curves of the planner, against arithmetic done here from the models' published
 * shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plan/curves.h"
#include "plan/economics.h"
#include "plan/memory.h"
#include "plan/what_if.h"
#include "plan/what_if_json.h"

static struct plan_catalog catalog;

static int open_catalog(void **state) {
    (void)state;
    return plan_catalog_open(&catalog, NULL);
}

static int close_catalog(void **state) {
    (void)state;
    plan_catalog_close(&catalog);
    return 0;
}

static void check_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.12g is not %.12g", value, expected);
}

static const struct plan_remedy *remedy(const char *name) {
    size_t n;
    const struct plan_remedy *all = plan_remedies(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0) return &all[i];
    fail_msg("no remedy %s", name);
    return NULL;
}

/* Llama 3.1 8B: 32 layers, 8 KV heads of 128, so 131,072 bytes a token in f16. */
enum {
    USERS = 8,
    CONTEXT = 65536,
    LAYERS = 32,
    HEADS = 8,
    DIM = 128,
    F16_BYTES = LAYERS * HEADS * DIM * 2 * 2
};

static struct plan_case case_of(const char *model, const char *hardware) {
    struct plan_case plan;
    struct plan_load load = plan_load_default();
    load.users = USERS;
    load.context_tokens = CONTEXT;
    plan_case_open(&plan, plan_catalog_model(&catalog, model), plan_catalog_hardware(&catalog, hardware),
                   &load);
    return plan;
}

static struct plan_case llama(void) { return case_of("Llama 3.1 8B", "h100-sxm"); }

static bool apply(struct plan_case *plan, const char *name, char *reason) {
    struct plan_remedy_opts opts = plan_remedy_opts_default();
    return remedy(name)->apply(plan, &opts, &catalog, reason);
}

static double cache_bytes(const struct plan_case *plan) {
    struct plan_memory memory;
    plan_memory_of(&memory, &plan->model, &plan->hardware, &plan->load, NULL);
    return memory.kv_bytes;
}

static void check_cache(const char *name, double bytes) {
    char reason[PLAN_REMEDY_REASON] = "";
    struct plan_case plan = llama();
    check_near(cache_bytes(&plan), (double)USERS * CONTEXT * F16_BYTES, 1);
    if (!apply(&plan, name, reason)) fail_msg("%s: %s", name, reason);
    if (fabs(cache_bytes(&plan) - bytes) > 1e-6 * bytes)
        fail_msg("%s: %.0f bytes, not %.0f", name, cache_bytes(&plan), bytes);
}

static void the_cache_becomes_what_each_remedy_leaves_of_it(void **state) {
    (void)state;
    double all = (double)USERS * CONTEXT * F16_BYTES;
    check_cache("kv_q8", (double)USERS * CONTEXT * LAYERS * HEADS * 2 * (DIM + 4)); /* a 4-byte scale a row */
    check_cache("window_sinks", (double)USERS * (4096 + 32) * F16_BYTES);
    check_cache("eviction", all / 4);
    check_cache("mla", (double)USERS * CONTEXT * LAYERS * 576 * 2); /* 4 x 128 + 64 numbers a layer */
    check_cache("low_rank", all / 2);
    check_cache("hybrid", all / 8);
    check_cache("prefix_sharing", all / 2 + all / 2 / USERS);
    check_cache("rag", all * 4096 / CONTEXT);
    check_cache("select_blocks", all + all / 32); /* two keys for each block of 32 tokens */
    check_cache("tensor_parallel", all);
}

static void drafts_make_the_tokens_of_a_step_that_their_series_sums_to(void **state) {
    (void)state;
    char reason[PLAN_REMEDY_REASON];
    struct plan_case plan = llama();
    assert_true(apply(&plan, "speculative", reason));
    double expected = 1, accepted = 1;
    for (int i = 0; i < 4; i++) expected += accepted *= 0.7;
    check_near(plan.tokens_per_step, expected, 1e-12);
    check_near(plan.positions, 5, 0);
}

static void experts_are_read_as_far_as_tokens_need_them(void **state) {
    (void)state;
    char reason[PLAN_REMEDY_REASON];
    struct plan_case before = llama(), after = llama();
    assert_true(apply(&after, "moe", reason));
    double networks = 3.0 * 4096 * 14336 * LAYERS;
    check_near(before.model.parameters_read - after.model.parameters_read, networks * 14 / 16, 1);
    check_near(after.model.parameters, before.model.parameters, 0);
}

static void what_does_not_apply_says_why(void **state) {
    (void)state;
    char reason[PLAN_REMEDY_REASON];
    struct plan_case plan = llama();
    assert_false(apply(&plan, "gqa", reason));
    assert_non_null(strstr(reason, "share keys and values"));
    plan.load.users = 1;
    assert_false(apply(&plan, "prefix_sharing", reason));
    assert_non_null(strstr(reason, "nobody"));
    struct plan_case short_one = llama();
    short_one.load.context_tokens = 1024;
    assert_false(apply(&short_one, "rag", reason));
    assert_false(apply(&short_one, "window_sinks", reason));
    struct plan_case mamba = case_of("Mamba 2.8B", "h100-sxm");
    assert_false(apply(&mamba, "kv_q8", reason));
    assert_false(apply(&mamba, "hybrid", reason));
    struct plan_case old = case_of("Llama 2 7B", "h100-sxm");
    assert_true(apply(&old, "gqa", reason));
    assert_int_equal(old.model.kv_parts[0].n_rows, 4);
}

static void the_best_pair_is_no_worse_than_any_remedy_alone(void **state) {
    (void)state;
    static struct plan_what_if table;
    struct plan_case plan = llama();
    struct plan_remedy_opts opts = plan_remedy_opts_default();
    plan_what_if_of(&table, &plan.model, &plan.hardware, &plan.load, &opts, &catalog);
    assert_non_null(table.best[0]);
    assert_ptr_not_equal(table.best[0], table.best[1]);
    assert_true(table.n >= 18);
    for (size_t i = 0; i < table.n; i++)
        if (table.rows[i].applies)
            assert_true(table.best_outcome.usd_per_million_output <=
                        table.rows[i].outcome.usd_per_million_output * (1 + 1e-9));
        else
            assert_true(strlen(table.rows[i].reason) > 0);
    json_t *json = plan_what_if_json(&table);
    assert_int_equal(json_array_size(json_object_get(json, "remedies")), table.n);
    json_decref(json);
}

static struct plan_economics economics_of(const struct plan_case *plan,
                                          const struct plan_economics_opts *opts) {
    struct plan_economics economics;
    plan_economics_of(&economics, &plan->model, &plan->hardware, &plan->load, opts, NULL);
    return economics;
}

static void places_share_the_hour_and_ceilings_are_where_they_are_said_to_be(void **state) {
    (void)state;
    struct plan_case plan = llama();
    plan.load.usd_per_device_hour = 3;
    struct plan_economics_opts opts = plan_economics_opts_default();
    opts.price = 2;
    opts.free_tier = 5;
    struct plan_economics economics = economics_of(&plan, &opts);
    check_near(economics.usd_per_hour, 3, 1e-12);
    for (size_t i = 0; i < economics.n_points; i++) {
        const struct plan_economics_point *point = &economics.points[i];
        check_near(point->usd_per_user_hour * point->users, 3, 1e-9);
        check_near(point->flat_loss_usd, point->usd_per_user_hour * 40 - 20, 1e-9);
        assert_int_equal(point->usd_per_million_output <= 2,
                         point->context_tokens <= economics.ceiling_tokens);
        assert_int_equal(point->usd_per_user_hour * 730 <= 5,
                         point->context_tokens <= economics.free_tier_tokens);
    }
    assert_true(economics.ceiling_tokens > 1024 && economics.ceiling_tokens < 131072);
    /* After that long, holding a token has cost what computing it costs. */
    check_near(economics.held_usd_per_million_hour * economics.break_even_seconds / 3600,
               economics.computed_usd_per_million, 1e-9 * economics.computed_usd_per_million);
}

/* Gemma 3 27B: 10 full layers and 52 with a window of 1,024; 16 KV heads of 128, so 16 x 128 x 2 x 2 bytes a
 * layer and token. */
static void a_window_shares_only_what_it_has_not_passed(void **state) {
    (void)state;
    struct plan_case plan = case_of("Gemma 3 27B", "h100-sxm");
    plan.load.shared_tokens = 32768;
    double full = 10 * 8192.0, window = 52 * 8192.0 * 1024;
    check_near(cache_bytes(&plan), USERS * (CONTEXT * full + window) - (USERS - 1) * 32768 * full, 1);
    plan.load.shared_tokens = CONTEXT - 24;
    double common = (CONTEXT - 24) * full + window / 1024 * 1000;
    check_near(cache_bytes(&plan), USERS * (CONTEXT * full + window) - (USERS - 1) * common, 1);
}

static void a_hundred_long_conversations_fill_devices(void **state) {
    (void)state;
    const struct plan_model *model = plan_catalog_model(&catalog, "Llama 3.1 70B");
    const struct plan_hardware *hardware = plan_catalog_hardware(&catalog, "h100-sxm");
    /* 80 layers x 8 KV heads x 128 x 2 x 2 bytes = 327,680 a token */
    double devices = plan_devices_for_cache(model, plan_kv_format_find("f16"), hardware, 100, 200000);
    check_near(devices, 327680.0 * 100 * 200000 / hardware->memory_bytes, 1e-9);
}

static void curves_cross_where_cache_and_weights_are_alike(void **state) {
    (void)state;
    static struct plan_curves curves;
    struct plan_case plan = llama();
    plan_curves_of(&curves, &plan.model, &plan.hardware, &plan.load);
    assert_non_null(strstr(curves.title, "Llama 3.1 8B"));
    for (size_t i = 0; i < PLAN_CURVE_POINTS; i++) {
        const struct plan_curve_point *point = &curves.points[i];
        if (i > 0) assert_true(point->context_tokens > point[-1].context_tokens);
        if (i > 0) assert_true(point->users <= point[-1].users);
        check_near(point->kv_bytes, USERS * point->context_tokens * F16_BYTES, 1);
    }
    /* 8 users read 8 x 131,072 bytes for each token of context; the weights without the embedding are 15.0
     * GB. */
    check_near(curves.crossover_tokens, 15.01e9 / (8 * 131072.0), 200);
    json_t *json = plan_curves_json(&curves, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "points")), PLAN_CURVE_POINTS);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_becomes_what_each_remedy_leaves_of_it),
        cmocka_unit_test(drafts_make_the_tokens_of_a_step_that_their_series_sums_to),
        cmocka_unit_test(experts_are_read_as_far_as_tokens_need_them),
        cmocka_unit_test(what_does_not_apply_says_why),
        cmocka_unit_test(the_best_pair_is_no_worse_than_any_remedy_alone),
        cmocka_unit_test(places_share_the_hour_and_ceilings_are_where_they_are_said_to_be),
        cmocka_unit_test(a_window_shares_only_what_it_has_not_passed),
        cmocka_unit_test(a_hundred_long_conversations_fill_devices),
        cmocka_unit_test(curves_cross_where_cache_and_weights_are_alike),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
