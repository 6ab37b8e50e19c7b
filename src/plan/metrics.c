#include "plan/metrics.h"

#include <math.h>

bool plan_promise_is_kept(const struct plan_promise *promise, const struct plan_time *time) {
    return (promise->ttft_seconds == 0 || time->ttft_seconds <= promise->ttft_seconds) &&
           (promise->itl_seconds == 0 || time->itl_seconds <= promise->itl_seconds);
}

void plan_metrics_of(struct plan_metrics *metrics, const struct plan_time *time, const struct plan_load *load,
                     const struct plan_promise *promise) {
    const double e2e = time->ttft_seconds + fmax(0, load->output_tokens - 1) * time->itl_seconds;
    *metrics = (struct plan_metrics){
        .ttft_seconds = time->ttft_seconds,
        .itl_seconds = time->itl_seconds,
        .tpot_seconds = time->itl_seconds,
        .e2e_seconds = e2e,
        .utps = 1 / time->step.seconds,
        .stps = load->users / time->step.seconds,
        .output_tokens_per_second = load->users * load->output_tokens / e2e,
        .requests_per_second = load->users / e2e,
    };
    metrics->goodput = plan_promise_is_kept(promise, time) ? metrics->requests_per_second : 0;
}
