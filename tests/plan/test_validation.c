/* The planner against published measurements: validation.json (its own sources inside), through the batch
 * form. The errors are computed here, from the file's values, which the planner does not see. `VERBOSE=1`
 * prints each. */
#include "plan_test.h"

#include <jansson.h>
#include <math.h>

#include "plan/batch.h"

enum { MOST_POINTS = 512 };

static const char *path;
static json_t *root;
static struct {
    const json_t *point;
    bool is_in_scope;
    double predicted, error; /* |predicted/measured - 1| */
} results[MOST_POINTS];
static size_t n_results;

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

static void write_questions(FILE *file) {
    size_t i;
    const json_t *point;
    json_array_foreach(json_object_get(root, "points"), i, point) {
        json_t *question = json_deep_copy(point);
        assert_non_null(question);
        json_object_del(question, "value");
        assert_int_equal(json_dumpf(question, file, JSON_COMPACT), 0);
        fputc('\n', file);
        json_decref(question);
    }
    rewind(file);
}

static void read_answers(FILE *file) {
    char *line = NULL;
    size_t capacity = 0, i;
    const json_t *point;
    rewind(file);
    json_array_foreach(json_object_get(root, "points"), i, point) {
        assert_true(i < MOST_POINTS && getline(&line, &capacity, file) > 0);
        json_t *answer = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(answer);
        assert_string_equal(text_of(answer, "id"), text_of(point, "id"));
        assert_string_equal(text_of(answer, "unit"), text_of(point, "unit"));
        assert_true(json_is_string(json_object_get(answer, "reason")));
        results[i].point = point;
        results[i].is_in_scope = json_is_true(json_object_get(answer, "in_scope"));
        results[i].predicted = json_number_value(json_object_get(answer, "predicted"));
        results[i].error =
            fabs(results[i].predicted / json_number_value(json_object_get(point, "value")) - 1);
        json_decref(answer);
    }
    n_results = i;
    assert_true(getline(&line, &capacity, file) < 0);
    free(line);
}

static int predict_all(void **state) {
    if (open_catalog(state) < 0) return -1;
    root = json_load_file(path, 0, NULL);
    FILE *questions = tmpfile(), *answers = tmpfile();
    struct plan_batch_counts counts;
    if (root == NULL || questions == NULL || answers == NULL) return -1;
    write_questions(questions);
    assert_int_equal(plan_batch_run(&catalog, questions, answers, &counts), 0);
    assert_int_equal(counts.n_errors, 0);
    read_answers(answers);
    assert_int_equal(counts.n_lines, n_results);
    fclose(questions);
    fclose(answers);
    return 0;
}

static int forget_all(void **state) {
    json_decref(root);
    return close_catalog(state);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The error that a share of those in scope with `key` = `value` (NULL: all) do not exceed. */
static double quantile(const char *key, const char *value, double share, size_t *n) {
    static double errors[MOST_POINTS];
    *n = 0;
    for (size_t i = 0; i < n_results; i++)
        if (results[i].is_in_scope && (value == NULL || strcmp(text_of(results[i].point, key), value) == 0))
            errors[(*n)++] = results[i].error;
    if (*n == 0) return 0;
    qsort(errors, *n, sizeof *errors, by_size);
    const size_t at = (size_t)ceil(share * (double)*n);
    return errors[at > 0 ? at - 1 : 0];
}

static void print_groups(const char *key) {
    for (size_t i = 0; i < n_results; i++) {
        size_t n, j = 0;
        const char *value = text_of(results[i].point, key);
        while (j < i && strcmp(text_of(results[j].point, key), value) != 0) j++;
        if (j < i) continue;
        const double median = quantile(key, value, 0.5, &n), worst = quantile(key, value, 1, &n);
        print_message("%-100.100s %3zu  median %5.1f %%  worst %5.1f %%\n", value, n, 100 * median,
                      100 * worst);
    }
}

static void print_points(void) {
    for (size_t i = 0; i < n_results; i++) {
        const json_t *point = results[i].point;
        print_message("%s %s on %s, %s: %g, predicted %.4g, off by %.1f %%\n", text_of(point, "id"),
                      text_of(point, "model"), text_of(point, "hardware"), text_of(point, "metric"),
                      json_number_value(json_object_get(point, "value")), results[i].predicted,
                      100 * results[i].error);
    }
}

static void errors_are_within_bounds(void **state) {
    (void)state;
    size_t n;
    const double median = quantile(NULL, NULL, 0.5, &n), p90 = quantile(NULL, NULL, 0.9, &n);
    if (getenv("VERBOSE") != NULL) print_points();
    print_groups("source");
    print_groups("metric");
    print_message("%zu of %zu in scope: median error %.1f %%, 90th percentile %.1f %%\n", n, n_results,
                  100 * median, 100 * p90);
    assert_true(n >= 140);
    assert_true(median <= 0.10);
    assert_true(p90 <= 0.35);
}

/* Bytes of a cache are arithmetic: what remains are the sources' own roundings. */
static void memory_is_exact(void **state) {
    (void)state;
    size_t n;
    assert_true(quantile("metric", "kv_bytes", 1, &n) <= 0.005);
    assert_int_equal(n, 5);
}

/* No metric and no category is carried by the others. */
static void no_metric_is_far_off(void **state) {
    (void)state;
    static const char *const metrics[] = {
        "decode_tok_s_per_user", "decode_tok_s_total",         "output_tok_s_total", "prefill_tok_s", "itl_s",
        "e2e_latency_s",         "max_output_tok_s_per_device"};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        size_t n;
        const double median = quantile("metric", metrics[i], 0.5, &n);
        if (n == 0 || median > 0.25) fail_msg("%s: median error %.0f %% of %zu", metrics[i], 100 * median, n);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s validation.json\n", argv[0]);
        return 2;
    }
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_within_bounds),
        cmocka_unit_test(memory_is_exact),
        cmocka_unit_test(no_metric_is_far_off),
    };
    return cmocka_run_group_tests(tests, predict_all, forget_all);
}
