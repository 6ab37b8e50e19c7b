#include "cli/model_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "hub/store.h"

/* Models that `make demo` fetches, by the name a user types. */
static const struct {
    const char *name, *path;
} short_names[] = {{"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"}};
enum { N_SHORT_NAMES = sizeof short_names / sizeof *short_names };

const char *model_short_name(const char *path) {
    for (size_t i = 0; i < N_SHORT_NAMES; i++)
        if (strcmp(short_names[i].path, path) == 0) return short_names[i].name;
    return NULL;
}

const char *model_short_name_path(const char *name) {
    for (size_t i = 0; i < N_SHORT_NAMES; i++)
        if (strcmp(short_names[i].name, name) == 0) return short_names[i].path;
    return NULL;
}

int model_endpoint(const char *option, char *endpoint, size_t size) {
    static const char *const variables[] = {"CABINET_ENDPOINT", "HF_ENDPOINT"};
    const char *text = option;
    for (size_t i = 0; i < sizeof variables / sizeof *variables && text == NULL; i++) {
        text = getenv(variables[i]);
        if (text != NULL && *text == '\0') text = NULL;
    }
    if (text == NULL) text = "https://huggingface.co";
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '/') length--;
    if ((size_t)snprintf(endpoint, size, "%.*s", (int)length, text) >= size || !hub_url_is_plain(endpoint) ||
        strchr(endpoint, '?') != NULL)
        return ERR(INVALID, "the endpoint '%.200s' is no plain http or https URL", text);
    return 0;
}

/* A file below the cache folder's models/: 1 and its path, or 0. */
static int find_in_store(const char *file, char *path, size_t size) {
    char folder[STORE_PATH_LENGTH];
    struct stat status;
    TRY(store_folder(folder, sizeof folder));
    if (!file_path_is_safe(file, strlen(file))) return 0;
    if ((size_t)snprintf(path, size, "%s/%s", folder, file) >= size)
        return ERR(TOO_LARGE, "the cache folder's path is too long");
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* By a short name, or by a path within the cache folder. */
static int find_by_path(const char *model, char *path, size_t size) {
    const char *short_path = model_short_name_path(model);
    int found = find_in_store(short_path != NULL ? short_path : model, path, size);
    if (found != 0 || short_path == NULL) return found;
    return ERR(NOT_FOUND, "model '%s' is not in the cache folder; `make demo` fetches it", model);
}

/* By the name that it was pulled by: 0 if it is there. */
static int find_by_name(const struct hub_name *name, const char *model, char *path, size_t size) {
    char file[STORE_PATH_LENGTH];
    int found = 1;
    if (*name->url != '\0')
        snprintf(file, sizeof file, "%s/%s", name->folder, name->file);
    else
        found = store_find(name, file, sizeof file);
    if (found == 1) found = find_in_store(file, path, size);
    if (found != 0) return found < 0 ? found : 0;
    return ERR(NOT_FOUND, "'%.150s' is no file, and not in the cache: `cabinet pull %.150s` fetches it",
               model, model);
}

/* "folder/model.gguf" looks like OWNER/REPO, but who types it means a file. */
static bool means_file(const char *model) { return strchr(model, ':') == NULL && file_path_is_gguf(model); }

int cli_model_path(const char *model, char *path, size_t size) {
    char endpoint[NAME_URL_LENGTH];
    struct hub_name name;
    struct stat status;
    if ((size_t)snprintf(path, size, "%s", model) >= size)
        return ERR(TOO_LARGE, "the model's path is too long");
    bool is_there = stat(model, &status) == 0;
    if (is_there && !S_ISDIR(status.st_mode)) return 0;
    int found = find_by_path(model, path, size);
    if (found != 0) return found < 0 ? found : 0;
    TRY(model_endpoint(NULL, endpoint, sizeof endpoint));
    if (!means_file(model) && hub_name_parse(&name, model, endpoint) == 0)
        return find_by_name(&name, model, path, size);
    if (is_there) {
        /* a folder: whoever opens it says so */
        snprintf(path, size, "%s", model);
        return 0;
    }
    return ERR(NOT_FOUND, "there is no file '%s', and no model of that short name (there is: %s)", model,
               short_names[0].name);
}
