#include "plan/verification.h"

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

static int read_number(const json_t *object, const char *key, double *number) {
    return kept_number(object, key, 0x1p53, number);
}

static int read_errors(const json_t *root, const char *kind, struct self_errors *errors) {
    const json_t *object = json_object_get(json_object_get(root, "errors"), kind);
    double n;
    TRY(read_number(object, "n", &n));
    errors->n = (size_t)n;
    TRY(read_number(object, "median", &errors->median));
    return read_number(object, "p90", &errors->p90);
}

static int read_factors(struct verification *v, const json_t *root) {
    const json_t *formats = json_object_get(root, "factors"), *entry;
    const char *name;
    json_object_foreach((json_t *)formats, name, entry) {
        struct verification_format *format = &v->formats[v->n_formats];
        if (v->n_formats == VERIFICATION_MAX_FORMATS || strlen(name) >= sizeof format->name)
            return ERR(CORRUPT, "\"factors\" has too many or too long names");
        memcpy(format->name, name, strlen(name) + 1);
        for (int i = 0; i < SELF_PARTS; i++)
            TRY(read_number(entry, self_part_name((enum self_part)i), &format->factors.part[i]));
        v->n_formats++;
    }
    return v->n_formats > 0 ? 0 : ERR(CORRUPT, "\"factors\" are missing");
}

static int read_root(struct verification *v, const json_t *root) {
    const char *schema = json_string_value(json_object_get(root, "schema"));
    double n_threads, model_bytes;
    if (schema == NULL || strcmp(schema, VERIFICATION_SCHEMA) != 0)
        return ERR(CORRUPT, "its schema is not %s", VERIFICATION_SCHEMA);
    TRY(kept_text(root, "version", v->version, sizeof v->version));
    TRY(kept_text(root, "kernels", v->kernels, sizeof v->kernels));
    TRY(kept_text(root, "date", v->date, sizeof v->date));
    TRY(read_number(root, "threads", &n_threads));
    TRY(read_number(root, "model_bytes", &model_bytes));
    if (n_threads >= 0x1p16) return ERR(CORRUPT, "its threads are absurd");
    v->n_threads = (uint32_t)n_threads;
    v->model_bytes = (uint64_t)model_bytes;
    TRY(read_errors(root, "memory", &v->memory));
    TRY(read_errors(root, "step", &v->step));
    TRY(read_errors(root, "prefill", &v->prefill));
    TRY(read_errors(root, "ttft", &v->ttft));
    return read_factors(v, root);
}

int verification_read(struct verification *v, const char *path, const struct calibration_fit *fit,
                      uint64_t model_bytes) {
    json_t *root;
    *v = (struct verification){0};
    if (access(path, R_OK) < 0)
        return ERR(NOT_FOUND, "%s: %s (run `cabinet plan --verify MODEL`)", path, strerror(errno));
    int result = json_file_load(&root, path);
    const bool is_json = result == 0;
    if (is_json) result = read_root(v, root);
    json_decref(root);
    if (result < 0) {
        char reason[512];
        snprintf(reason, sizeof reason, "%s", err_message());
        return ERR(CORRUPT, "%s%s%s (run `cabinet plan --verify MODEL` again)", is_json ? path : "",
                   is_json ? " is no verification: " : "", reason);
    }
    if (strcmp(v->version, fit->version) != 0 || strcmp(v->kernels, fit->kernels) != 0 ||
        v->n_threads != fit->n_threads || v->model_bytes != model_bytes)
        return ERR(UNSUPPORTED,
                   "%s is of version %s, kernels %s, %" PRIu32 " threads and a file of %" PRIu64
                   " bytes: run `cabinet plan --verify MODEL` again",
                   path, v->version, v->kernels, v->n_threads, v->model_bytes);
    return 0;
}

const struct self_factors *verification_factors(const struct verification *v, const char *format) {
    for (uint32_t i = 0; i < v->n_formats; i++)
        if (strcmp(v->formats[i].name, format) == 0) return &v->formats[i].factors;
    return &v->formats[0].factors;
}
