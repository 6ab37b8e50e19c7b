#include "server/account.h"

#include <math.h>
#include <string.h>

#include "server/request_times.h"

enum { STEPS_A_LOOK = 16 }; /* the cache's gauges are set every so many steps */

/* The first choice to have tokens stands for the request's beginning, the last one for its end. */
static struct request_times times_of(const struct generation *generation) {
    struct request_times times = {.arrived_ns = generation->received_ns};
    if (generation->error.status != 0) return times; /* what there is of choices may be half made */
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        const struct choice *choice = &generation->choices[i];
        const struct request *request = &choice->request;
        times.n_output += request->n_output;
        if (i % generation->ask->best_of == 0) {
            times.n_prompt += (uint32_t)choice->prompt->n;
            times.n_cached += request->n_cached;
        }
        if (request->started_ns != 0 &&
            (times.first_step_ns == 0 || request->started_ns < times.first_step_ns))
            times.first_step_ns = request->started_ns;
        if (request->n_output == 0) continue;
        if (times.first_token_ns == 0 || request->first_token_ns < times.first_token_ns)
            times.first_token_ns = request->first_token_ns;
        if (request->last_token_ns > times.last_token_ns) times.last_token_ns = request->last_token_ns;
    }
    return times;
}

struct kv_bill account_bill(const struct generation *generation) {
    struct kv_bill sum = {0};
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        const struct kv_bill *bill = &generation->choices[i].request.bill;
        sum.computed_tokens += bill->computed_tokens;
        sum.written_bytes += bill->written_bytes;
        sum.read_bytes += bill->read_bytes;
        sum.held += bill->held;
        sum.peak_bytes += bill->peak_bytes;
        sum.saved_by_sharing += bill->saved_by_sharing;
        sum.saved_by_codec += bill->saved_by_codec;
    }
    return sum;
}

/* What a finished request's line says of its bill; returns how many fields that are. */
enum { BILL_LOG_FIELDS = 8 };
static size_t bill_log_fields(const struct generation *generation, struct log_field *fields) {
    const struct server *server = generation->server;
    struct kv_bill bill = account_bill(generation);
    size_t n = 0;
    fields[n++] = log_count("computed_tokens", bill.computed_tokens);
    fields[n++] = log_count("kv_written_bytes", bill.written_bytes);
    fields[n++] = log_count("kv_read_bytes", bill.read_bytes);
    fields[n++] = log_count("kv_peak_bytes", bill.peak_bytes);
    fields[n++] = log_number("kv_byte_seconds", byte_seconds(bill.held));
    fields[n++] = log_count("kv_saved_by_sharing_bytes", bill.saved_by_sharing);
    fields[n++] = log_number("kv_saved_by_codec_bytes", (double)bill.saved_by_codec);
    if (kv_price_is_set(&server->opts.price))
        fields[n++] = log_number("price", kv_price_of(&server->opts.price, bill.held, server->arena_bytes));
    return n;
}

/* What its first answer was predicted to take when it came, and what its tokens should take of the cache. */
enum { FORECAST_LOG_FIELDS = 3 };
static uint64_t predicted_kv_bytes(const struct generation *generation) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        const struct choice *choice = &generation->choices[i];
        if (choice->request.n_output == 0) continue;
        const uint32_t n_tokens = (uint32_t)choice->prompt->n + choice->request.n_output - 1;
        bytes += engine_kv_bytes_of(generation->server->opts.engine, n_tokens);
    }
    return bytes;
}

static size_t forecast_log_fields(const struct generation *generation, struct log_field *fields) {
    const struct forecast *forecast = &generation->choices[0].forecast;
    size_t n = 0;
    if (forecast->n_steps > 0) {
        fields[n++] = log_number("predicted_ttft_ms", 1e3 * forecast_ttft_seconds(forecast));
        fields[n++] = log_number("predicted_tpot_ms", 1e3 * forecast->step_seconds);
    }
    fields[n++] = log_count("kv_predicted_bytes", predicted_kv_bytes(generation));
    return n;
}

/* Both sides of what was predicted, of whole requests only. */
static void note_forecast(const struct generation *generation, const struct request_times *times) {
    struct metrics *metrics = generation->server->metrics;
    const struct metric_series predicted = metric_series(METRIC_source_predicted, 0),
                               measured = metric_series(METRIC_source_measured, 0);
    const struct forecast *forecast = &generation->choices[0].forecast;
    metrics_add_at(metrics, METRIC_kv_prediction, predicted, (int64_t)predicted_kv_bytes(generation));
    metrics_add_at(metrics, METRIC_kv_prediction, measured, (int64_t)account_bill(generation).peak_bytes);
    if (forecast->n_steps == 0) return;
    const uint64_t begin_ns = generation->choices[0].request.submitted_ns;
    metrics_observe_at(metrics, METRIC_ttft_prediction, predicted, forecast_ttft_seconds(forecast));
    metrics_observe_at(metrics, METRIC_ttft_prediction, measured,
                       (double)(times->first_token_ns - begin_ns) * 1e-9);
}

static enum metric_finished_reason reason_of(const struct generation *generation) {
    if (generation->error.status != 0 || atomic_load(&generation->failure_code) != 0)
        return METRIC_finished_reason_error;
    if (generation->cancelled_why != NULL) return METRIC_finished_reason_abort;
    enum finish_reason finish = generation->n_choices == 0
                                    ? FINISH_CANCELLED
                                    : (enum finish_reason)atomic_load(&generation->choices[0].finish);
    if (finish == FINISH_LENGTH || finish == FINISH_CONTEXT) return METRIC_finished_reason_length;
    return finish == FINISH_CANCELLED ? METRIC_finished_reason_abort : METRIC_finished_reason_stop;
}

void account_finished(const struct generation *generation) {
    static const char *const words[] = {"stop", "length", "cancelled", "error"};
    const struct server *server = generation->server;
    enum metric_finished_reason reason = reason_of(generation);
    struct request_times times = times_of(generation);
    struct log_field fields[6 + REQUEST_LOG_FIELDS + BILL_LOG_FIELDS + FORECAST_LOG_FIELDS];
    char name[48];
    size_t n = 0;
    generation_name(generation, name);
    fields[n++] = log_text("id", name);
    fields[n++] = log_text("finish", words[reason]);
    fields[n++] = log_text("why", generation->cancelled_why);
    if (generation->error.status != 0) fields[n++] = log_count("status", (uint64_t)generation->error.status);
    if (generation->caller.key != 0) fields[n++] = log_count("key", generation->caller.key);
    n += request_log_fields(&times, fields + n);
    if (generation->error.status == 0) n += bill_log_fields(generation, fields + n);
    if (generation->error.status == 0 && times.n_output > 0) n += forecast_log_fields(generation, fields + n);
    log_event(server->opts.log, LOG_INFO, "request", n, fields);
    if (generation->error.status != 0) return; /* it never was one */
    metrics_note_request(server->metrics, &times, reason);
    bool is_whole = reason == METRIC_finished_reason_stop || reason == METRIC_finished_reason_length;
    if (is_whole && times.n_output > 0) note_forecast(generation, &times);
    if (reason == METRIC_finished_reason_abort) metrics_add(server->metrics, METRIC_requests_cancelled, 1);
    if (reason == METRIC_finished_reason_error) metrics_add(server->metrics, METRIC_engine_errors, 1);
    if (generation->cancelled_why != NULL && strcmp(generation->cancelled_why, HTTP_STALLED) == 0)
        metrics_add(server->metrics, METRIC_slow_readers, 1);
}

/* ---- steps ---- */

static void note_seconds(struct metrics *metrics, enum metric_part part, uint64_t nanoseconds) {
    metrics_observe_at(metrics, METRIC_step_seconds, metric_series(part, 0), (double)nanoseconds * 1e-9);
}

static void set_load_gauges(struct metrics *metrics, struct engine_load load) {
    metrics_set(metrics, METRIC_num_requests_running, load.n_running);
    metrics_set(metrics, METRIC_num_requests_waiting, load.n_waiting);
}

void account_load(struct server *server, struct engine *engine) {
    set_load_gauges(server->metrics, engine_load(engine));
    account_totals(server, engine);
    account_cache(server, engine);
}

static void note_prediction(struct metrics *metrics, const struct engine_step_report *step) {
    if (step->predicted_ns == 0 || step->fit_ns == 0) return;
    const double predicted = (double)step->predicted_ns * 1e-9, measured = (double)step->fit_ns * 1e-9;
    metrics_observe_at(metrics, METRIC_step_prediction, metric_series(METRIC_source_predicted, 0), predicted);
    metrics_observe_at(metrics, METRIC_step_prediction, metric_series(METRIC_source_measured, 0), measured);
    metrics_observe(metrics, METRIC_step_prediction_error, fabs(predicted - measured) / measured);
}

void account_step(struct server *server, struct engine *engine) {
    struct metrics *metrics = server->metrics;
    const struct engine_step_report *step = engine_latest_step(engine);
    struct engine_load load = engine_load(engine);
    atomic_fetch_add(&server->n_prefill_rows, step->n_prefill_rows);
    atomic_fetch_add(&server->n_decode_rows, step->n_decode_rows);
    set_load_gauges(metrics, load);
    account_totals(server, engine);
    metrics_add(metrics, METRIC_preemptions, (int64_t)(load.n_preemptions - server->n_preemptions));
    server->n_preemptions = load.n_preemptions;
    metrics_observe(metrics, METRIC_iteration_tokens, step->n_prefill_rows + step->n_decode_rows);
    note_seconds(metrics, METRIC_part_forward, step->forward_ns);
    note_seconds(metrics, METRIC_part_sampling, step->pick_ns);
    uint64_t now_ns = clock_now_ns(&server->clock);
    note_seconds(metrics, METRIC_part_other, now_ns - step->begin_ns - step->forward_ns - step->pick_ns);
    note_prediction(metrics, step);
    bool is_idle = load.n_running + load.n_waiting == 0;
    if (is_idle || server->n_steps++ % STEPS_A_LOOK == 0) account_cache(server, engine);
}

void account_status(void *user, uint32_t route, int status) {
    struct server *server = user;
    metrics_add_at(server->metrics, METRIC_http_requests, metric_series(route, metric_status(status)), 1);
}
