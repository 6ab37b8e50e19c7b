#include "plan/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plan/metric.h"

enum { MOST_LINE_BYTES = 1 << 20 };

/* Texts may hold names that were cut within a character. New reference. */
static json_t *json_text(const char *text) {
    json_t *whole = json_string(text);
    if (whole != NULL) return whole;
    char ascii[1024];
    size_t n = 0;
    for (; text[n] != '\0' && n + 1 < sizeof ascii; n++)
        ascii[n] = (char)((text[n] & 0x80) != 0 ? '?' : text[n]);
    ascii[n] = '\0';
    return json_string(ascii);
}

/* What was assumed, in one line. New reference. */
static json_t *reason_of(const struct plan_assumptions *assumptions) {
    char text[PLAN_MAX_ASSUMPTIONS * (PLAN_ASSUMPTION_LENGTH + 2)] = "";
    size_t length = 0;
    for (size_t i = 0; i < assumptions->n; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", i > 0 ? "; " : "",
                                   assumptions->texts[i]);
    return json_text(assumptions->n > 0 ? text : "nothing was assumed");
}

static int predict(const struct plan_catalog *catalog, const struct plan_point *point, double *predicted,
                   const char **unit, struct plan_assumptions *assumptions) {
    struct plan_question *question = mem_alloc(1, sizeof *question);
    if (question == NULL) return ERR_NO_MEMORY;
    int result = plan_question_of(question, catalog, point, assumptions);
    if (result == 0) result = plan_metric_predict(question, point, predicted, unit, assumptions);
    mem_free(question);
    return result;
}

json_t *plan_batch_answer(const struct plan_catalog *catalog, const json_t *line) {
    struct plan_point point;
    struct plan_assumptions assumptions = {0};
    double predicted;
    const char *unit = NULL;
    if (plan_point_read(&point, line) < 0) return json_pack("{s:o}", "error", json_text(err_message()));
    const int result = predict(catalog, &point, &predicted, &unit, &assumptions);
    json_t *answer =
        json_pack("{s:s?, s:s, s:b}", "id", point.id, "metric", point.metric, "in_scope", result == 0);
    if (answer == NULL) return NULL;
    json_object_set_new(answer, "predicted", result == 0 ? json_real(predicted) : json_null());
    json_object_set_new(answer, "unit", unit != NULL ? json_string(unit) : json_null());
    json_object_set_new(answer, "reason", result == 0 ? reason_of(&assumptions) : json_text(err_message()));
    return answer;
}

static int write_answer(FILE *out, json_t *answer) {
    if (answer == NULL) return ERR(NO_MEMORY, "no memory for an answer");
    char *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(answer);
    if (text == NULL) return ERR(NO_MEMORY, "no memory for an answer");
    const int written = fprintf(out, "%s\n", text);
    free(text);
    return written < 0 ? ERR(IO, "an answer cannot be written") : 0;
}

/* A line of a file, at most MOST_LINE_BYTES of it. */
struct line {
    char *text;
    size_t length, capacity;
    bool is_cut;
};

/* 1, or 0 at the end. What a line has beyond the limit is passed over. */
static int next_line(struct line *line, FILE *in) {
    int byte = EOF;
    line->length = 0;
    line->is_cut = false;
    while ((byte = getc(in)) != EOF && byte != '\n') {
        line->is_cut |= line->length == MOST_LINE_BYTES;
        if (line->is_cut) continue;
        if (line->length == line->capacity) {
            const size_t capacity = line->capacity > 0 ? 2 * line->capacity : 1 << 12;
            char *grown = mem_realloc(line->text, capacity, 1);
            if (grown == NULL) return ERR_NO_MEMORY;
            line->text = grown;
            line->capacity = capacity;
        }
        line->text[line->length++] = (char)byte;
    }
    return byte == '\n' || line->length > 0;
}

static bool is_blank(const struct line *line) {
    for (size_t i = 0; i < line->length; i++)
        if (line->text[i] != ' ' && line->text[i] != '\t' && line->text[i] != '\r') return false;
    return true;
}

static int answer_line(const struct plan_catalog *catalog, const struct line *asked, FILE *out,
                       struct plan_batch_counts *counts) {
    json_error_t error = {.text = "longer than 1 MiB"};
    json_t *line =
        asked->is_cut ? NULL : json_loadb(asked->text, asked->length, JSON_REJECT_DUPLICATES, &error);
    json_t *answer =
        line != NULL ? plan_batch_answer(catalog, line) : json_pack("{s:o}", "error", json_text(error.text));
    json_decref(line);
    if (json_object_get(answer, "error") != NULL) {
        json_object_set_new(answer, "line", json_integer((json_int_t)counts->n_lines));
        counts->n_errors++;
    }
    counts->n_in_scope += json_is_true(json_object_get(answer, "in_scope"));
    return write_answer(out, answer);
}

int plan_batch_run(const struct plan_catalog *catalog, FILE *in, FILE *out,
                   struct plan_batch_counts *counts) {
    *counts = (struct plan_batch_counts){0};
    struct line line = {0};
    int result;
    while ((result = next_line(&line, in)) > 0) {
        counts->n_lines++;
        if (!is_blank(&line)) result = answer_line(catalog, &line, out, counts);
        if (result < 0) break;
    }
    mem_free(line.text);
    if (result == 0 && ferror(in) != 0) result = ERR(IO, "the lines cannot be read");
    if (result == 0 && fflush(out) != 0) result = ERR(IO, "answers cannot be written");
    return result;
}
