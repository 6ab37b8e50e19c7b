/* What the grid says: corrected, judged, printed, kept. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cache_file.h"
#include "cli/cli.h"
#include "cli/verify.h"
#include "plan/verification.h"

const char *verify_kind_name(enum verify_kind kind) {
    static const char *const names[] = {
#define X(name) #name,
        VERIFY_KIND_LIST(X)
#undef X
    };
    return names[kind];
}

static double error_of(double predicted, double measured) { return (predicted - measured) / measured; }

static double median(const double *samples, uint32_t n) {
    double sorted[VERIFY_MAX_SAMPLES];
    memcpy(sorted, samples, n * sizeof *samples);
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = i; j > 0 && sorted[j] < sorted[j - 1]; j--) {
            const double larger = sorted[j - 1];
            sorted[j - 1] = sorted[j];
            sorted[j] = larger;
        }
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static double calibrated(const struct verify_cell *cell) {
    const struct self_factors none = self_factors_none();
    return cell->kind == VERIFY_memory ? cell->predicted : self_total(&cell->parts, &none);
}

void verify_judge(struct verify *verify) {
    static struct self_point points[VERIFY_MAX_CELLS];
    double errors[VERIFY_MAX_CELLS], raw_errors[VERIFY_MAX_CELLS];
    size_t n_points = 0;
    for (size_t i = 0; i < verify->n_cells; i++) {
        struct verify_cell *cell = &verify->cells[i];
        if (cell->kind != VERIFY_memory) cell->measured = median(cell->samples, cell->n_samples);
        if (cell->is_fit) points[n_points++] = (struct self_point){cell->parts, cell->format, cell->measured};
    }
    self_fit(points, n_points, verify->factors);
    for (int kind = 0; kind < VERIFY_KINDS; kind++) {
        size_t n = 0, n_raw = 0;
        for (size_t i = 0; i < verify->n_cells; i++) {
            struct verify_cell *cell = &verify->cells[i];
            if (cell->kind != (enum verify_kind)kind) continue;
            raw_errors[n_raw++] = fabs(error_of(calibrated(cell), cell->measured));
            if (kind != VERIFY_memory)
                cell->predicted = self_total(&cell->parts, &verify->factors[cell->format]);
            if (!cell->is_fit) errors[n++] = fabs(error_of(cell->predicted, cell->measured));
        }
        verify->errors[kind] = self_errors_of(errors, n);
        verify->uncorrected_errors[kind] = self_errors_of(raw_errors, n_raw);
    }
}

/* ---- JSON ---- */

static json_t *cell_json(const struct verify *verify, const struct verify_cell *cell) {
    json_t *parts = json_object();
    for (int i = 0; i < SELF_PARTS && cell->kind != VERIFY_memory; i++)
        json_object_set_new(parts, self_part_name((enum self_part)i),
                            json_real(cell->parts.part[i] * verify->factors[cell->format].part[i]));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:o}", "kind",
                     verify_kind_name(cell->kind), "kv", verify->formats[cell->format].name, "context_tokens",
                     (json_int_t)cell->context, "users", (json_int_t)cell->users, "new_tokens",
                     (json_int_t)cell->n_new, "shared_tokens", (json_int_t)cell->n_shared, "role",
                     cell->is_fit ? "fit" : "judge", "samples", (json_int_t)cell->n_samples, "calibrated",
                     calibrated(cell), "predicted", cell->predicted, "measured", cell->measured, "error",
                     error_of(cell->predicted, cell->measured), "parts", parts);
}

static json_t *errors_json(const struct verify *verify) {
    json_t *object = json_object();
    for (int kind = 0; kind < VERIFY_KINDS; kind++) {
        const struct self_errors *errors = &verify->errors[kind], *raw = &verify->uncorrected_errors[kind];
        json_object_set_new(object, verify_kind_name((enum verify_kind)kind),
                            json_pack("{s:I, s:f, s:f, s:f, s:f}", "n", (json_int_t)errors->n, "median",
                                      errors->median, "p90", errors->p90, "calibrated_median", raw->median,
                                      "calibrated_p90", raw->p90));
    }
    return object;
}

static json_t *factors_json(const struct verify *verify) {
    json_t *object = json_object();
    for (unsigned f = 0; f < verify->n_formats; f++) {
        json_t *factors = json_object();
        for (int i = 0; i < SELF_PARTS; i++)
            json_object_set_new(factors, self_part_name((enum self_part)i),
                                json_real(verify->factors[f].part[i]));
        json_object_set_new(object, verify->formats[f].name, factors);
    }
    return object;
}

static json_t *report_json(const struct verify *verify) {
    const struct calibration *c = &verify->calibration;
    struct stat status = {0};
    (void)stat(verify->path, &status);
    json_t *cells = json_array();
    for (size_t i = 0; i < verify->n_cells; i++)
        json_array_append_new(cells, cell_json(verify, &verify->cells[i]));
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:b, s:f, s:o, s:o, s:o}", "schema",
                     VERIFICATION_SCHEMA, "model", verify->path, "model_bytes", (json_int_t)status.st_size,
                     "date", c->date, "machine", c->machine, "kernels", c->kernels, "version", c->version,
                     "threads", (json_int_t)c->n_threads, "is_quick", verify->opts->is_quick,
                     "processor_share", verify->processor_share, "errors", errors_json(verify), "factors",
                     factors_json(verify), "cells", cells);
}

int verify_file(const char *model_path, char *path, size_t size) {
    const char *slash = strrchr(model_path, '/');
    char name[512];
    if ((size_t)snprintf(name, sizeof name, "verified/%s.json", slash == NULL ? model_path : slash + 1) >=
        sizeof name)
        return ERR(TOO_LARGE, "the model's name is too long");
    return cache_file(name, path, size);
}

int verify_keep(const struct verify *verify) {
    char path[4096];
    TRY(verify_file(verify->path, path, sizeof path));
    json_t *report = report_json(verify);
    if (report == NULL) return ERR(NO_MEMORY, "no memory for the report");
    int result = json_dump_file(report, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(report);
    return result < 0 ? ERR(IO, "cannot write %s", path) : 0;
}

/* ---- text ---- */

static void print_cell(const struct verify *verify, const struct verify_cell *cell) {
    const bool is_memory = cell->kind == VERIFY_memory;
    const double unit = is_memory ? 1 : 1e3;
    printf("%-8s %-5s %7" PRIu32 " %6" PRIu32 " %7" PRIu32 " %6" PRIu32
           "  %13.*f %13.*f %13.*f %+7.1f%%  %s\n",
           verify_kind_name(cell->kind), verify->formats[cell->format].name, cell->context, cell->users,
           cell->n_shared, cell->n_new, is_memory ? 0 : 3, unit * calibrated(cell), is_memory ? 0 : 3,
           unit * cell->predicted, is_memory ? 0 : 3, unit * cell->measured,
           100 * error_of(cell->predicted, cell->measured), cell->is_fit ? "fit" : "");
}

/* Threads that wait for each other's last item sleep now and then; with less, something else ran beside them.
 */
static const double LEAST_SHARE = 0.85;

static void print_text(const struct verify *verify) {
    const struct calibration *c = &verify->calibration;
    printf("%s\n%s, %" PRIu32 " threads, kernels %s; bytes, and milliseconds\n\n", verify->path, c->machine,
           c->n_threads, c->kernels);
    printf("%-8s %-5s %7s %6s %7s %6s  %13s %13s %13s %8s\n", "what", "kv", "context", "users", "shared",
           "new", "calibrated", "predicted", "measured", "error");
    for (int kind = 0; kind < VERIFY_KINDS; kind++)
        for (size_t i = 0; i < verify->n_cells; i++)
            if (verify->cells[i].kind == (enum verify_kind)kind) print_cell(verify, &verify->cells[i]);
    printf("\nwhat judges (not \"fit\"), relative error:\n");
    for (int kind = 0; kind < VERIFY_KINDS; kind++) {
        const struct self_errors *errors = &verify->errors[kind], *raw = &verify->uncorrected_errors[kind];
        printf("  %-8s median %5.1f %%, 90 %% within %5.1f %% (%zu points); all as calibrated: %.1f %%, %.1f "
               "%%\n",
               verify_kind_name((enum verify_kind)kind), 100 * errors->median, 100 * errors->p90, errors->n,
               100 * raw->median, 100 * raw->p90);
    }
    if (verify->processor_share < LEAST_SHARE)
        printf("  disturbed: this program had %.0f %% of its threads' processors, others the rest; measure "
               "again\n",
               100 * verify->processor_share);
    for (unsigned f = 0; f < verify->n_formats; f++) {
        printf("factors %s:", verify->formats[f].name);
        for (int i = 0; i < SELF_PARTS; i++)
            printf(" %s %.2f", self_part_name((enum self_part)i), verify->factors[f].part[i]);
        printf("\n");
    }
}

int verify_print(const struct verify *verify) {
    if (!verify->opts->is_json) {
        print_text(verify);
        return 0;
    }
    json_t *report = report_json(verify);
    if (report == NULL) return ERR(NO_MEMORY, "no memory for the report");
    (void)json_dumpf(report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(report);
    return 0;
}
