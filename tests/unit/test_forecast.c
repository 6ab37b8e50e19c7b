/* What an engine says that a request would cost, beside what it then costs: on a tiny model (the argument)
 * and a clock by which every step takes what its shape says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "engine/forecast.h"

enum { MAX_TOKENS = 600, N_USERS = 3, CHUNK = 64 };

static const char *path;
static struct team *team;
static struct model model;
static struct engine *engine;
static struct request requests[N_USERS];
static uint64_t time_now;

/* A look takes a time of its own: so many looks a step, all steps alike. */
static uint64_t look_at_clock(void *state) {
    (void)state;
    return time_now += 1000000;
}

static void assert_close(double a, double b, double most) { assert_true(fabs(a - b) <= most); }

static int open_all(void **state) {
    (void)state;
    struct engine_opts opts = {.kv_memory_bytes = 64 << 20,
                               .kv = kv_rules_of(CODEC_q4),
                               .max_sequences = N_USERS,
                               .n_cached = 2,
                               .max_tokens = MAX_TOKENS,
                               .chunk_tokens = CHUNK,
                               .clock = {look_at_clock, NULL}};
    if (team_open(&team, 1) < 0 || model_open(&model, path, kernel_set_get(NULL), team) < 0 ||
        engine_open(&engine, &model, team, &opts) < 0)
        fail_msg("%s", err_message());
    return 0;
}

static int close_all(void **state) {
    (void)state;
    engine_close(engine);
    model_close(&model);
    team_close(team);
    return 0;
}

static uint32_t fill(token_id *prompt, uint32_t n, uint64_t stream) {
    for (uint32_t i = 0; i < n; i++) prompt[i] = (token_id)(rng_u64(stream, i) % model.description.n_vocab);
    return n;
}

static void submit(uint32_t user, const token_id *prompt, uint32_t n_prompt, uint32_t n_output) {
    struct request *request = &requests[user];
    *request = (struct request){.sampling = {.top_p = 1, .repeat_penalty = 1}, .ignores_end = true};
    request->max_output_tokens = n_output;
    assert_int_equal(engine_sequence_open(engine, &request->sequence), 0);
    if (engine_submit(engine, request, prompt, n_prompt) < 0) fail_msg("%s", err_message());
}

static void finish(uint32_t n_users) {
    while (engine_step(engine) > 0) continue;
    for (uint32_t u = 0; u < n_users; u++) {
        assert_int_equal(requests[u].finish, FINISH_LENGTH);
        engine_sequence_close(engine, requests[u].sequence);
    }
}

static double seconds(uint64_t from_ns, uint64_t to_ns) { return (double)(to_ns - from_ns) * 1e-9; }

static void memory_and_cached_tokens(void **state) {
    (void)state;
    token_id prompt[MAX_TOKENS];
    const struct forecast_ask ask = {prompt, fill(prompt, 200, 1), 0, 50};
    struct forecast forecast;
    engine_forecast(engine, &ask, &forecast);
    assert_int_equal(forecast.n_cached, 0);
    assert_int_equal(forecast.n_output, 50);
    assert_int_equal(forecast.kv_bytes, engine_kv_bytes_of(engine, 250));
    submit(0, prompt, 200, 50);
    finish(1);
    engine_forecast(engine, &ask, &forecast);
    assert_int_equal(forecast.n_cached, 192); /* whole blocks before the last token */
    struct forecast_ask other = ask;
    other.salt = 7;
    engine_forecast(engine, &other, &forecast);
    assert_int_equal(forecast.n_cached, 0);
    /* Never more than the context, nor than answers usually are. */
    other.max_output_tokens = UINT32_MAX;
    engine_forecast(engine, &other, &forecast);
    assert_true(forecast.n_output >= 1 && forecast.n_output <= MAX_TOKENS - 200);
}

/* Steps take as long as any other, so a forecast must come true once some were measured. */
static void forecasts_come_true(void **state) {
    (void)state;
    token_id prompts[N_USERS][MAX_TOKENS];
    struct forecast forecast;
    for (uint64_t turn = 10; turn < 22; turn++) {
        fill(prompts[0], 250, turn);
        submit(0, prompts[0], 250, 30);
        finish(1);
    }
    const struct forecast_ask ask = {prompts[0], fill(prompts[0], 250, 99), 0, 30};
    engine_forecast(engine, &ask, &forecast);
    assert_true(forecast.n_steps > 100);
    assert_close(forecast.queue_seconds, 0, 0);
    submit(0, prompts[0], 250, 30);
    finish(1);
    const struct request *request = &requests[0];
    const double ttft = seconds(request->submitted_ns, request->first_token_ns),
                 decode = seconds(request->first_token_ns, request->last_token_ns) / 29;
    assert_true(fabs(forecast_ttft_seconds(&forecast) / ttft - 1) < 0.4);
    assert_true(fabs(forecast.step_seconds / decode - 1) < 0.4);
    assert_close(forecast.seconds, forecast_ttft_seconds(&forecast) + 29 * forecast.step_seconds, 1e-9);
    assert_true(forecast.held > 0);
    /* Behind others it has to wait, all the more where all places are taken. */
    for (uint32_t u = 0; u < N_USERS; u++) {
        struct forecast later;
        submit(u, prompts[u], fill(prompts[u], 250, 200 + u), 40);
        engine_forecast(engine, &ask, &later);
        assert_true(forecast_ttft_seconds(&later) > forecast_ttft_seconds(&forecast));
        assert_int_equal(later.load.n_running + later.load.n_waiting, u + 1);
        forecast = later;
    }
    finish(N_USERS);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_and_cached_tokens),
                                       cmocka_unit_test(forecasts_come_true)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
