/* From a model file (the argument) to a few generated tokens while the n-th fallible call fails, once or from
 * then on, for n = 1, 2, ... until a run sees no fault. What failed says so and leaves nothing behind (leaks
 * are the address sanitizer's to find), and the same again without a fault works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "engine/engine.h"
#include "kv/kv_cache.h"

enum { N_OUTPUT = 6, N_PROMPT = 40 };

static const char *path;

static uint64_t tick(void *state) { return ++*(uint64_t *)state; }

struct generation {
    struct team *team;
    struct model model;
    bool has_model;
    struct engine *engine;
    struct sequence *sequence;
    token_id output[N_OUTPUT];
    uint32_t n_output;
    uint64_t time;
};

static bool keep_token(void *user, const struct token_report *report) {
    struct generation *generation = user;
    generation->output[generation->n_output++] = report->token;
    return false;
}

/* Opens what is not open yet. */
static int open_all(struct generation *g) {
    if (g->team == NULL) TRY(team_open(&g->team, 2));
    if (!g->has_model) TRY(model_open(&g->model, path, kernel_set_get(NULL), g->team));
    g->has_model = true;
    struct engine_opts opts = {.kv_memory_bytes = 4 << 20,
                               .kv = kv_rules_of(CODEC_f16),
                               .max_sequences = 2,
                               .max_tokens = 64,
                               .chunk_tokens = 32,
                               .clock = {tick, &g->time}};
    if (g->engine == NULL) TRY(engine_open(&g->engine, &g->model, g->team, &opts));
    return g->sequence == NULL ? engine_sequence_open(g->engine, &g->sequence) : 0;
}

static int generate(struct generation *g) {
    TRY(open_all(g));
    token_id prompt[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++) prompt[i] = (i * 37 + 5) % 256;
    struct request request = {.sequence = g->sequence,
                              .sampling = sampler_defaults(),
                              .max_output_tokens = N_OUTPUT,
                              .ignores_end = true,
                              .on_token = keep_token,
                              .user = g};
    g->n_output = 0;
    TRY(engine_submit(g->engine, &request, prompt, N_PROMPT));
    while (engine_step(g->engine) > 0) continue;
    if (request.finish == FINISH_FAILED) return request.error;
    return request.finish == FINISH_LENGTH ? 0 : ERR(INTERNAL, "finish reason %d", (int)request.finish);
}

static void close_all(struct generation *g) {
    if (g->engine != NULL) {
        engine_sequence_close(g->engine, g->sequence);
        assert_true(kv_check(engine_kv(g->engine)));
        engine_close(g->engine);
    }
    if (g->has_model) model_close(&g->model);
    team_close(g->team);
}

static void assert_output(const struct generation *g, const struct generation *expected) {
    assert_int_equal(g->n_output, N_OUTPUT);
    assert_memory_equal(g->output, expected->output, sizeof expected->output);
}

/* Returns how many faults made a run fail. */
static unsigned fail_each(enum fault_mode mode) {
    struct generation expected = {0};
    assert_int_equal(generate(&expected), 0);
    close_all(&expected);
    unsigned n_failures = 0;
    for (uint64_t n = 1; n < 10000; n++) {
        struct generation g = {0};
        fault_arm(mode, n);
        int result = generate(&g);
        fault_disarm();
        bool delivered = fault_delivered();
        if (result < 0) {
            n_failures++;
            assert_true(delivered);
            if (result != ERR_NO_MEMORY && result != ERR_IO && result != ERR_FULL)
                fail_msg("fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
            if (g.engine != NULL) assert_true(kv_check(engine_kv(g.engine)));
            result = generate(&g); /* goes on with what could be opened */
        }
        if (result < 0)
            fail_msg("again after fault %u: %s: %s", (unsigned)n, err_name(result), err_message());
        assert_output(&g, &expected);
        close_all(&g);
        if (!delivered) return n_failures;
    }
    fail_msg("no clean run");
    return 0;
}

static void every_call_may_fail(void **state) {
    (void)state;
    /* two for the team, at least 20 for the model, at least 15 for the engine, two for the sequence */
    assert_true(fail_each(FAULT_ONCE) >= 39);
    assert_true(fail_each(FAULT_FROM_THEN_ON) >= 39);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
