#include "plan/catalog.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "plan/catalog_files.h"
#include "plan/catalog_parts.h"
#include "plan/format.h"
#include "plan/json_file.h"
#include "plan/nearest.h"

enum { MOST_ENTRIES = 10000 };

/* What the entries of a file are, and where they go. Reads one entry into `into` (an array's element). */
struct kind {
    const char *file, *array;
    size_t entry_bytes;
    int (*read)(struct json_place *place, const json_t *entry, void *into);
    bool (*is_same)(const void *a, const void *b);
};

static int read_model(struct json_place *place, const json_t *entry, void *into) {
    return catalog_read_model(place, entry, into);
}
static int read_hardware(struct json_place *place, const json_t *entry, void *into) {
    return catalog_read_hardware(place, entry, into, true);
}
static int read_price(struct json_place *place, const json_t *entry, void *into) {
    return catalog_read_price(place, entry, into);
}
static bool same_model(const void *a, const void *b) {
    return plan_names_equal(((const struct plan_model *)a)->name, ((const struct plan_model *)b)->name);
}
static bool same_hardware(const void *a, const void *b) {
    return plan_names_equal(((const struct plan_hardware *)a)->id, ((const struct plan_hardware *)b)->id);
}
static bool same_price(const void *a, const void *b) {
    const struct plan_price *x = a, *y = b;
    return strcmp(x->provider, y->provider) == 0 && strcmp(x->model, y->model) == 0;
}

static const struct kind kinds[] = {
    {"models.json", "models", sizeof(struct plan_model), read_model, same_model},
    {"hardware.json", "devices", sizeof(struct plan_hardware), read_hardware, same_hardware},
    {"prices.json", "prices", sizeof(struct plan_price), read_price, same_price},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* The array of a kind within the catalog. */
static void **entries_of(struct plan_catalog *catalog, size_t kind, size_t **n) {
    void **const arrays[N_KINDS] = {(void **)&catalog->models, (void **)&catalog->hardware,
                                    (void **)&catalog->prices};
    size_t *const counts[N_KINDS] = {&catalog->n_models, &catalog->n_hardware, &catalog->n_prices};
    *n = counts[kind];
    return arrays[kind];
}

/* Puts an entry in place of the one of its name, or behind all. There is room. */
static void place_entry(const struct kind *kind, void *entries, size_t *n, const void *entry) {
    size_t i = 0;
    while (i < *n && !kind->is_same((char *)entries + i * kind->entry_bytes, entry)) i++;
    memcpy((char *)entries + i * kind->entry_bytes, entry, kind->entry_bytes);
    *n += i == *n;
}

static int add_entries(struct plan_catalog *catalog, size_t k, struct json_place *place, const json_t *root) {
    const struct kind *kind = &kinds[k];
    const json_t *array = json_object_get(root, kind->array), *entry;
    size_t *n, i;
    void **entries = entries_of(catalog, k, &n);
    if (!json_is_array(array)) return json_place_error(place, NULL, kind->array, "must be an array");
    if (json_array_size(array) > MOST_ENTRIES)
        return json_place_error(place, NULL, kind->array, "is too long");
    if (json_array_size(array) == 0) return 0;
    void *grown = mem_realloc(*entries, *n + json_array_size(array), kind->entry_bytes);
    void *one = mem_alloc(1, kind->entry_bytes);
    int result = grown == NULL || one == NULL ? ERR_NO_MEMORY : 0;
    if (grown != NULL) *entries = grown;
    place->array = kind->array;
    json_array_foreach(array, i, entry) {
        place->index = i;
        if (result == 0) result = kind->read(place, entry, one);
        if (result == 0) place_entry(kind, *entries, n, one);
    }
    mem_free(one);
    return result;
}

static int add_text(struct plan_catalog *catalog, size_t kind, const char *file, const char *text,
                    size_t length) {
    json_t *root;
    TRY(json_text_parse(&root, text, length, file));
    struct json_place place = {.file = file, .text = text};
    int result = add_entries(catalog, kind, &place, root);
    json_decref(root);
    return result;
}

/* The kind that a file of that name has. */
static size_t kind_of(const char *name) {
    size_t kind = 0;
    while (kind < N_KINDS && strcmp(kinds[kind].file, name) != 0) kind++;
    ASSERT(kind < N_KINDS);
    return kind;
}

int plan_catalog_add(struct plan_catalog *catalog, const char *name, const char *path) {
    char *text;
    size_t length;
    TRY(json_file_text(&text, &length, path));
    const int result = add_text(catalog, kind_of(name), path, text, length);
    mem_free(text);
    return result;
}

static int add_folder(struct plan_catalog *catalog, const char *folder) {
    size_t n_found = 0;
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s", folder, kinds[kind].file) >= (int)sizeof path)
            return ERR(INVALID, "the catalog's path is too long");
        if (access(path, F_OK) < 0 && errno == ENOENT) continue;
        TRY(plan_catalog_add(catalog, kinds[kind].file, path));
        n_found++;
    }
    if (n_found == 0) return ERR(NOT_FOUND, "%s holds no models.json, hardware.json or prices.json", folder);
    return 0;
}

int plan_catalog_open(struct plan_catalog *catalog, const char *folder) {
    *catalog = (struct plan_catalog){0};
    for (size_t i = 0; i < n_catalog_files; i++)
        TRY(add_text(catalog, kind_of(catalog_files[i].name), catalog_files[i].name, catalog_files[i].text,
                     catalog_files[i].length));
    return folder != NULL ? add_folder(catalog, folder) : 0;
}

void plan_catalog_close(struct plan_catalog *catalog) {
    mem_free(catalog->models);
    mem_free(catalog->hardware);
    mem_free(catalog->prices);
    *catalog = (struct plan_catalog){0};
}

static const char *behind_owner(const char *id) {
    const char *slash = strrchr(id, '/');
    return slash != NULL ? slash + 1 : id;
}

const struct plan_model *plan_catalog_model(const struct plan_catalog *catalog, const char *name) {
    struct nearest nearest = {0};
    for (size_t i = 0; i < catalog->n_models; i++) {
        const struct plan_model *model = &catalog->models[i];
        if (plan_names_equal(model->name, name) || plan_names_equal(model->id, name) ||
            plan_names_equal(behind_owner(model->id), name))
            return model;
        nearest_offer(&nearest, name, model->name);
    }
    nearest_error(&nearest, "model", name, "cabinet plan --list models");
    return NULL;
}

const struct plan_hardware *plan_catalog_hardware(const struct plan_catalog *catalog, const char *name) {
    struct nearest nearest = {0};
    for (size_t i = 0; i < catalog->n_hardware; i++) {
        const struct plan_hardware *hardware = &catalog->hardware[i];
        if (plan_names_equal(hardware->id, name) || plan_names_equal(hardware->name, name)) return hardware;
        nearest_offer(&nearest, name, hardware->id);
    }
    nearest_error(&nearest, "hardware", name, "cabinet plan --list hardware");
    return NULL;
}
