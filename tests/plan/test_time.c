/* Laws that the time model keeps for every model, machine and engine, and figures published by others for
 * machines on paper, where no efficiency can be fitted. */
#include "plan_test.h"

#include <math.h>

#include "base/rng.h"
#include "plan/collective.h"
#include "plan/matrix.h"
#include "plan/offload.h"
#include "plan/prefill.h"
#include "plan/serving.h"
#include "plan/time.h"

static const enum plan_engine engines[] = {
#define X(name, meaning) PLAN_ENGINE_##name,
    PLAN_ENGINE_LIST(X)
#undef X
};
enum { N_ENGINES = sizeof engines / sizeof *engines, N_DRAWS = 4000 };

static double step_of(const struct plan_model *model, const struct plan_hardware *hardware,
                      const struct plan_load *load, double users, double context) {
    struct plan_step step;
    plan_step_of(&step, model, hardware, load, users, context, NULL);
    assert_true(isfinite(step.seconds) && step.seconds > 0);
    return step.seconds;
}

static struct plan_load fp8_load(uint32_t tp) {
    struct plan_load load = plan_load_default();
    load.weights = plan_weight_format_find("fp8");
    load.kv = plan_kv_format_find("f8");
    load.tp = tp;
    return load;
}

/* LIMINAL (arXiv 2507.14397), Llama-3.1-405B in FP8 on its HBM3 chip: tokens per second of one user. */
static void liminal(void **state) {
    (void)state;
    static const struct {
        uint32_t tp;
        double context, tokens_per_second;
    } published[] = {{8, 4096, 86},     {8, 131072, 80},  {32, 4096, 290},
                     {32, 131072, 271}, {128, 4096, 776}, {128, 131072, 743}};
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const struct plan_load load = fp8_load(published[i].tp);
        const double step =
            step_of(model_of("Llama 3.1 405B"), hardware_of("liminal-hbm3"), &load, 1, published[i].context);
        assert_near(1 / step, published[i].tokens_per_second, 0.02);
    }
}

struct draw {
    const struct plan_model *model;
    struct plan_hardware hardware;
    struct plan_load load;
    double users, context;
};

static double uniform(uint64_t *n) { return rng_uniform(8, (*n)++); }
static uint32_t power(uint64_t *n, uint32_t most) { return 1u << (uint32_t)(uniform(n) * (most + 1)); }

static struct draw draw_one(uint64_t *n) {
    static const char *const weights[] = {"bf16", "fp8", "q4_k_m", "mxfp4", "nvfp4", "q8_0", "awq"};
    struct draw draw;
    do draw.hardware = catalog.hardware[(size_t)(uniform(n) * (double)catalog.n_hardware)];
    while (draw.hardware.bandwidth <= 0);
    draw.model = &catalog.models[(size_t)(uniform(n) * (double)catalog.n_models)];
    draw.load = plan_load_default();
    draw.load.engine = engines[(size_t)(uniform(n) * N_ENGINES)];
    draw.load.weights = plan_weight_format_find(weights[(size_t)(uniform(n) * 7)]);
    draw.load.tp = power(n, 4);
    draw.load.pp = power(n, 2);
    draw.load.dp = power(n, 2);
    draw.load.ep = draw.model->experts.n > 0 ? power(n, 5) : 1;
    draw.users = power(n, 8);
    draw.load.users = (uint32_t)draw.users * draw.load.dp;
    draw.context = floor(1 + 100000 * uniform(n));
    draw.load.prompt_tokens = floor(1 + 20000 * uniform(n));
    draw.load.output_tokens = floor(1 + 2000 * uniform(n));
    return draw;
}

static double step_of_draw(const struct draw *draw) {
    return step_of(draw->model, &draw->hardware, &draw->load, draw->users, draw->context);
}

static double prompt_of_draw(const struct draw *draw, double tokens) {
    const double seconds =
        plan_prefill_of(draw->model, &draw->hardware, &draw->load, tokens, 0, draw->users, NULL).seconds;
    assert_true(isfinite(seconds) && seconds > 0);
    return seconds;
}

static void must_not_fall(const struct draw *draw, const char *what, double before, double after) {
    if (after < before * (1 - 1e-9))
        fail_msg(
            "%s on %s, engine %d, tp %u pp %u dp %u ep %u, %g users, %g tokens: %s, and from %g s to %g s",
            draw->model->name, draw->hardware.id, (int)draw->load.engine, draw->load.tp, draw->load.pp,
            draw->load.dp, draw->load.ep, draw->users, draw->context, what, before, after);
}

static void more_work_is_never_faster(void **state) {
    (void)state;
    uint64_t n = 0;
    for (size_t i = 0; i < N_DRAWS; i++) {
        const struct draw draw = draw_one(&n);
        const double step = step_of_draw(&draw);
        struct draw more = draw;
        more.context *= 2;
        must_not_fall(&draw, "twice the context", step, step_of_draw(&more));
        more = draw;
        more.users *= 2;
        must_not_fall(&draw, "twice the users", step, step_of_draw(&more));
        must_not_fall(&draw, "twice the prompt", prompt_of_draw(&draw, 1000), prompt_of_draw(&draw, 2000));
    }
}

static void more_machine_is_never_slower(void **state) {
    (void)state;
    uint64_t n = 1000000;
    for (size_t i = 0; i < N_DRAWS; i++) {
        const struct draw draw = draw_one(&n);
        struct draw less = draw;
        less.hardware.bandwidth /= 2;
        must_not_fall(&draw, "half the bandwidth", step_of_draw(&draw), step_of_draw(&less));
        must_not_fall(&draw, "half the bandwidth, prompt", prompt_of_draw(&draw, 2000),
                      prompt_of_draw(&less, 2000));
        less = draw;
        less.hardware.bf16_flops /= 2;
        less.hardware.fp8_flops /= 2;
        less.hardware.int8_ops /= 2;
        less.hardware.fp4_flops /= 2;
        must_not_fall(&draw, "half the arithmetic", step_of_draw(&draw), step_of_draw(&less));
        less = draw;
        less.hardware.scaleup_bandwidth /= 2;
        less.hardware.host_bandwidth /= 2;
        less.hardware.scaleout_bandwidth /= 2;
        must_not_fall(&draw, "half the links", step_of_draw(&draw), step_of_draw(&less));
    }
}

/* All is finite, and an answer takes at least its steps. */
static void service_adds_up(void **state) {
    (void)state;
    uint64_t n = 2000000;
    for (size_t i = 0; i < N_DRAWS; i++) {
        const struct draw draw = draw_one(&n);
        const struct plan_serving serving = plan_serving_of(draw.model, &draw.hardware, &draw.load, NULL);
        assert_true(isfinite(serving.e2e_seconds) && serving.ttft_seconds > 0);
        const double context = fmax(1, draw.load.prompt_tokens + draw.load.output_tokens / 2);
        must_not_fall(&draw, "a step within a closed loop",
                      step_of(draw.model, &draw.hardware, &draw.load, draw.users, context),
                      serving.itl_seconds);
        assert_near(serving.e2e_seconds,
                    serving.ttft_seconds + (draw.load.output_tokens - 1) * serving.itl_seconds, 1e-9);
        const double batch = plan_static_batch_seconds(draw.model, &draw.hardware, &draw.load, NULL);
        assert_true(isfinite(batch) && batch > 0);
        const double offload = plan_offload_batch_seconds(draw.model, &draw.hardware, &draw.load, NULL);
        assert_true(isfinite(offload) && offload > 0);
    }
}

/* More devices help, less and less, and in the end not at all: latency does not shrink. */
static void scaling_stops(void **state) {
    (void)state;
    const struct plan_model *model = model_of("Llama 3.1 405B");
    struct plan_load load = fp8_load(1);
    double before = step_of(model, hardware_of("h100-sxm"), &load, 1, 4096), best = before;
    uint32_t at = 1;
    for (uint32_t tp = 2; tp <= 8; tp *= 2) {
        load.tp = tp;
        const double step = step_of(model, hardware_of("h100-sxm"), &load, 1, 4096);
        assert_true(step < before && step > before / 2);
        before = step;
    }
    for (uint32_t tp = 1; tp <= 4096; tp *= 2) {
        load.tp = tp;
        const double step = step_of(model, hardware_of("h100-sxm"), &load, 1, 4096);
        if (step < best) best = step, at = tp;
    }
    assert_true(at >= 8 && at <= 256);
    load.tp = 4096;
    assert_true(step_of(model, hardware_of("h100-sxm"), &load, 1, 4096) > 1.2 * best);
    /* Within LIMINAL's chips too: 128 devices give less than half of 128 times one. */
    load.tp = 128;
    const double many = step_of(model, hardware_of("liminal-hbm3"), &load, 1, 4096);
    load.tp = 1;
    assert_true(step_of(model, hardware_of("liminal-hbm3"), &load, 1, 4096) < 64 * many * 1.3);
}

static void collectives_cost_a_start_and_bytes(void **state) {
    (void)state;
    static const char *const names[] = {"h100-sxm", "l40s", "rpi5", "b200-sxm", "gb200", "liminal-hbm3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct plan_hardware *hardware = hardware_of(names[i]);
        double before = 0;
        assert_true(plan_allreduce_seconds(hardware, PLAN_ENGINE_server, 1, 1e9) == 0);
        for (double ranks = 2; ranks <= 1024; ranks *= 2) {
            const double start = plan_allreduce_seconds(hardware, PLAN_ENGINE_server, ranks, 0),
                         small = plan_allreduce_seconds(hardware, PLAN_ENGINE_server, ranks, 1 << 14),
                         large = plan_allreduce_seconds(hardware, PLAN_ENGINE_server, ranks, 1 << 30);
            assert_true(start > 0 && start >= before && small >= start && large >= small);
            before = start;
        }
    }
    /* Measured, catalog/collectives.json: small custom all-reduces 2.8 to 5 us with two H100s, 8 to 10 with
     * eight; 4, 10 and 26 us on PCIe cards; 0.9 to 1.3 ms on gigabit Ethernet. */
    const struct plan_hardware *nvlink = hardware_of("h100-sxm"), *pcie = hardware_of("l40s");
    assert_near(plan_allreduce_seconds(nvlink, PLAN_ENGINE_server, 2, 4096), 4e-6, 0.35);
    assert_near(plan_allreduce_seconds(nvlink, PLAN_ENGINE_server, 8, 4096), 9e-6, 0.35);
    assert_near(plan_allreduce_seconds(pcie, PLAN_ENGINE_server, 4, 4096), 10e-6, 0.35);
    assert_near(plan_allreduce_seconds(pcie, PLAN_ENGINE_server, 8, 4096), 26e-6, 0.35);
    assert_near(plan_allreduce_seconds(hardware_of("rpi5"), PLAN_ENGINE_distributed, 4, 4096), 1.1e-3, 0.35);
    /* A ring moves 2 (n - 1)/n bytes for each byte: eight ranks 1.75, two 1. */
    const double eight = plan_allreduce_seconds(nvlink, PLAN_ENGINE_server, 8, 1e12),
                 two = plan_allreduce_seconds(nvlink, PLAN_ENGINE_server, 2, 1e12);
    assert_near(eight / two, 1.75, 1e-3);
}

/* Drawing experts at random opens at least as many as the model says, since routing is not even. */
static void experts_open_with_the_batch(void **state) {
    (void)state;
    static const char *const names[] = {"Mixtral 8x7B", "gpt-oss-20b", "DeepSeek-V3", "Qwen3 30B-A3B"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct plan_experts *experts = &model_of(names[i])->experts;
        double before = 0;
        assert_near(plan_expert_coverage(experts, 1), (double)experts->n_per_token / experts->n, 1e-12);
        for (double tokens = 1; tokens <= 4096; tokens *= 2) {
            const double part = plan_expert_coverage(experts, tokens),
                         even = 1 - pow(1 - (double)experts->n_per_token / experts->n, tokens);
            assert_true(part >= before && part <= even + 1e-12 && part <= 1);
            before = part;
        }
        assert_true(before > 0.99);
    }
}

/* On a machine on paper a step is bytes over bandwidth, to be recomputed by hand: Llama 3 8B in 16 bits. */
static void ideal_is_arithmetic(void **state) {
    (void)state;
    struct plan_load load = plan_load_default();
    load.engine = PLAN_ENGINE_ideal;
    const double bandwidth = 3.35e12, weights = 2 * (8030261248.0 - 525336576.0),
                 cache = 2.0 * 32 * 8 * 128 * 2; /* a token: K and V, layers, heads, head size, bytes */
    for (double users = 1; users <= 64; users *= 4) {
        const double bytes = weights + users * cache * (10000 + 1); /* read, and the new token written */
        assert_near(step_of(model_of("Llama 3 8B"), hardware_of("h100-sxm"), &load, users, 10000),
                    bytes / bandwidth, 1e-3);
    }
    /* And a prompt is operations over the peak: matrices without the output, and half of the square. */
    const double n = 8192, flops = 2 * (8030261248.0 - 2 * 525336576.0) * n + 4.0 * 32 * 4096 * n * n / 2;
    const struct plan_prefill prefill =
        plan_prefill_of(model_of("Llama 3 8B"), hardware_of("h100-sxm"), &load, n, 0, 1, NULL);
    assert_int_equal(prefill.limit, PLAN_LIMIT_compute);
    assert_near(prefill.flops, flops, 1e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(liminal),
        cmocka_unit_test(more_work_is_never_faster),
        cmocka_unit_test(more_machine_is_never_slower),
        cmocka_unit_test(service_adds_up),
        cmocka_unit_test(scaling_stops),
        cmocka_unit_test(collectives_cost_a_start_and_bytes),
        cmocka_unit_test(experts_open_with_the_batch),
        cmocka_unit_test(ideal_is_arithmetic),
    };
    return cmocka_run_group_tests(tests, open_catalog, close_catalog);
}
