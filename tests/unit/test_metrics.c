/* With --prometheus: writes metrics of known content to standard output, for
 * tests/e2e/test_metrics_format.py. */
#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/fault.h"
#include "server/metrics.h"

/* ---- a reader of the text format that knows nothing of the writer ---- */

enum { MAX_SAMPLES = 1000, MAX_FAMILIES = 100 };

struct sample {
    char name[100], labels[300]; /* labels without le, as they stand between the braces */
    char le[200];                /* "" if it has none */
    double value;
};

struct exposition {
    size_t n_samples, n_families;
    struct sample samples[MAX_SAMPLES];
    struct {
        char name[100], type[16];
    } families[MAX_FAMILIES];
};

static bool is_name(const char *name) {
    if (!isalpha((unsigned char)*name) && *name != '_' && *name != ':') return false;
    for (; *name != '\0'; name++)
        if (!isalnum((unsigned char)*name) && *name != '_' && *name != ':') return false;
    return true;
}

/* name="value", with \\ \" \n in it; copies it as it is written; returns where it ends. */
static const char *read_label(const char *at, char *name, char *value) {
    while (*at != '=') *name++ = *at++;
    *name = '\0';
    assert_int_equal(at[1], '"');
    for (at += 2; *at != '"'; at++) {
        assert_true(*at != '\0' && *at != '\n');
        if (*at == '\\') {
            assert_non_null(strchr("\\\"n", at[1]));
            *value++ = *at++;
        }
        *value++ = *at;
    }
    *value = '\0';
    return at + 1;
}

static void read_sample(const char *line, struct sample *sample) {
    const char *at = line;
    size_t n = strcspn(at, "{ ");
    snprintf(sample->name, sizeof sample->name, "%.*s", (int)n, at);
    at += n;
    sample->labels[0] = sample->le[0] = '\0';
    assert_int_equal(*at, '{'); /* every series has the model's name */
    for (at++; *at != '}';) {
        char name[100], value[200];
        at = read_label(at, name, value);
        if (strcmp(name, "le") == 0)
            snprintf(sample->le, sizeof sample->le, "%s", value);
        else
            snprintf(sample->labels + strlen(sample->labels), sizeof sample->labels - strlen(sample->labels),
                     "%s=%s;", name, value);
        assert_true(*at == ',' || *at == '}');
        at += *at == ',';
    }
    assert_int_equal(at[1], ' ');
    char *end;
    sample->value = strtod(at + 2, &end);
    assert_true(end > at + 2 && *end == '\0');
}

static void exposition_read(struct exposition *read, const struct text *text) {
    *read = (struct exposition){0};
    assert_false(text->failed);
    assert_int_equal(text->bytes[text->length - 1], '\n');
    char *copy = strdup(text->bytes), *rest = copy, *line;
    assert_non_null(copy);
    while ((line = strsep(&rest, "\n")) != NULL && rest != NULL) {
        char name[100], type[16];
        if (strncmp(line, "# HELP ", 7) == 0) continue;
        if (sscanf(line, "# TYPE %99s %15s", name, type) == 2) {
            assert_true(is_name(name));
            for (size_t i = 0; i < read->n_families; i++)
                assert_string_not_equal(read->families[i].name, name);
            strcpy(read->families[read->n_families].name, name);
            strcpy(read->families[read->n_families++].type, type);
            continue;
        }
        struct sample *sample = &read->samples[read->n_samples++];
        assert_true(read->n_samples < MAX_SAMPLES);
        read_sample(line, sample);
        /* it belongs to the family named last */
        const char *family = read->families[read->n_families - 1].name;
        assert_int_equal(strncmp(sample->name, family, strlen(family)), 0);
        const char *suffix = sample->name + strlen(family);
        bool is_histogram = strcmp(read->families[read->n_families - 1].type, "histogram") == 0;
        assert_true(is_histogram ? strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
                                       strcmp(suffix, "_count") == 0
                                 : *suffix == '\0');
        assert_int_equal(strcmp(suffix, "_bucket") == 0, sample->le[0] != '\0');
    }
    free(copy);
}

static double value_of(const struct exposition *read, const char *name, const char *labels, const char *le) {
    double value = NAN;
    for (size_t i = 0; i < read->n_samples; i++)
        if (strcmp(read->samples[i].name, name) == 0 && strcmp(read->samples[i].labels, labels) == 0 &&
            strcmp(read->samples[i].le, le) == 0) {
            assert_true(isnan(value)); /* once only */
            value = read->samples[i].value;
        }
    return value;
}

static void expose(const struct metrics *metrics, struct exposition *read) {
    struct text text = {0};
    metrics_write_prometheus(metrics, &text);
    exposition_read(read, &text);
    text_free(&text);
}

/* ---- known content ---- */

static struct metrics *known(void) {
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics, "my \"model\"\\\n1", 8192), 0);
    metrics_set(metrics, METRIC_num_requests_running, 3);
    metrics_set(metrics, METRIC_kv_cache_usage, 0.375);
    metrics_set(metrics, METRIC_kv_capacity_bytes, 123456789012.0);
    metrics_add(metrics, METRIC_prompt_tokens, 400);
    metrics_add(metrics, METRIC_prompt_tokens, 23);
    metrics_add(metrics, METRIC_http_connections, 5);
    metrics_add(metrics, METRIC_http_connections, -2);
    metrics_add_at(metrics, METRIC_request_success, metric_series(METRIC_finished_reason_length, 0), 2);
    metrics_add_at(metrics, METRIC_http_requests,
                   metric_series(METRIC_route_chat_completions, metric_status(200)), 7);
    metrics_add_at(metrics, METRIC_http_requests, metric_series(METRIC_route_unknown, metric_status(418)), 1);
    metrics_set_at(metrics, METRIC_kv_blocks, metric_series(METRIC_state_sealed, METRIC_group_window), 12);
    const double seconds[] = {0.0005, 0.001, 0.0011, 0.3, 2560, 99999, -1, NAN, INFINITY};
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++)
        metrics_observe(metrics, METRIC_time_to_first_token, seconds[i]);
    metrics_observe(metrics, METRIC_request_prompt_tokens, 423);
    metrics_observe(metrics, METRIC_request_prompt_tokens, 8000);
    metrics_observe_at(metrics, METRIC_step_seconds, metric_series(METRIC_part_forward, 0), 0.0123);
    return metrics;
}

#define MODEL "model_name=my \\\"model\\\"\\\\\\n1;"

static void values_are_read_back(void **state) {
    (void)state;
    struct metrics *metrics = known();
    static struct exposition read;
    expose(metrics, &read);
    assert_int_equal(read.n_families, METRIC_COUNT);
    const struct {
        const char *name, *labels, *le;
        double value;
    } want[] = {
        {"vllm:num_requests_running", MODEL, "", 3},
        {"vllm:num_requests_waiting", MODEL, "", 0},
        {"vllm:kv_cache_usage_perc", MODEL, "", 0.375},
        {"cabinet_kv_capacity_bytes", MODEL, "", 123456789012.0},
        {"vllm:prompt_tokens_total", MODEL, "", 423},
        {"cabinet_http_connections", MODEL, "", 3},
        {"vllm:request_success_total", MODEL "finished_reason=length;", "", 2},
        {"vllm:request_success_total", MODEL "finished_reason=stop;", "", 0},
        {"cabinet_http_requests_total", MODEL "route=/v1/chat/completions;status=200;", "", 7},
        {"cabinet_http_requests_total", MODEL "route=unknown;status=other;", "", 1},
        {"cabinet_kv_blocks", MODEL "state=sealed;group=window;", "", 12},
        {"cabinet_kv_blocks", MODEL "state=open;group=full;", "", 0},
        /* an end belongs to its bucket; NAN and infinity are no times; -1 counts as 0 */
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "0.001", 3},
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "0.005", 4},
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "0.25", 4},
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "0.5", 5},
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "1.0", 5},
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "2560.0", 6},
        {"vllm:time_to_first_token_seconds_bucket", MODEL, "+Inf", 7},
        {"vllm:time_to_first_token_seconds_count", MODEL, "", 7},
        {"vllm:time_to_first_token_seconds_sum", MODEL, "", 102559.3026},
        {"vllm:request_prompt_tokens_bucket", MODEL, "500.0", 1},
        {"vllm:request_prompt_tokens_bucket", MODEL, "5000.0", 1},
        {"vllm:request_prompt_tokens_bucket", MODEL, "+Inf", 2},
        {"vllm:request_prompt_tokens_sum", MODEL, "", 8423},
        {"cabinet_step_seconds_count", MODEL "part=forward;", "", 1},
        {"cabinet_step_seconds_sum", MODEL "part=forward;", "", 0.0123},
        {"cabinet_step_seconds_count", MODEL "part=sampling;", "", 0},
        {"cabinet_step_seconds_bucket", MODEL "part=forward;", "1e-05", 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_true(value_of(&read, want[i].name, want[i].labels, want[i].le) == want[i].value);
    /* beyond the context of 8192 there is no border, and what has never counted has no line */
    assert_true(isnan(value_of(&read, "vllm:request_prompt_tokens_bucket", MODEL, "10000.0")));
    assert_true(isnan(
        value_of(&read, "cabinet_http_requests_total", MODEL "route=/v1/chat/completions;status=500;", "")));
    metrics_close(metrics);
}

/* Every series of every metric is a number of its own. */
static void series_do_not_touch_each_other(void **state) {
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics, "m", 4096), 0);
    for (uint32_t first = 0; first < METRIC_route_COUNT; first++)
        for (uint32_t second = 0; second < METRIC_status_COUNT; second++)
            metrics_add_at(metrics, METRIC_http_requests, metric_series(first, second),
                           1000 * first + second);
    for (uint32_t first = 0; first < METRIC_state_COUNT; first++)
        for (uint32_t second = 0; second < METRIC_group_COUNT; second++)
            metrics_set_at(metrics, METRIC_kv_blocks, metric_series(first, second), 100 * first + second);
    for (uint32_t part = 0; part < METRIC_part_COUNT; part++)
        for (uint32_t i = 0; i <= part; i++)
            metrics_observe_at(metrics, METRIC_step_seconds, metric_series(part, 0), 100);
    for (uint32_t first = 0; first < METRIC_route_COUNT; first++)
        for (uint32_t second = 0; second < METRIC_status_COUNT; second++)
            assert_true(metrics_value(metrics, METRIC_http_requests, metric_series(first, second)) ==
                        1000 * first + second);
    for (uint32_t first = 0; first < METRIC_state_COUNT; first++)
        for (uint32_t second = 0; second < METRIC_group_COUNT; second++)
            assert_true(metrics_value(metrics, METRIC_kv_blocks, metric_series(first, second)) ==
                        100 * first + second);
    for (uint32_t part = 0; part < METRIC_part_COUNT; part++)
        assert_true(metrics_value(metrics, METRIC_step_seconds, metric_series(part, 0)) == part + 1);
    metrics_close(metrics);
}

/* vLLM's own borders are all there, whatever others are. */
static void vllm_borders_are_among_them(void **state) {
    (void)state;
    struct metrics *metrics = known();
    static struct exposition read;
    expose(metrics, &read);
    const struct {
        const char *name, *borders;
    } want[] = {
        {"vllm:time_to_first_token_seconds_bucket",
         "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0 160.0 "
         "640.0 2560.0"},
        {"vllm:inter_token_latency_seconds_bucket", "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 "
                                                    "2.5 5.0 7.5 10.0 20.0 40.0 80.0"},
        {"vllm:request_time_per_output_token_seconds_bucket",
         "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0"},
        {"vllm:e2e_request_latency_seconds_bucket",
         "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 960.0 1920.0 "
         "7680.0"},
        {"vllm:request_queue_time_seconds_bucket", "0.3 0.5 0.8 1.0 7680.0"},
        {"vllm:iteration_tokens_total_bucket",
         "1.0 8.0 16.0 32.0 64.0 128.0 256.0 512.0 1024.0 2048.0 4096.0 8192.0 16384.0"},
        {"vllm:request_generation_tokens_bucket",
         "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 1000.0 2000.0 5000.0"},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char *copy = strdup(want[i].borders), *rest = copy, *le;
        while ((le = strsep(&rest, " ")) != NULL)
            assert_false(isnan(value_of(&read, want[i].name, MODEL, le)));
        free(copy);
    }
    metrics_close(metrics);
}

static void histograms_add_up(void **state) {
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics, "m", 4096), 0);
    for (int i = 0; i < 1000; i++) metrics_observe(metrics, METRIC_inter_token_latency, 0.0003 * i);
    static struct exposition read;
    expose(metrics, &read);
    double last = 0, n_borders = 0;
    for (size_t i = 0; i < read.n_samples; i++)
        if (strcmp(read.samples[i].name, "vllm:inter_token_latency_seconds_bucket") == 0) {
            assert_true(read.samples[i].value >= last);
            last = read.samples[i].value;
            double border = strcmp(read.samples[i].le, "+Inf") == 0 ? INFINITY : atof(read.samples[i].le);
            double want = 0;
            for (int j = 0; j < 1000; j++) want += 0.0003 * j <= border;
            assert_true(last == want);
            n_borders++;
        }
    assert_true(n_borders > 19 && last == 1000);
    metrics_close(metrics);
}

static void quantiles_lie_in_their_bucket(void **state) {
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics, "m", 4096), 0);
    assert_true(isnan(metrics_quantile(metrics, METRIC_time_to_first_token, METRIC_ONLY, 0.5)));
    /* 10 in (0.1, 0.25], 10 in (0.25, 0.5] */
    for (int i = 0; i < 20; i++) metrics_observe(metrics, METRIC_time_to_first_token, i < 10 ? 0.2 : 0.4);
    const double q[] = {0.25, 0.5, 0.75, 1}, want[] = {0.175, 0.25, 0.375, 0.5};
    for (int i = 0; i < 4; i++)
        assert_true(fabs(metrics_quantile(metrics, METRIC_time_to_first_token, METRIC_ONLY, q[i]) - want[i]) <
                    1e-12);
    metrics_observe(metrics, METRIC_time_to_first_token, 1e6); /* beyond the last border: that border */
    assert_true(metrics_quantile(metrics, METRIC_time_to_first_token, METRIC_ONLY, 1) == 2560);
    assert_true(metrics_value(metrics, METRIC_time_to_first_token, METRIC_ONLY) == 21);
    metrics_close(metrics);
}

static void json_says_the_same(void **state) {
    (void)state;
    struct metrics *metrics = known();
    struct text text = {0};
    metrics_write_json(metrics, &text);
    assert_false(text.failed);
    json_t *object = json_loadb(text.bytes, text.length, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "model_name")), "my \"model\"\\\n1");
    assert_int_equal(json_integer_value(json_object_get(object, "vllm:prompt_tokens_total")), 423);
    assert_true(json_number_value(json_object_get(object, "vllm:kv_cache_usage_perc")) == 0.375);
    const json_t *first_token = json_object_get(object, "vllm:time_to_first_token_seconds");
    assert_int_equal(json_integer_value(json_object_get(first_token, "count")), 7);
    assert_true(json_number_value(json_object_get(first_token, "sum")) == 102559.3026);
    assert_true(json_number_value(json_object_get(first_token, "p50")) ==
                metrics_quantile(metrics, METRIC_time_to_first_token, METRIC_ONLY, 0.5));
    const json_t *pair = json_array_get(json_object_get(first_token, "buckets"), 1);
    assert_true(json_number_value(json_array_get(pair, 0)) == 0.005);
    assert_int_equal(json_integer_value(json_array_get(pair, 1)), 4);
    assert_true(
        json_is_null(json_object_get(json_object_get(object, "vllm:inter_token_latency_seconds"), "p99")));
    const json_t *http = json_object_get(object, "cabinet_http_requests_total");
    assert_int_equal(json_array_size(http), 2);
    const json_t *series = json_array_get(http, 0);
    assert_string_equal(json_string_value(json_object_get(series, "route")), "/v1/chat/completions");
    assert_string_equal(json_string_value(json_object_get(series, "status")), "200");
    assert_int_equal(json_integer_value(json_object_get(series, "value")), 7);
    assert_int_equal(json_array_size(json_object_get(object, "cabinet_step_seconds")), 3);
    json_decref(object);
    text_free(&text);
    metrics_close(metrics);
}

static void a_name_that_is_no_utf8_is_mended(void **state) {
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics,
                                  "a\xff\xfe"
                                  "b",
                                  16),
                     0);
    static struct exposition read;
    expose(metrics, &read);
    assert_true(value_of(&read, "vllm:num_requests_running",
                         "model_name=a\xef\xbf\xbd\xef\xbf\xbd"
                         "b;",
                         "") == 0);
    metrics_close(metrics);
}

static void memory_that_is_not_there_is_told(void **state) {
    (void)state;
    struct metrics *metrics;
    for (uint64_t n = 1; n <= 2; n++) {
        fault_arm(FAULT_ONCE, n);
        assert_true(metrics_open(&metrics, "m", 16) < 0);
        fault_disarm();
        assert_null(metrics);
    }
    metrics = known();
    struct text text = {0};
    fault_arm(FAULT_FROM_THEN_ON, 1);
    metrics_write_prometheus(metrics, &text);
    fault_disarm();
    assert_true(text.failed);
    text_free(&text);
    fault_arm(FAULT_FROM_THEN_ON, 1);
    metrics_write_json(metrics, &text);
    fault_disarm();
    assert_true(text.failed);
    text_free(&text);
    metrics_close(metrics);
}

enum { N_THREADS = 4, N_TIMES = 20000 };

static void *count_many(void *argument) {
    struct metrics *metrics = argument;
    for (int i = 0; i < N_TIMES; i++) {
        metrics_add(metrics, METRIC_generation_tokens, 2);
        metrics_add(metrics, METRIC_http_connections, i % 2 == 0 ? 3 : -2);
        metrics_observe(metrics, METRIC_inter_token_latency, 0.25);
        metrics_set(metrics, METRIC_num_requests_running, i);
    }
    return NULL;
}

static void threads_lose_no_count(void **state) {
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics, "m", 4096), 0);
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_many, metrics), 0);
    static struct exposition read;
    for (int i = 0; i < 5; i++) {
        expose(metrics, &read); /* while they count: whole at any moment */
        assert_true(value_of(&read, "vllm:inter_token_latency_seconds_bucket", "model_name=m;", "+Inf") ==
                    value_of(&read, "vllm:inter_token_latency_seconds_count", "model_name=m;", ""));
    }
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    assert_true(metrics_value(metrics, METRIC_generation_tokens, METRIC_ONLY) == 2.0 * N_THREADS * N_TIMES);
    assert_true(metrics_value(metrics, METRIC_http_connections, METRIC_ONLY) == 0.5 * N_THREADS * N_TIMES);
    expose(metrics, &read);
    assert_true(value_of(&read, "vllm:inter_token_latency_seconds_count", "model_name=m;", "") ==
                1.0 * N_THREADS * N_TIMES);
    assert_true(value_of(&read, "vllm:inter_token_latency_seconds_sum", "model_name=m;", "") ==
                0.25 * N_THREADS * N_TIMES);
    metrics_close(metrics);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--prometheus") == 0) {
        struct metrics *metrics = known();
        struct text text = {0};
        metrics_write_prometheus(metrics, &text);
        fwrite(text.bytes, 1, text.length, stdout);
        text_free(&text);
        metrics_close(metrics);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_back),
        cmocka_unit_test(series_do_not_touch_each_other),
        cmocka_unit_test(vllm_borders_are_among_them),
        cmocka_unit_test(histograms_add_up),
        cmocka_unit_test(quantiles_lie_in_their_bucket),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(a_name_that_is_no_utf8_is_mended),
        cmocka_unit_test(memory_that_is_not_there_is_told),
        cmocka_unit_test(threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
