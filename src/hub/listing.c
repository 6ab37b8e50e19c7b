#include "hub/listing.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

int listing_add(struct listing *listing, const char *path, size_t length, uint64_t bytes,
                const char *sha256) {
    if (!file_path_is_safe(path, length))
        return ERR(CORRUPT, "GGUF file %zu of the listing has a name that is unsafe as a path",
                   listing->n_files + 1);
    if (listing->n_files == LISTING_MAX_FILES)
        return ERR(TOO_LARGE, "the listing has more than %d GGUF files", LISTING_MAX_FILES);
    if (listing->n_files == listing->capacity) {
        size_t capacity = listing->capacity * 2 + 16;
        struct listing_file *files = mem_realloc(listing->files, capacity, sizeof *files);
        if (files == NULL) return ERR_NO_MEMORY;
        listing->files = files;
        listing->capacity = capacity;
    }
    struct listing_file *file = &listing->files[listing->n_files];
    *file = (struct listing_file){.path = mem_strndup(path, length), .bytes = bytes};
    if (file->path == NULL) return ERR_NO_MEMORY;
    strncpy(file->sha256, sha256, SHA256_HEX);
    listing->n_files++;
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(((const struct listing_file *)a)->path, ((const struct listing_file *)b)->path);
}

int listing_sort(struct listing *listing) {
    if (listing->n_files > 1) qsort(listing->files, listing->n_files, sizeof *listing->files, compare);
    for (size_t i = 1; i < listing->n_files; i++)
        if (compare(&listing->files[i - 1], &listing->files[i]) == 0)
            return ERR(CORRUPT, "the listing has '%.200s' twice", listing->files[i].path);
    return 0;
}

const struct listing_file *listing_find(const struct listing *listing, const char *path) {
    struct listing_file key = {.path = (char *)path};
    if (listing->n_files == 0) return NULL;
    return bsearch(&key, listing->files, listing->n_files, sizeof key, compare);
}

void listing_free(struct listing *listing) {
    for (size_t i = 0; i < listing->n_files; i++) mem_free(listing->files[i].path);
    mem_free(listing->files);
    *listing = (struct listing){0};
}

/* ---- the hub's JSON ---- */

static int read_bytes(const json_t *value, const char *path, uint64_t *bytes) {
    if (value == NULL || json_is_null(value)) return 0;
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 || (uint64_t)number > HUB_MAX_FILE_BYTES)
        return ERR(CORRUPT, "the listing's size of '%.200s' is no number of bytes", path);
    if (*bytes != HUB_BYTES_UNKNOWN && *bytes != (uint64_t)number)
        return ERR(CORRUPT, "the listing has two sizes of '%.200s'", path);
    *bytes = (uint64_t)number;
    return 0;
}

static int read_sha256(const json_t *value, const char *path, char *sha256) {
    if (value == NULL || json_is_null(value)) return 0;
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) != SHA256_HEX || strspn(text, "0123456789abcdefABCDEF") != SHA256_HEX)
        return ERR(CORRUPT, "the listing's SHA-256 of '%.200s' is none", path);
    for (int i = 0; i <= SHA256_HEX; i++) sha256[i] = (char)tolower((unsigned char)text[i]);
    return 0;
}

static int add_sibling(struct listing *listing, const json_t *sibling) {
    const json_t *name = json_object_get(sibling, "rfilename");
    const char *path = json_string_value(name);
    if (path == NULL) return ERR(CORRUPT, "the listing has an entry without a file name");
    if (!file_path_is_gguf(path)) return 0;
    size_t length = strlen(path); /* JSON's NUL is refused by jansson */
    if (!file_path_is_safe(path, length)) return listing_add(listing, path, length, 0, "");
    uint64_t bytes = HUB_BYTES_UNKNOWN;
    char sha256[SHA256_HEX + 1] = "";
    const json_t *lfs = json_object_get(sibling, "lfs");
    TRY(read_bytes(json_object_get(sibling, "size"), path, &bytes));
    TRY(read_bytes(json_object_get(lfs, "size"), path, &bytes));
    TRY(read_sha256(json_object_get(lfs, "sha256"), path, sha256));
    return listing_add(listing, path, length, bytes, sha256);
}

static int add_siblings(struct listing *listing, const json_t *root) {
    const json_t *siblings = json_object_get(root, "siblings");
    if (!json_is_array(siblings)) return ERR(CORRUPT, "the listing has no array 'siblings'");
    for (size_t i = 0; i < json_array_size(siblings); i++)
        TRY(add_sibling(listing, json_array_get(siblings, i)));
    return listing_sort(listing);
}

int listing_parse(struct listing *listing, const char *json, size_t length) {
    *listing = (struct listing){0};
    if (length > LISTING_MAX_JSON_BYTES)
        return ERR(TOO_LARGE, "the listing is longer than %zu MiB", LISTING_MAX_JSON_BYTES >> 20);
    json_error_t error;
    json_t *root = json_loadb(json, length, 0, &error);
    if (root == NULL)
        return ERR(CORRUPT, "the listing is no JSON (line %d, column %d)", error.line, error.column);
    int result = add_siblings(listing, root);
    json_decref(root);
    if (result < 0) listing_free(listing);
    return result;
}
