#include "server/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/double_bits.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "server/metric_table.h"

/* A copy in which what is not UTF-8 has become U+FFFD. */
static char *copy_as_utf8(const char *name) {
    struct text copy = {0};
    size_t length = strlen(name);
    text_append(&copy, "", 0);
    for (size_t at = 0; at < length;) {
        size_t valid = utf8_valid_prefix(name + at, length - at);
        text_append(&copy, name + at, valid);
        at += valid;
        if (at == length) break;
        text_append_string(&copy, "\xef\xbf\xbd");
        at++;
    }
    if (copy.failed) text_free(&copy);
    return copy.bytes;
}

int metrics_open(struct metrics **metrics, const char *model_name, uint32_t max_tokens) {
    *metrics = NULL;
    struct metrics *opened = mem_alloc(1, sizeof *opened + (size_t)metric_n_cells * sizeof opened->cells[0]);
    if (opened == NULL) return ERR_NO_MEMORY;
    opened->model_name = copy_as_utf8(model_name);
    opened->max_tokens = max_tokens;
    if (opened->model_name == NULL) {
        metrics_close(opened);
        return ERR_NO_MEMORY;
    }
    *metrics = opened;
    return 0;
}

void metrics_close(struct metrics *metrics) {
    if (metrics == NULL) return;
    mem_free(metrics->model_name);
    mem_free(metrics);
}

uint32_t metric_status(int status) {
    const struct metric_label *label = metric_table[METRIC_http_requests].second;
    for (uint32_t i = 0; i < label->n_values; i++)
        if (atoi(label->values[i]) == status) return i;
    return METRIC_status_other;
}

/* ---- counting ---- */

uint32_t metric_first_cell(enum metric metric, struct metric_series series) {
    const struct metric_description *what = &metric_table[metric];
    ASSERT(series.first < what->first->n_values && series.second < what->second->n_values);
    return what->first_cell + (series.first * what->second->n_values + series.second) * what->n_cells;
}

void metrics_add_at(struct metrics *metrics, enum metric metric, struct metric_series series,
                    int64_t amount) {
    _Atomic uint64_t *cell = &metrics->cells[metric_first_cell(metric, series)];
    if (metric_table[metric].kind == METRIC_KIND_COUNTER) {
        ASSERT(amount >= 0);
        atomic_fetch_add_explicit(cell, (uint64_t)amount, memory_order_relaxed);
        return;
    }
    ASSERT(metric_table[metric].kind == METRIC_KIND_GAUGE);
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(cell, &old,
                                                  bits_of_double(double_of_bits(old) + (double)amount),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

void metrics_set_at(struct metrics *metrics, enum metric metric, struct metric_series series, double value) {
    ASSERT(metric_table[metric].kind == METRIC_KIND_GAUGE);
    atomic_store_explicit(&metrics->cells[metric_first_cell(metric, series)], bits_of_double(value),
                          memory_order_relaxed);
}

void metrics_observe_at(struct metrics *metrics, enum metric metric, struct metric_series series,
                        double value) {
    const struct metric_description *what = &metric_table[metric];
    ASSERT(what->kind == METRIC_KIND_HISTOGRAM);
    if (!isfinite(value)) return;
    if (value < 0) value = 0;
    uint32_t bucket = 0;
    while (bucket < what->borders->n && value > what->borders->values[bucket]) bucket++;
    double ticks = value * what->borders->ticks;
    _Atomic uint64_t *cells = &metrics->cells[metric_first_cell(metric, series)];
    atomic_fetch_add_explicit(&cells[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cells[what->n_cells - 1], ticks < 0x1p63 ? (uint64_t)(ticks + 0.5) : 0,
                              memory_order_relaxed);
}

/* ---- reading ---- */

uint64_t metric_read_buckets(const struct metrics *metrics, enum metric metric, struct metric_series series,
                             uint64_t *buckets, double *sum) {
    const struct metric_description *what = &metric_table[metric];
    const _Atomic uint64_t *cells = &metrics->cells[metric_first_cell(metric, series)];
    uint64_t count = 0;
    for (uint32_t i = 0; i <= what->borders->n; i++) {
        buckets[i] = atomic_load_explicit(&cells[i], memory_order_relaxed);
        count += buckets[i];
    }
    *sum =
        (double)atomic_load_explicit(&cells[what->n_cells - 1], memory_order_relaxed) / what->borders->ticks;
    return count;
}

double metrics_value(const struct metrics *metrics, enum metric metric, struct metric_series series) {
    uint64_t buckets[METRIC_MAX_BORDERS + 1];
    double sum;
    if (metric_table[metric].kind == METRIC_KIND_HISTOGRAM)
        return (double)metric_read_buckets(metrics, metric, series, buckets, &sum);
    uint64_t cell =
        atomic_load_explicit(&metrics->cells[metric_first_cell(metric, series)], memory_order_relaxed);
    return metric_table[metric].kind == METRIC_KIND_GAUGE ? double_of_bits(cell) : (double)cell;
}

double metrics_quantile(const struct metrics *metrics, enum metric metric, struct metric_series series,
                        double q) {
    const struct metric_borders *borders = metric_table[metric].borders;
    ASSERT(metric_table[metric].kind == METRIC_KIND_HISTOGRAM && q >= 0 && q <= 1);
    uint64_t buckets[METRIC_MAX_BORDERS + 1];
    double sum;
    uint64_t count = metric_read_buckets(metrics, metric, series, buckets, &sum);
    if (count == 0) return NAN;
    double rank = q * (double)count, below = 0;
    for (uint32_t i = 0; i < borders->n; i++) {
        double inside = (double)buckets[i];
        if (inside > 0 && below + inside >= rank) {
            double low = i == 0 ? 0 : borders->values[i - 1];
            return low + (borders->values[i] - low) * (rank - below) / inside;
        }
        below += inside;
    }
    return borders->values[borders->n - 1];
}
