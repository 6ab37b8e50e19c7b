#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/request_times.h"

#define MS 1000000u

/* Arrives at 1 s, waits 20 ms, has its first token 50 ms later, and 10 more, 8 ms apart. */
static const struct request_times usual = {
    .arrived_ns = 1000 * MS,
    .first_step_ns = 1020 * MS,
    .first_token_ns = 1070 * MS,
    .last_token_ns = 1150 * MS,
    .n_prompt = 400,
    .n_cached = 384,
    .n_output = 11,
};

static void latencies_are_those_of_the_definitions(void **state) {
    (void)state;
    struct request_latency latency = request_latency(&usual);
    assert_int_equal(latency.queue_ns, 20 * MS);
    assert_int_equal(latency.prefill_ns, 50 * MS);
    assert_int_equal(latency.ttft_ns, 70 * MS);
    assert_int_equal(latency.decode_ns, 80 * MS);
    assert_int_equal(latency.inference_ns, 130 * MS);
    assert_int_equal(latency.tpot_ns, 8 * MS); /* not 150 / 11, nor 80 / 11 */
    assert_int_equal(latency.e2e_ns, 150 * MS);
    assert_int_equal(latency.e2e_ns, latency.ttft_ns + (usual.n_output - 1) * latency.tpot_ns);
    assert_int_equal(latency.ttft_ns, latency.queue_ns + latency.prefill_ns);
}

static void what_has_not_happened_has_no_latency(void **state) {
    (void)state;
    struct request_times times = usual;
    times.n_output = 1;
    times.last_token_ns = times.first_token_ns;
    assert_int_equal(request_latency(&times).tpot_ns, UINT64_MAX);
    assert_int_equal(request_latency(&times).decode_ns, 0);
    times.first_token_ns = times.last_token_ns = 0;
    times.n_output = 0;
    assert_int_equal(request_latency(&times).ttft_ns, UINT64_MAX);
    assert_int_equal(request_latency(&times).e2e_ns, UINT64_MAX);
    assert_int_equal(request_latency(&times).queue_ns, 20 * MS);
    struct log_field fields[REQUEST_LOG_FIELDS];
    assert_int_equal(request_log_fields(&times, fields), 4); /* three counts of tokens, queue */
    assert_string_equal(fields[3].name, "queue_ms");
    assert_int_equal(request_log_fields(&usual, fields), REQUEST_LOG_FIELDS);
}

static void a_request_counts_once_in_each_metric(void **state) {
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_open(&metrics, "m", 4096), 0);
    metrics_note_request(metrics, &usual, METRIC_finished_reason_stop);
    metrics_note_request(metrics, &usual, METRIC_finished_reason_abort); /* ended, but at no natural time */
    for (int i = 0; i < 10; i++) metrics_note_gap(metrics, 8 * MS);
    const enum metric once[] = {METRIC_request_prompt_tokens, METRIC_request_generation_tokens,
                                METRIC_time_to_first_token,   METRIC_time_per_output_token,
                                METRIC_e2e_request_latency,   METRIC_queue_time,
                                METRIC_prefill_time,          METRIC_decode_time,
                                METRIC_inference_time};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        assert_true(metrics_value(metrics, once[i], METRIC_ONLY) == 1);
    assert_true(metrics_value(metrics, METRIC_inter_token_latency, METRIC_ONLY) == 10);
    assert_true(
        metrics_value(metrics, METRIC_request_success, metric_series(METRIC_finished_reason_stop, 0)) == 1);
    assert_true(
        metrics_value(metrics, METRIC_request_success, metric_series(METRIC_finished_reason_abort, 0)) == 1);
    double tpot = metrics_quantile(metrics, METRIC_time_per_output_token, METRIC_ONLY, 1);
    assert_true(tpot > 0.0075 && tpot <= 0.01);
    metrics_close(metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latencies_are_those_of_the_definitions),
        cmocka_unit_test(what_has_not_happened_has_no_latency),
        cmocka_unit_test(a_request_counts_once_in_each_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
