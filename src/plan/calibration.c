#include "plan/calibration.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "plan/json_file.h"
#include "plan/kept_fields.h"

const uint32_t calibration_matmul_rows[CALIBRATION_MATMUL_ROWS] = {1, 4, 16, 32, 128, 512};
const uint32_t calibration_attention_rows[CALIBRATION_ATTENTION_ROWS] = {1, 4, 16, 48};

static const char *const codec_names[CODEC_COUNT] = {
#define X(name) #name,
    CODEC_LIST(X)
#undef X
};

/* ---- writing ---- */

static json_t *number_list(const double *numbers, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_real(numbers[i]));
    return list;
}

static json_t *rows_list(const uint32_t *rows, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(rows[i]));
    return list;
}

static json_t *reads_json(const struct calibration *c) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < c->n_reads; i++) {
        const struct calibration_read *read = &c->reads[i];
        json_array_append_new(list, json_pack("{s:I, s:I, s:f}", "threads", (json_int_t)read->n_threads,
                                              "buffer_bytes", (json_int_t)read->buffer_bytes,
                                              "bytes_per_second", read->bytes_per_second));
    }
    return list;
}

/* The kernels' speeds: tables by weight type and by codec, in the order of the rows beside them. */
static json_t *kernels_json(const struct calibration *c) {
    json_t *matmul = json_object(), *attention = json_object(), *store = json_object();
    for (uint32_t type = 0; type < WEIGHT_TYPE_END; type++)
        if (weight_format_get(type) != NULL && c->matmul[type][0] > 0)
            json_object_set_new(matmul, weight_format_get(type)->name,
                                number_list(c->matmul[type], CALIBRATION_MATMUL_ROWS));
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        if (c->attention[codec][0] > 0)
            json_object_set_new(attention, codec_names[codec],
                                number_list(c->attention[codec], CALIBRATION_ATTENTION_ROWS));
        json_object_set_new(store, codec_names[codec], json_real(c->store[codec]));
    }
    return json_pack(
        "{s:s, s:s, s:I, s:o, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o}", "version", c->version,
        "kernels", c->kernels, "threads", (json_int_t)c->n_threads, "reads", reads_json(c), "f32_flops",
        c->f32_flops, "fork_seconds", c->fork_seconds, "matmul_call_seconds", c->matmul_call_seconds,
        "attention_call_seconds", c->attention_call_seconds, "vector_seconds_per_number", c->vector_seconds,
        "matmul_rows", rows_list(calibration_matmul_rows, CALIBRATION_MATMUL_ROWS), "matmul_seconds_per_byte",
        matmul, "attention_rows", rows_list(calibration_attention_rows, CALIBRATION_ATTENTION_ROWS),
        "attention_seconds_per_number", attention, "store_seconds_per_number", store);
}

int calibration_write(const struct calibration *c, const char *path) {
    char source[128];
    snprintf(source, sizeof source, "measured: cabinet calibrate %s, %s", c->version, c->date);
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:f, s:{s:f, s:f}, s:{s:f, s:f}, s:[s], s:o}",
                             "schema", CALIBRATION_SCHEMA, "date", c->date, "id", "this", "name", c->machine,
                             "kind", "cpu", "mem_bytes", (json_int_t)c->memory_bytes, "mem_bw_Bps",
                             c->read_bytes_per_second, "flops_dense", "bf16", c->bf16_flops, "int8",
                             c->int8_ops, "measured", "mem_bw_Bps", c->read_bytes_per_second, "bf16_flops",
                             c->bf16_flops, "sources", source, "cabinet", kernels_json(c));
    if (root == NULL) return ERR(NO_MEMORY, "no memory for the calibration");
    char part[4096 + 8];
    int result = 0;
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
        result = ERR(TOO_LARGE, "the path %s is too long", path);
    if (result == 0 &&
        (json_dump_file(root, part, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) < 0 || rename(part, path) < 0))
        result = ERR(IO, "cannot write %s: %s", path, strerror(errno));
    if (result < 0) (void)unlink(part);
    json_decref(root);
    return result;
}

/* ---- reading ---- */

static int read_number(const json_t *object, const char *key, double *number) {
    return kept_number(object, key, INFINITY, number);
}

static int read_list(const json_t *list, const char *what, double *numbers, size_t n) {
    if (json_array_size(list) != n) return ERR(CORRUPT, "%s has no %zu numbers", what, n);
    for (size_t i = 0; i < n; i++) {
        numbers[i] = json_number_value(json_array_get(list, i));
        if (!(numbers[i] > 0 && isfinite(numbers[i])))
            return ERR(CORRUPT, "%s has a number that is not above 0", what);
    }
    return 0;
}

static int check_rows(const json_t *object, const char *key, const uint32_t *rows, size_t n) {
    double numbers[CALIBRATION_MATMUL_ROWS];
    TRY(read_list(json_object_get(object, key), key, numbers, n));
    for (size_t i = 0; i < n; i++)
        if (numbers[i] < rows[i] || numbers[i] > rows[i]) return ERR(CORRUPT, "\"%s\" are other rows", key);
    return 0;
}

static int read_reads(struct calibration *c, const json_t *list) {
    if (!json_is_array(list) || json_array_size(list) > CALIBRATION_MAX_READS)
        return ERR(CORRUPT, "\"reads\" is no list of at most %d", CALIBRATION_MAX_READS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        double n_threads, bytes;
        TRY(read_number(entry, "threads", &n_threads));
        TRY(read_number(entry, "buffer_bytes", &bytes));
        TRY(read_number(entry, "bytes_per_second", &c->reads[i].bytes_per_second));
        if (n_threads >= 0x1p16 || bytes >= 0x1p53) return ERR(CORRUPT, "\"reads\" has an absurd number");
        c->reads[i].n_threads = (uint32_t)n_threads;
        c->reads[i].buffer_bytes = (uint64_t)bytes;
    }
    c->n_reads = (uint32_t)json_array_size(list);
    return 0;
}

static int read_tables(struct calibration *c, const json_t *kernels) {
    const json_t *matmul = json_object_get(kernels, "matmul_seconds_per_byte"),
                 *attention = json_object_get(kernels, "attention_seconds_per_number"),
                 *store = json_object_get(kernels, "store_seconds_per_number");
    TRY(check_rows(kernels, "matmul_rows", calibration_matmul_rows, CALIBRATION_MATMUL_ROWS));
    TRY(check_rows(kernels, "attention_rows", calibration_attention_rows, CALIBRATION_ATTENTION_ROWS));
    for (uint32_t type = 0; type < WEIGHT_TYPE_END; type++) {
        const struct weight_format *format = weight_format_get(type);
        const json_t *list = format == NULL ? NULL : json_object_get(matmul, format->name);
        if (list != NULL) TRY(read_list(list, format->name, c->matmul[type], CALIBRATION_MATMUL_ROWS));
    }
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        const json_t *list = json_object_get(attention, codec_names[codec]);
        if (list != NULL)
            TRY(read_list(list, codec_names[codec], c->attention[codec], CALIBRATION_ATTENTION_ROWS));
        TRY(read_number(store, codec_names[codec], &c->store[codec]));
    }
    return 0;
}

static int read_root(struct calibration *c, const json_t *root) {
    const json_t *kernels = json_object_get(root, "cabinet"), *flops = json_object_get(root, "flops_dense");
    const char *schema = json_string_value(json_object_get(root, "schema"));
    double memory_bytes, n_threads;
    if (schema == NULL || strcmp(schema, CALIBRATION_SCHEMA) != 0)
        return ERR(CORRUPT, "its schema is not %s", CALIBRATION_SCHEMA);
    TRY(kept_text(root, "date", c->date, sizeof c->date));
    TRY(kept_text(root, "name", c->machine, sizeof c->machine));
    TRY(kept_text(kernels, "version", c->version, sizeof c->version));
    TRY(kept_text(kernels, "kernels", c->kernels, sizeof c->kernels));
    TRY(read_number(root, "mem_bytes", &memory_bytes));
    TRY(read_number(kernels, "threads", &n_threads));
    if (memory_bytes >= 0x1p53 || n_threads < 1 || n_threads >= 0x1p16)
        return ERR(CORRUPT, "its memory or threads are absurd");
    c->memory_bytes = (uint64_t)memory_bytes;
    c->n_threads = (uint32_t)n_threads;
    TRY(read_number(root, "mem_bw_Bps", &c->read_bytes_per_second));
    TRY(read_number(flops, "bf16", &c->bf16_flops));
    TRY(read_number(flops, "int8", &c->int8_ops));
    TRY(read_number(kernels, "f32_flops", &c->f32_flops));
    TRY(read_number(kernels, "fork_seconds", &c->fork_seconds));
    TRY(read_number(kernels, "matmul_call_seconds", &c->matmul_call_seconds));
    TRY(read_number(kernels, "attention_call_seconds", &c->attention_call_seconds));
    TRY(read_number(kernels, "vector_seconds_per_number", &c->vector_seconds));
    TRY(read_reads(c, json_object_get(kernels, "reads")));
    return read_tables(c, kernels);
}

static int check_fit(const struct calibration *c, const char *path, const struct calibration_fit *fit) {
    static const char again[] = "run `cabinet calibrate` again";
    if (fit->version[0] != '\0' && strcmp(fit->version, c->version) != 0)
        return ERR(UNSUPPORTED, "%s is of version %s, this is %s: %s", path, c->version, fit->version, again);
    if (fit->kernels[0] != '\0' && strcmp(fit->kernels, c->kernels) != 0)
        return ERR(UNSUPPORTED, "%s is of kernels %s, this processor runs %s: %s", path, c->kernels,
                   fit->kernels, again);
    if (fit->n_threads != 0 && fit->n_threads != c->n_threads)
        return ERR(UNSUPPORTED, "%s is of %" PRIu32 " threads, these are %" PRIu32 ": %s --threads %" PRIu32,
                   path, c->n_threads, fit->n_threads, again, fit->n_threads);
    return 0;
}

int calibration_read(struct calibration *calibration, const char *path, const struct calibration_fit *fit) {
    json_t *root;
    *calibration = (struct calibration){0};
    if (access(path, R_OK) < 0)
        return ERR(NOT_FOUND, "this machine is not measured yet (%s: %s): run `cabinet calibrate`", path,
                   strerror(errno));
    int result = json_file_load(&root, path);
    const bool is_json = result == 0;
    if (is_json) result = read_root(calibration, root);
    json_decref(root);
    if (result < 0) {
        char reason[512];
        snprintf(reason, sizeof reason, "%s", err_message());
        return ERR(CORRUPT, "%s%s%s (run `cabinet calibrate` again)", is_json ? path : "",
                   is_json ? " is no calibration: " : "", reason);
    }
    return check_fit(calibration, path, fit);
}
