/* cabinet rm: a model out of the cache folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "cli/model_name.h"
#include "hub/store.h"
#include "model/weight_cache.h"

enum { OPTION_WEIGHTS = 256 };

static const struct argp_option options[] = {
    {"weights", OPTION_WEIGHTS, 0, 0, "remove the repacked weights of all models instead, and no model", 0},
    {0},
};

struct rm_opts {
    const char *name;
    bool is_weights;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct rm_opts *opts = state->input;
    if (key == OPTION_WEIGHTS) {
        opts->is_weights = true;
        return 0;
    }
    if (!opts->is_weights) return cli_parse_model(key, argument, state, &opts->name);
    if (key == ARGP_KEY_ARG)
        argp_failure(state, EXIT_USAGE, 0, "--weights is about all models; '%s' is too much", argument);
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    options,
    parse,
    "NAME\n--weights",
    "Remove a model from the cache folder: all of a repository, or one FILE or TAG of it, with what an "
    "unfinished pull "
    "left, and with its repacked weights. NAME is as `cabinet list` shows it; files elsewhere are not "
    "touched.\v"
    "Examples:\n"
    "  cabinet rm Qwen/Qwen2.5-0.5B-Instruct-GGUF\n"
    "  cabinet rm Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0\n"
    "  cabinet rm smollm2\n"
    "  cabinet rm --weights",
    NULL,
    NULL,
    NULL};

/* What to remove: below `folder` the files that match `wanted`. */
struct target {
    char folder[FILE_PATH_LENGTH]; /* of a repository or a URL; "" for a file that lies by itself */
    char wanted[FILE_PATH_LENGTH]; /* a path below the folder; of a repository also a name, a tag, or "": all
                                      of it */
    bool is_repository;
};

typedef bool match(const char *path, const char *wanted);

static bool is_path(const char *path, const char *wanted) { return strcmp(path, wanted) == 0; }
static bool is_name(const char *path, const char *wanted) {
    return strcasecmp(file_path_base(path), wanted) == 0;
}
static bool is_tagged(const char *path, const char *wanted) {
    return *wanted == '\0' || file_path_has_tag(path, wanted);
}

static int not_there(const char *name) {
    return ERR(NOT_FOUND, "'%.200s' is not in the cache folder; `cabinet list` shows what is", name);
}

static int find_target(struct target *target, const char *name) {
    char endpoint[NAME_URL_LENGTH];
    struct hub_name hub_name;
    const char *path = model_short_name_path(name);
    if (path == NULL && file_path_is_gguf(name) && strchr(name, ':') == NULL) path = name;
    *target = (struct target){0};
    if (path != NULL) {
        /* The short name's file, or one that lies in the folder by itself. */
        if (!file_path_is_safe(path, strlen(path))) return not_there(name);
        snprintf(target->wanted, sizeof target->wanted, "%s", path);
        return 0;
    }
    TRY(model_endpoint(NULL, endpoint, sizeof endpoint));
    if (hub_name_parse(&hub_name, name, endpoint) < 0) return not_there(name);
    snprintf(target->folder, sizeof target->folder, "%s", hub_name.folder);
    snprintf(target->wanted, sizeof target->wanted, "%s", hub_name.file);
    target->is_repository = *hub_name.url == '\0';
    return 0;
}

/* What was removed. */
struct freed {
    uint64_t bytes;
    unsigned n_files;
};

/* The bytes of a model's repacked weights, which are gone. What is no model here has none. */
static uint64_t forget_weights(const struct store_file *file) {
    char root[STORE_PATH_LENGTH], path[STORE_PATH_LENGTH + FILE_PATH_LENGTH], folder[STORE_PATH_LENGTH];
    struct gguf *source;
    if (file->is_part || store_folder(root, sizeof root) < 0 ||
        store_weights_folder(folder, sizeof folder) < 0)
        return 0;
    snprintf(path, sizeof path, "%s/%s", root, file->path);
    if (gguf_open(&source, path) < 0) return 0;
    uint64_t bytes = weight_cache_forget(folder, source).bytes;
    gguf_close(source);
    return bytes;
}

static int remove_matching(const struct store_list *list, const struct target *target, match *matches,
                           struct freed *freed) {
    size_t prefix = *target->folder != '\0' ? strlen(target->folder) + 1 : 0;
    for (size_t i = 0; i < list->n_files; i++) {
        const struct store_file *file = &list->files[i];
        if (!matches(file->path + prefix, target->wanted)) continue;
        freed->bytes += forget_weights(file);
        TRY(store_remove(file));
        freed->bytes += file->bytes;
        freed->n_files++;
    }
    return 0;
}

static int run(const char *name) {
    static match *const ways[] = {is_path, is_name, is_tagged};
    struct target target;
    struct store_list list;
    struct freed freed = {0};
    TRY(find_target(&target, name));
    TRY(store_list(&list, target.folder));
    int result = 0;
    size_t n_ways = target.is_repository ? sizeof ways / sizeof *ways : 1;
    for (size_t i = 0; i < n_ways && result == 0 && freed.n_files == 0; i++)
        result = remove_matching(&list, &target, ways[i], &freed);
    store_list_free(&list);
    TRY(result);
    if (freed.n_files == 0) return not_there(name);
    char size[CLI_BYTES_LENGTH];
    printf("%s freed (%u file%s)\n", cli_format_bytes(size, (double)freed.bytes), freed.n_files,
           freed.n_files == 1 ? "" : "s");
    return 0;
}

static int run_weights(void) {
    char folder[STORE_PATH_LENGTH], size[CLI_BYTES_LENGTH];
    TRY(store_weights_folder(folder, sizeof folder));
    struct weight_cache_usage freed = weight_cache_clear(folder);
    printf("%s freed (%u file%s)\n", cli_format_bytes(size, (double)freed.bytes), freed.n_files,
           freed.n_files == 1 ? "" : "s");
    return 0;
}

int cli_rm(int argc, char **argv) {
    struct rm_opts opts = {NULL, false};
    cli_parse(&argp, argc, argv, &opts);
    return (opts.is_weights ? run_weights() : run(opts.name)) < 0 ? cli_fail() : EXIT_SUCCESS;
}
