/* A server over a tiny model (the argument) whose n-th fallible call fails while it answers, once or from
 * then on, for n = 1, 2, ... until an answer sees no fault. The client is told or cut off, nothing is left,
 * and the same request without a fault is answered. Any of the three threads may be the one that fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "../unit/http_rig.h"
#include "base/fault.h"
#include "kv/kv_usage.h"
#include "server/server_state.h"

static const char *path;

struct place {
    struct team *team;
    struct model model;
    struct engine *engine;
    struct log log;
    struct server *server;
    struct rig rig; /* of the clients */
};

static void place_open(struct place *place) {
    *place = (struct place){0};
    const struct engine_opts engine_opts = {.kv_memory_bytes = 4 << 20,
                                            .kv = kv_rules_of(CODEC_f16),
                                            .max_sequences = 4,
                                            .max_tokens = 128,
                                            .chunk_tokens = 32,
                                            .clock = clock_monotonic()};
    log_open(&place->log, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LOGFMT, LOG_INFO, clock_wall());
    if (team_open(&place->team, 1) < 0 ||
        model_open(&place->model, path, kernel_set_get(NULL), place->team) < 0 ||
        engine_open(&place->engine, &place->model, place->team, &engine_opts) < 0)
        fail_msg("%s", err_message());
    struct server_opts opts = {.model_name = "tiny",
                               .http = {.host = "127.0.0.1", .limits = rig_limits()},
                               .engine = place->engine,
                               .model = &place->model,
                               .max_tokens = 128,
                               .max_requests = 8,
                               .is_debug = true,
                               .log = &place->log};
    opts.http.limits.max_bodies_bytes = 1 << 20;
    if (server_open(&place->server, &opts) < 0) fail_msg("%s", err_message());
    place->rig = (struct rig){.base = place->server->base, .server = place->server->http};
}

static void place_close(struct place *place) {
    server_close(place->server);
    assert_true(kv_check(engine_kv(place->engine)));
    assert_int_equal(kv_usage(engine_kv(place->engine)).held_bytes, 0);
    engine_close(place->engine);
    model_close(&place->model);
    team_close(place->team);
    close(place->log.fd);
    log_close(&place->log);
}

/* The status of the reply, 0 if the client was cut off before one; and whether it is whole. */
static int ask(struct place *place, const char *request, bool *is_whole) {
    struct client client;
    int status = 0;
    client_open(&client, &place->rig, true);
    client_send(&client, request);
    AWAIT(&place->rig, client.is_ended);
    if (client.received.bytes != NULL) sscanf(client.received.bytes, "HTTP/1.1 %d ", &status);
    *is_whole = status == 200 && client_count(&client, "rror\"") == 0 && client.received.failed == false;
    client_close(&client);
    AWAIT(&place->rig, place->server->n_generations + place->server->n_pending == 0);
    AWAIT(&place->rig, http_n_connections(place->server->http) == 0);
    assert_int_equal(place->server->body_bytes, 0);
    assert_int_equal(place->server->http->body_bytes, 0);
    return status;
}

/* Returns how many faults a client noticed. */
static unsigned fail_each(struct place *place, const char *request, enum fault_mode mode) {
    unsigned n_noticed = 0;
    bool is_whole;
    for (uint64_t n = 1; n < 2000; n++) {
        fault_arm(mode, n);
        int status = ask(place, request, &is_whole);
        fault_disarm();
        bool is_delivered = fault_delivered();
        if (!is_whole) {
            n_noticed++;
            assert_true(is_delivered);
            if (status != 0 && status != 200 && status != 500 && status != 503)
                fail_msg("fault %u: status %d", (unsigned)n, status);
        }
        if (ask(place, request, &is_whole) != 200 || !is_whole) fail_msg("again after fault %u", (unsigned)n);
        if (!is_delivered) return n_noticed;
    }
    fail_msg("no clean run");
    return 0;
}

static char *post(const char *route, const char *body) {
    struct text text = {0};
    text_printf(
        &text,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s",
        route, strlen(body), body);
    return text.bytes;
}

/* Each of these makes the server allocate `least` times or more, in ways of its own. */
static const struct {
    const char *route, *body;
    unsigned least;
} requests[] = {
    {"/v1/completions", "{\"prompt\": \"abc\", \"max_tokens\": 3}", 10},
    {"/v1/completions",
     "{\"prompt\": [\"abc\", \"xyz\"], \"max_tokens\": 6, \"n\": 2, \"best_of\": 3, \"logprobs\": 3, "
     "\"echo\": true,"
     " \"stop\": [\"qqq\"], \"logit_bias\": {\"5\": 1}, \"user\": \"me\"}",
     40},
    {"/v1/completions",
     "{\"prompt\": \"abc\", \"max_tokens\": 20, \"stream\": true, \"n\": 2, \"stream_options\": "
     "{\"include_usage\": true}}",
     15},
    {"/v1/completions",
     "{\"prompt\": \"abc\", \"max_tokens\": 20, \"response_format\": {\"type\": \"json_schema\", "
     "\"json_schema\":"
     " {\"name\": \"s\", \"schema\": {\"type\": \"object\"}}}}",
     10},
    {"/tokenize", "{\"prompt\": \"abc and more\"}", 3},
    {"/detokenize", "{\"tokens\": [5, 6, 7]}", 2},
};

static char *bare(const char *method, const char *path_and_query) {
    struct text text = {0};
    text_printf(&text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", method,
                path_and_query);
    return text.bytes;
}

/* What is cached is pinned, looked at, and given back. */
static void prefixes_may_fail(struct place *place, enum fault_mode mode) {
    static const char body[] =
        "{\"prompt\": \"abcdefghabcdefghabcdefghabcdefghabcdefgh\", \"cache_salt\": \"s\"}";
    char *compute = post("/v1/completions", body), *pin = post("/v1/kv/pin", body),
         *unpin = post("/v1/kv/unpin", body), *list = bare("GET", "/v1/kv?cache_salt=s"),
         *drop = bare("DELETE", "/v1/kv");
    bool is_whole;
    assert_int_equal(ask(place, compute, &is_whole), 200);
    assert_true(fail_each(place, pin, mode) >= 8);
    assert_true(fail_each(place, list, mode) >= 4);
    assert_int_equal(ask(place, unpin, &is_whole), 200);
    assert_true(fail_each(place, drop, mode) >= 1);
    mem_free(compute);
    mem_free(pin);
    mem_free(unpin);
    mem_free(list);
    mem_free(drop);
}

static void every_call_may_fail(enum fault_mode mode) {
    struct place place;
    place_open(&place);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        char *request = post(requests[i].route, requests[i].body);
        unsigned n = fail_each(&place, request, mode);
        if (n < requests[i].least) fail_msg("%s: only %u faults were noticed", requests[i].body, n);
        mem_free(request);
    }
    const char *look = "GET /v1/kv/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    assert_true(fail_each(&place, look, mode) >= 1);
    prefixes_may_fail(&place, mode);
    place_close(&place);
}

static void fails_once(void **state) {
    (void)state;
    every_call_may_fail(FAULT_ONCE);
}

static void fails_from_then_on(void **state) {
    (void)state;
    every_call_may_fail(FAULT_FROM_THEN_ON);
}

/* What was opened before the call that fails is closed again. */
static void opening_may_fail(void **state) {
    (void)state;
    unsigned n_failures = 0;
    for (uint64_t n = 1; n < 200; n++) {
        struct place place;
        place_open(&place);
        struct server *server = NULL;
        struct server_opts opts = place.server->opts;
        server_close(place.server);
        place.server = NULL;
        fault_arm(FAULT_ONCE, n);
        int result = server_open(&server, &opts);
        fault_disarm();
        bool is_delivered = fault_delivered();
        assert_int_equal(result < 0, is_delivered);
        n_failures += is_delivered;
        if (result == 0) server_close(server);
        place_close(&place);
        if (!is_delivered) break;
    }
    assert_true(n_failures >= 5);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fails_once),
        cmocka_unit_test(fails_from_then_on),
        cmocka_unit_test(opening_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
