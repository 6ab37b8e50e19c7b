/* cabinet rm: a model out of the cache folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "cli/model_name.h"
#include "hub/store.h"

static error_t parse(int key, char *argument, struct argp_state *state) {
    return cli_parse_model(key, argument, state, state->input);
}

static const struct argp argp = {
    NULL,
    parse,
    "NAME",
    "Remove a model from the cache folder: all of a repository, or one FILE or TAG of it, with what an "
    "unfinished pull "
    "left. NAME is as `cabinet list` shows it; files elsewhere are not touched.\v"
    "Examples:\n"
    "  cabinet rm Qwen/Qwen2.5-0.5B-Instruct-GGUF\n"
    "  cabinet rm Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0\n"
    "  cabinet rm smollm2",
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

static int remove_matching(const struct store_list *list, const struct target *target, match *matches,
                           struct freed *freed) {
    size_t prefix = *target->folder != '\0' ? strlen(target->folder) + 1 : 0;
    for (size_t i = 0; i < list->n_files; i++) {
        const struct store_file *file = &list->files[i];
        if (!matches(file->path + prefix, target->wanted)) continue;
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

int cli_rm(int argc, char **argv) {
    const char *name = NULL;
    cli_parse(&argp, argc, argv, &name);
    return run(name) < 0 ? cli_fail() : EXIT_SUCCESS;
}
