#include "cli/plan_subject.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/calibrate.h"
#include "cli/cli.h"
#include "plan/model_files.h"

static bool is_file(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

int plan_subject_model(struct plan_model *model, const struct plan_catalog *catalog, const char *name) {
    char path[4096];
    if (ends_with(name, ".json") && is_file(name)) return plan_model_from_config(model, name);
    if (ends_with(name, ".json")) return ERR(NOT_FOUND, "%.200s: there is no such file", name);
    if (is_file(name)) return plan_model_from_gguf(model, name);
    const struct plan_model *entry = plan_catalog_model(catalog, name);
    if (entry != NULL) {
        *model = *entry;
        return 0;
    }
    char near[512];
    snprintf(near, sizeof near, "%s", err_message());
    if (cli_model_path(name, path, sizeof path) == 0) return plan_model_from_gguf(model, path);
    return ERR(NOT_FOUND, "%s", near);
}

int plan_subject_hardware(struct plan_hardware *hardware, const struct plan_catalog *catalog,
                          const char *name, bool *is_assumed) {
    *is_assumed = name == NULL;
    if (name == NULL) name = PLAN_USUAL_HARDWARE;
    if (strcmp(name, "this") == 0) {
        char path[4096];
        struct calibration calibration; /* read for its checks */
        TRY(calibrate_load(&calibration, 0));
        TRY(calibrate_path(path, sizeof path));
        return plan_hardware_read(hardware, path);
    }
    if (ends_with(name, ".json")) return plan_hardware_read(hardware, name);
    const struct plan_hardware *entry = plan_catalog_hardware(catalog, name);
    if (entry == NULL) return ERR_NOT_FOUND;
    *hardware = *entry;
    return 0;
}
