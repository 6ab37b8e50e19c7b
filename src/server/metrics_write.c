#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "server/metric_table.h"

/* ---- what both formats share ---- */

/* Routes times statuses would be hundreds of lines of nothing: of a counter with two labels, only the series
 * that have counted are written. */
static bool is_written(const struct metrics *metrics, enum metric metric, struct metric_series series) {
    const struct metric_description *what = &metric_table[metric];
    return what->kind != METRIC_KIND_COUNTER || what->second->n_values == 1 ||
           metrics_value(metrics, metric, series) > 0;
}

static uint32_t n_written_borders(const struct metrics *metrics, const struct metric_borders *borders) {
    uint32_t n = borders->n;
    while (borders->ends_with_context && n > 1 && borders->values[n - 1] > metrics->max_tokens) n--;
    return n;
}

/* ---- Prometheus ---- */

static void put_escaped(struct text *out, const char *value) {
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            text_append_string(out, "\\n");
        else if (*value == '\\' || *value == '"')
            text_append(out, (char[]){'\\', *value}, 2);
        else
            text_append(out, value, 1);
    }
}

/* The shortest digits that are read back as the same number; whole numbers without an exponent. */
static void put_number(struct text *out, double number) {
    char digits[32];
    if (number == floor(number) && fabs(number) < 1e15) {
        text_printf(out, "%.0f", number);
        return;
    }
    if (!isfinite(number)) {
        text_append_string(out, isnan(number) ? "NaN" : number > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, number);
        double back;
        if (sscanf(digits, "%lf", &back) == 1 && back == number) break;
    }
    text_append_string(out, digits);
}

/* name_suffix{model_name="...",label="..."[,le="..."]}, and a space; le as vLLM writes it: 1.0 */
static void put_series(struct text *out, const struct metrics *metrics, const struct metric_description *what,
                       struct metric_series series, const char *suffix, const double *border) {
    text_printf(out, "%s%s{model_name=\"", what->name, suffix);
    put_escaped(out, metrics->model_name);
    text_append_string(out, "\"");
    if (what->first->n_values > 1)
        text_printf(out, ",%s=\"%s\"", what->first->name, what->first->values[series.first]);
    if (what->second->n_values > 1)
        text_printf(out, ",%s=\"%s\"", what->second->name, what->second->values[series.second]);
    if (border != NULL && isinf(*border))
        text_append_string(out, ",le=\"+Inf\"");
    else if (border != NULL)
        text_printf(out, *border == floor(*border) ? ",le=\"%.1f\"" : ",le=\"%g\"", *border);
    text_append_string(out, "} ");
}

static void put_histogram(struct text *out, const struct metrics *metrics, enum metric metric,
                          struct metric_series series) {
    const struct metric_description *what = &metric_table[metric];
    uint64_t buckets[METRIC_MAX_BORDERS + 1], below = 0;
    double sum, infinity = INFINITY;
    uint64_t count = metric_read_buckets(metrics, metric, series, buckets, &sum);
    for (uint32_t i = 0; i < n_written_borders(metrics, what->borders); i++) {
        below += buckets[i];
        put_series(out, metrics, what, series, "_bucket", &what->borders->values[i]);
        text_printf(out, "%" PRIu64 "\n", below);
    }
    put_series(out, metrics, what, series, "_bucket", &infinity);
    text_printf(out, "%" PRIu64 "\n", count);
    put_series(out, metrics, what, series, "_sum", NULL);
    put_number(out, sum);
    text_append_string(out, "\n");
    put_series(out, metrics, what, series, "_count", NULL);
    text_printf(out, "%" PRIu64 "\n", count);
}

static void put_metric(struct text *out, const struct metrics *metrics, enum metric metric) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const struct metric_description *what = &metric_table[metric];
    text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", what->name, what->help, what->name, types[what->kind]);
    struct metric_series series;
    for (series.first = 0; series.first < what->first->n_values; series.first++)
        for (series.second = 0; series.second < what->second->n_values; series.second++) {
            if (!is_written(metrics, metric, series)) continue;
            if (what->kind == METRIC_KIND_HISTOGRAM) {
                put_histogram(out, metrics, metric, series);
                continue;
            }
            put_series(out, metrics, what, series, "", NULL);
            put_number(out, metrics_value(metrics, metric, series));
            text_append_string(out, "\n");
        }
}

void metrics_write_prometheus(const struct metrics *metrics, struct text *out) {
    for (unsigned metric = 0; metric < METRIC_COUNT; metric++) put_metric(out, metrics, (enum metric)metric);
}

/* ---- JSON ---- */

/* Whole numbers stay whole; what is no number is null. */
static json_t *json_number_of(double number) {
    if (!isfinite(number)) return json_null();
    if (number == floor(number) && fabs(number) < 0x1p53) return json_integer((json_int_t)number);
    return json_real(number);
}

static void add_histogram(json_t *object, const struct metrics *metrics, enum metric metric,
                          struct metric_series series) {
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50", .5}, {"p90", .9}, {"p95", .95}, {"p99", .99}};
    const struct metric_description *what = &metric_table[metric];
    uint64_t buckets[METRIC_MAX_BORDERS + 1], below = 0;
    double sum;
    uint64_t count = metric_read_buckets(metrics, metric, series, buckets, &sum);
    json_object_set_new(object, "count", json_integer((json_int_t)count));
    json_object_set_new(object, "sum", json_number_of(sum));
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        json_object_set_new(object, quantiles[i].name,
                            json_number_of(metrics_quantile(metrics, metric, series, quantiles[i].q)));
    json_t *list = json_array();
    for (uint32_t i = 0; i < n_written_borders(metrics, what->borders); i++) {
        below += buckets[i];
        json_t *pair = json_array();
        json_array_append_new(pair, json_number_of(what->borders->values[i]));
        json_array_append_new(pair, json_integer((json_int_t)below));
        json_array_append_new(list, pair);
    }
    json_object_set_new(object, "buckets", list);
}

static json_t *json_series(const struct metrics *metrics, enum metric metric, struct metric_series series) {
    const struct metric_description *what = &metric_table[metric];
    json_t *object = json_object();
    if (what->first->n_values > 1)
        json_object_set_new(object, what->first->name, json_string(what->first->values[series.first]));
    if (what->second->n_values > 1)
        json_object_set_new(object, what->second->name, json_string(what->second->values[series.second]));
    if (what->kind == METRIC_KIND_HISTOGRAM)
        add_histogram(object, metrics, metric, series);
    else
        json_object_set_new(object, "value", json_number_of(metrics_value(metrics, metric, series)));
    return object;
}

static json_t *json_metric(const struct metrics *metrics, enum metric metric) {
    const struct metric_description *what = &metric_table[metric];
    if (what->first->n_values == 1) {
        if (what->kind != METRIC_KIND_HISTOGRAM)
            return json_number_of(metrics_value(metrics, metric, METRIC_ONLY));
        return json_series(metrics, metric, METRIC_ONLY);
    }
    json_t *list = json_array();
    struct metric_series series;
    for (series.first = 0; series.first < what->first->n_values; series.first++)
        for (series.second = 0; series.second < what->second->n_values; series.second++)
            if (is_written(metrics, metric, series))
                json_array_append_new(list, json_series(metrics, metric, series));
    return list;
}

static int append(const char *bytes, size_t length, void *out) {
    text_append(out, bytes, length);
    return 0;
}

void metrics_write_json(const struct metrics *metrics, struct text *out) {
    json_t *object = json_object();
    int failed = json_object_set_new(object, "model_name", json_string(metrics->model_name));
    for (unsigned metric = 0; metric < METRIC_COUNT; metric++)
        failed |=
            json_object_set_new(object, metric_table[metric].name, json_metric(metrics, (enum metric)metric));
    if (failed != 0 || json_dump_callback(object, append, out, JSON_COMPACT | JSON_REAL_PRECISION(15)) != 0)
        out->failed = true;
    json_decref(object);
}
