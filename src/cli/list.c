/* cabinet list: the models in the cache folder. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/model_name.h"
#include "hub/store.h"
#include "model/gguf.h"
#include "model/quote.h"
#include "model/weight_cache.h"

enum { OPTION_JSON = 256 };

static const struct argp_option options[] = {
    {"json", OPTION_JSON, 0, 0, "print one JSON object (docs/json.md)", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    (void)argument;
    bool *is_json = state->input;
    if (key != OPTION_JSON) return ARGP_ERR_UNKNOWN;
    *is_json = true;
    return 0;
}

static const struct argp argp = {options,
                                 parse,
                                 NULL,
                                 "List the models in the cache folder by the names that other verbs take.\v"
                                 "Examples:\n  cabinet list\n  cabinet list --json",
                                 NULL,
                                 NULL,
                                 NULL};

/* A model: one file, or all the parts of a split one. */
struct row {
    char name[NAME_URL_LENGTH];
    const char *path; /* below the cache folder; of the first file */
    uint64_t bytes;
    unsigned n_files, n_missing; /* missing: parts of a split model, and what is still on its way */
    int64_t modified_s;
    char architecture[QUOTED_BYTES]; /* "" if the file does not tell, or is not complete */
    uint64_t repacked_bytes;         /* of its weights in the weight cache */
};

struct table {
    struct row *rows;
    size_t n_rows;
    uint64_t bytes;
    char folder[STORE_PATH_LENGTH], weights_folder[STORE_PATH_LENGTH];
    struct weight_cache_usage repacked; /* of all models, also of those elsewhere */
};

static bool is_same_model(const char *a, const char *b) {
    struct file_split left, right;
    return file_path_split(a, &left) && file_path_split(b, &right) && left.count == right.count &&
           left.stem_length == right.stem_length && strncmp(a, b, left.stem_length) == 0;
}

static void set_name(struct row *row) {
    const char *short_name = model_short_name(row->path);
    if (short_name != NULL)
        snprintf(row->name, sizeof row->name, "%s", short_name);
    else
        hub_name_of_path(row->name, sizeof row->name, row->path);
}

static void add_file(struct table *table, const struct store_file *file) {
    struct row *row = table->n_rows > 0 ? &table->rows[table->n_rows - 1] : NULL;
    if (row == NULL || !is_same_model(row->path, file->path)) {
        struct file_split split;
        row = &table->rows[table->n_rows++];
        *row = (struct row){.path = file->path};
        row->n_missing = file_path_split(file->path, &split) ? split.count : 1;
        set_name(row);
    }
    row->bytes += file->bytes;
    row->n_files++;
    if (!file->is_part && row->n_missing > 0) row->n_missing--;
    if (file->modified_s > row->modified_s) row->modified_s = file->modified_s;
    table->bytes += file->bytes;
}

/* A file that does not run here has no architecture to show; what is wrong with it is `cabinet inspect`'s to
 * say. */
static void read_model(const struct table *table, struct row *row) {
    char path[STORE_PATH_LENGTH + FILE_PATH_LENGTH];
    struct gguf *file;
    struct gguf_string architecture;
    snprintf(path, sizeof path, "%s/%s", table->folder, row->path);
    if (row->n_missing > 0 || gguf_open(&file, path) < 0) return;
    if (gguf_get_string(file, "general.architecture", &architecture) == 1)
        (void)quote_printable(row->architecture, sizeof row->architecture, architecture);
    row->repacked_bytes = weight_cache_usage_of(table->weights_folder, file).bytes;
    gguf_close(file);
}

static int fill(struct table *table, const struct store_list *list) {
    TRY(store_folder(table->folder, sizeof table->folder));
    TRY(store_weights_folder(table->weights_folder, sizeof table->weights_folder));
    table->repacked = weight_cache_usage(table->weights_folder);
    table->rows = mem_alloc(list->n_files, sizeof *table->rows);
    if (table->rows == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < list->n_files; i++) add_file(table, &list->files[i]);
    for (size_t i = 0; i < table->n_rows; i++) read_model(table, &table->rows[i]);
    return 0;
}

static const char *state_of(const struct row *row) {
    if (row->n_missing > 0) return "(incomplete)";
    return *row->architecture != '\0' ? row->architecture : "?";
}

static void print_text(const struct table *table) {
    int width = (int)strlen("NAME");
    for (size_t i = 0; i < table->n_rows; i++) {
        int length = (int)strlen(table->rows[i].name);
        if (length > width) width = length;
    }
    if (table->n_rows == 0)
        printf("No models in %s; `cabinet pull OWNER/REPO` fetches one.\n", table->folder);
    else
        printf("%-*s  %9s  %-12s  %s\n", width, "NAME", "SIZE", "ARCHITECTURE", "CHANGED");
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct row *row = &table->rows[i];
        char size[CLI_BYTES_LENGTH], date[32] = "";
        struct tm local;
        time_t seconds = row->modified_s;
        if (localtime_r(&seconds, &local) != NULL)
            (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M", &local);
        printf("%-*s  %9s  %-12s  %s\n", width, row->name, cli_format_bytes(size, (double)row->bytes),
               state_of(row), date);
    }
    if (table->repacked.n_files == 0) return;
    char size[CLI_BYTES_LENGTH];
    printf("Repacked weights of %u model%s take %s beside that; `cabinet rm --weights` frees them.\n",
           table->repacked.n_files, table->repacked.n_files == 1 ? "" : "s",
           cli_format_bytes(size, (double)table->repacked.bytes));
}

static json_t *row_json(const struct table *table, const struct row *row) {
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(row->name));
    json_object_set_new(object, "path", json_sprintf("%s/%s", table->folder, row->path));
    json_object_set_new(object, "bytes", json_integer((json_int_t)row->bytes));
    json_object_set_new(object, "files", json_integer(row->n_files));
    json_object_set_new(object, "is_complete", json_boolean(row->n_missing == 0));
    json_object_set_new(object, "architecture",
                        *row->architecture != '\0' ? json_string(row->architecture) : json_null());
    json_object_set_new(object, "repacked_bytes", json_integer((json_int_t)row->repacked_bytes));
    json_object_set_new(object, "modified_unix_s", json_integer(row->modified_s));
    return object;
}

static void print_json(const struct table *table) {
    json_t *object = json_object(), *models = json_array();
    for (size_t i = 0; i < table->n_rows; i++)
        json_array_append_new(models, row_json(table, &table->rows[i]));
    json_object_set_new(object, "folder", json_string(table->folder));
    json_object_set_new(object, "bytes", json_integer((json_int_t)table->bytes));
    json_object_set_new(object, "repacked_folder", json_string(table->weights_folder));
    json_object_set_new(object, "repacked_bytes", json_integer((json_int_t)table->repacked.bytes));
    json_object_set_new(object, "models", models);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

static int run(bool is_json) {
    struct store_list list;
    struct table table = {0};
    TRY(store_list(&list, ""));
    int result = fill(&table, &list);
    if (result == 0 && is_json) print_json(&table);
    if (result == 0 && !is_json) print_text(&table);
    mem_free(table.rows);
    store_list_free(&list);
    return result;
}

int cli_list(int argc, char **argv) {
    bool is_json = false;
    cli_parse(&argp, argc, argv, &is_json);
    return run(is_json) < 0 ? cli_fail() : EXIT_SUCCESS;
}
