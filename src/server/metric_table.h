/* What a metric is, as data, and where its numbers lie: metrics.c counts, metrics_write.c writes by it. */
#ifndef CABINET_SERVER_METRIC_TABLE_H
#define CABINET_SERVER_METRIC_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/metrics.h"

enum metric_kind { METRIC_KIND_COUNTER, METRIC_KIND_GAUGE, METRIC_KIND_HISTOGRAM };

struct metric_label {
    const char *name;
    uint32_t n_values; /* 1 for the label `none` */
    const char *const *values;
};

enum { METRIC_MAX_BORDERS = 32 };

/* The upper ends of a histogram's buckets, inclusive and ascending; one more bucket has no end. */
struct metric_borders {
    uint32_t n;
    const double *values;
    double ticks;           /* of 1: sums are whole numbers of ticks */
    bool ends_with_context; /* borders beyond the context are not written */
};

struct metric_description {
    enum metric_kind kind;
    const char *name, *help;
    const struct metric_label *first, *second;
    const struct metric_borders *borders; /* none unless a histogram */
    uint32_t first_cell;
    uint32_t n_cells; /* of one series; a histogram's are its buckets, then its sum in ticks */
};

extern const struct metric_description metric_table[METRIC_COUNT];
extern const uint32_t metric_n_cells; /* of all series of all metrics */

struct metrics {
    char *model_name; /* UTF-8 */
    uint32_t max_tokens;
    /* (metric_n_cells) counters and histograms as whole numbers, gauges as the bits of a double */
    _Atomic uint64_t cells[];
};

/* Its cells, (n_cells). */
uint32_t metric_first_cell(enum metric metric, struct metric_series series);
/* A histogram at one moment: (borders->n + 1) counts; returns their sum, and *sum of the values. */
uint64_t metric_read_buckets(const struct metrics *metrics, enum metric metric, struct metric_series series,
                             uint64_t *buckets, double *sum);

#endif
