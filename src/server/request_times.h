/* A request's latencies, by the definitions of docs/metrics.md: in one place, for the log and the metrics. */
#ifndef CABINET_SERVER_REQUEST_TIMES_H
#define CABINET_SERVER_REQUEST_TIMES_H

#include <stdint.h>

#include "base/log.h"
#include "server/metrics.h"

/* Of one monotonic clock, in nanoseconds; 0 for what has not happened. */
struct request_times {
    uint64_t arrived_ns;     /* the request was read */
    uint64_t first_step_ns;  /* the first step that computes rows of it began */
    uint64_t first_token_ns; /* its first token was there to be sent; with n answers the first of them */
    uint64_t last_token_ns;  /* its last one */
    uint32_t n_prompt, n_cached, n_output; /* tokens */
};

/* In nanoseconds; UINT64_MAX for what is not defined, for want of the events. */
struct request_latency {
    uint64_t queue_ns;     /* first_step - arrived */
    uint64_t prefill_ns;   /* first_token - first_step */
    uint64_t ttft_ns;      /* first_token - arrived */
    uint64_t decode_ns;    /* last_token - first_token */
    uint64_t inference_ns; /* last_token - first_step */
    uint64_t tpot_ns;      /* decode / (n_output - 1): needs two tokens */
    uint64_t e2e_ns;       /* last_token - arrived */
};

struct request_latency request_latency(const struct request_times *times);

/* The fields of a finished request's line, for log_event: tokens, then the latencies that are defined. Writes
 * at most REQUEST_LOG_FIELDS; returns how many. */
enum { REQUEST_LOG_FIELDS = 10 };
size_t request_log_fields(const struct request_times *times, struct log_field *fields);

/* Counts a request that ended: its reason, and, unless it was cancelled or failed, tokens and latencies.
 * Gaps between tokens (METRIC_inter_token_latency) are observed as they come, by metrics_note_gap. */
void metrics_note_request(struct metrics *metrics, const struct request_times *times,
                          enum metric_finished_reason reason);
void metrics_note_gap(struct metrics *metrics, uint64_t nanoseconds);

#endif
