#include "server/request_times.h"

/* From one event to a later one. */
static uint64_t between(uint64_t from_ns, uint64_t to_ns) {
    return from_ns == 0 || to_ns == 0 ? UINT64_MAX : to_ns > from_ns ? to_ns - from_ns : 0;
}

struct request_latency request_latency(const struct request_times *times) {
    struct request_latency latency = {
        .queue_ns = between(times->arrived_ns, times->first_step_ns),
        .prefill_ns = between(times->first_step_ns, times->first_token_ns),
        .ttft_ns = between(times->arrived_ns, times->first_token_ns),
        .decode_ns = between(times->first_token_ns, times->last_token_ns),
        .inference_ns = between(times->first_step_ns, times->last_token_ns),
        .tpot_ns = UINT64_MAX,
        .e2e_ns = between(times->arrived_ns, times->last_token_ns),
    };
    if (times->n_output > 1 && latency.decode_ns != UINT64_MAX)
        latency.tpot_ns = latency.decode_ns / (times->n_output - 1);
    return latency;
}

size_t request_log_fields(const struct request_times *times, struct log_field *fields) {
    struct request_latency latency = request_latency(times);
    const struct log_field all[REQUEST_LOG_FIELDS] = {
        log_count("prompt_tokens", times->n_prompt),  log_count("cached_tokens", times->n_cached),
        log_count("output_tokens", times->n_output),  log_ms("queue_ms", latency.queue_ns),
        log_ms("prefill_ms", latency.prefill_ns),     log_ms("ttft_ms", latency.ttft_ns),
        log_ms("tpot_ms", latency.tpot_ns),           log_ms("decode_ms", latency.decode_ns),
        log_ms("inference_ms", latency.inference_ns), log_ms("e2e_ms", latency.e2e_ns),
    };
    size_t n = 0;
    for (size_t i = 0; i < REQUEST_LOG_FIELDS; i++)
        if (all[i].count != UINT64_MAX) fields[n++] = all[i];
    return n;
}

static void observe_ns(struct metrics *metrics, enum metric metric, uint64_t nanoseconds) {
    if (nanoseconds != UINT64_MAX) metrics_observe(metrics, metric, (double)nanoseconds * 1e-9);
}

void metrics_note_request(struct metrics *metrics, const struct request_times *times,
                          enum metric_finished_reason reason) {
    struct request_latency latency = request_latency(times);
    metrics_add_at(metrics, METRIC_request_success, metric_series(reason, 0), 1);
    if (reason != METRIC_finished_reason_stop && reason != METRIC_finished_reason_length) return;
    metrics_observe(metrics, METRIC_request_prompt_tokens, times->n_prompt);
    metrics_observe(metrics, METRIC_request_generation_tokens, times->n_output);
    observe_ns(metrics, METRIC_queue_time, latency.queue_ns);
    observe_ns(metrics, METRIC_prefill_time, latency.prefill_ns);
    observe_ns(metrics, METRIC_time_to_first_token, latency.ttft_ns);
    observe_ns(metrics, METRIC_decode_time, latency.decode_ns);
    observe_ns(metrics, METRIC_inference_time, latency.inference_ns);
    observe_ns(metrics, METRIC_time_per_output_token, latency.tpot_ns);
    observe_ns(metrics, METRIC_e2e_request_latency, latency.e2e_ns);
}

void metrics_note_gap(struct metrics *metrics, uint64_t nanoseconds) {
    observe_ns(metrics, METRIC_inter_token_latency, nanoseconds);
}
