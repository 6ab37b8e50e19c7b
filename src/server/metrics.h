/* Counters, gauges and histograms, in the text format of Prometheus and as JSON.
 *
 * One object for one served model. Any thread may count, at any time: each update is one relaxed atomic
 * operation (two for a histogram, a short loop for a gauge that is added to). What is written is therefore a
 * snapshot only as far as single numbers go; but a histogram's count is the sum of its buckets. */
#ifndef CABINET_SERVER_METRICS_H
#define CABINET_SERVER_METRICS_H

#include <stdint.h>

#include "base/text.h"
#include "server/metric_labels.h"
#include "server/metric_list.h"

enum metric {
#define X(kind, id, name, first, second, borders, help) METRIC_##id,
    METRIC_LIST(X)
#undef X
        METRIC_COUNT
};

/* clang-format off */
#define METRIC_LABEL_LIST(X) /* every label of metric_labels.h */                                            \
    X(none) X(finished_reason) X(use) X(state) X(group) X(part) X(route) X(status) X(class) X(codec)         \
    X(outcome) X(slot) X(of) X(direction) X(account) X(source)
/* clang-format on */
#define METRIC_LABEL_VALUE(label, id, text) METRIC_##label##_##id,
#define X(label) enum metric_##label{METRIC_LABEL_##label(METRIC_LABEL_VALUE) METRIC_##label##_COUNT};
METRIC_LABEL_LIST(X)
#undef X

/* Which series of a metric: a value of its first label and one of its second; 0 where it has no such label.
 */
struct metric_series {
    uint32_t first, second;
};
#define METRIC_ONLY metric_series(0, 0)
static inline struct metric_series metric_series(uint32_t first, uint32_t second) {
    return (struct metric_series){first, second};
}

struct metrics;

/* model_name becomes the label of every series; copied. max_tokens: the context, up to which histograms of
 * tokens have borders. NO_MEMORY. */
int metrics_open(struct metrics **metrics, const char *model_name, uint32_t max_tokens);
void metrics_close(struct metrics *metrics);

/* A counter, or a gauge that goes up and down; a gauge; a histogram, of seconds or tokens: what is not a
 * number is ignored, what is negative counts as 0. With labels: metrics_add_at(metrics, METRIC_http_requests,
 * metric_series(METRIC_route_page, metric_status(200)), 1) */
void metrics_add_at(struct metrics *metrics, enum metric metric, struct metric_series series, int64_t amount);
void metrics_set_at(struct metrics *metrics, enum metric metric, struct metric_series series, double value);
void metrics_observe_at(struct metrics *metrics, enum metric metric, struct metric_series series,
                        double value);
/* The same of a metric without labels. */
static inline void metrics_add(struct metrics *metrics, enum metric metric, int64_t amount) {
    metrics_add_at(metrics, metric, METRIC_ONLY, amount);
}
static inline void metrics_set(struct metrics *metrics, enum metric metric, double value) {
    metrics_set_at(metrics, metric, METRIC_ONLY, value);
}
static inline void metrics_observe(struct metrics *metrics, enum metric metric, double value) {
    metrics_observe_at(metrics, metric, METRIC_ONLY, value);
}
/* METRIC_status_<status>, or METRIC_status_other. */
uint32_t metric_status(int status);

/* A counter or gauge as it is now; of a histogram how many values it has had. */
double metrics_value(const struct metrics *metrics, enum metric metric, struct metric_series series);
/* The value below which a share q of what a histogram had lies, linear within its bucket as PromQL's
 * histogram_quantile: above the last border that border. NAN while it had nothing. */
double metrics_quantile(const struct metrics *metrics, enum metric metric, struct metric_series series,
                        double q);

/* Appends all metrics as Prometheus' text format 0.0.4 ("text/plain; version=0.0.4; charset=utf-8"). */
void metrics_write_prometheus(const struct metrics *metrics, struct text *out);
/* Appends one JSON object: docs/metrics.md. */
void metrics_write_json(const struct metrics *metrics, struct text *out);

#endif
