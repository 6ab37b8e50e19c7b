#include "hub/store.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "hub/choose.h"
#include "hub/part.h"

static int cache_folder(const char *name, char *path, size_t size) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (cache != NULL && *cache == '/')
        n = snprintf(path, size, "%s/cabinet/%s", cache, name);
    else if (home != NULL && *home == '/')
        n = snprintf(path, size, "%s/.cache/cabinet/%s", home, name);
    else
        return ERR(NOT_FOUND,
                   "there is no cache folder: neither XDG_CACHE_HOME nor HOME is an absolute path");
    return (size_t)n < size ? 0 : ERR(TOO_LARGE, "the cache folder's path is too long");
}

int store_folder(char *path, size_t size) { return cache_folder("models", path, size); }
int store_weights_folder(char *path, size_t size) { return cache_folder("weights", path, size); }

/* ---- what is there ---- */

/* Appends what a walk met, if it is a model or a part of one. */
static int add(struct store_list *list, const char *path, const struct stat *status) {
    static const char part[] = PART_SUFFIX;
    char name[STORE_PATH_LENGTH];
    size_t length = strlen(path);
    bool is_part = length >= sizeof part && strcmp(path + length - (sizeof part - 1), part) == 0;
    if (is_part) length -= sizeof part - 1;
    snprintf(name, sizeof name, "%.*s", (int)length, path);
    if (!file_path_is_gguf(name) || !file_path_is_safe(name, strlen(name))) return 0;
    if (list->n_files == LISTING_MAX_FILES)
        return ERR(TOO_LARGE, "the cache folder has more than %d models", LISTING_MAX_FILES);
    if (list->n_files == list->capacity) {
        size_t capacity = list->capacity * 2 + 16;
        struct store_file *files = mem_realloc(list->files, capacity, sizeof *files);
        if (files == NULL) return ERR_NO_MEMORY;
        list->files = files;
        list->capacity = capacity;
    }
    struct store_file file = {.path = mem_strndup(name, strlen(name)),
                              .bytes = (uint64_t)status->st_size,
                              .modified_s = status->st_mtime,
                              .is_part = is_part};
    if (file.path == NULL) return ERR_NO_MEMORY;
    list->files[list->n_files++] = file;
    return 0;
}

static int walk(struct store_list *list, FTS *fts, size_t prefix) {
    FTSENT *entry;
    errno = 0;
    while ((entry = fts_read(fts)) != NULL) {
        struct stat target;
        bool is_file = entry->fts_info == FTS_F;
        /* A link to a model is one, too. */
        if (entry->fts_info == FTS_SL)
            is_file = stat(entry->fts_accpath, &target) == 0 && S_ISREG(target.st_mode);
        if (is_file)
            TRY(add(list, entry->fts_path + prefix, entry->fts_info == FTS_SL ? &target : entry->fts_statp));
    }
    return errno == 0 ? 0 : ERR(IO, "reading the cache folder: %s", strerror(errno));
}

static int compare(const void *a, const void *b) {
    const struct store_file *left = a, *right = b;
    int order = strcmp(left->path, right->path);
    return order != 0 ? order : left->is_part - right->is_part;
}

int store_list(struct store_list *list, const char *under) {
    *list = (struct store_list){0};
    char root[STORE_PATH_LENGTH], folder[STORE_PATH_LENGTH];
    TRY(store_folder(root, sizeof root));
    int n = snprintf(folder, sizeof folder, "%s%s%s", root, *under != '\0' ? "/" : "", under);
    if ((size_t)n >= sizeof folder) return ERR(TOO_LARGE, "the cache folder's path is too long");
    if (access(folder, F_OK) != 0) return 0;
    FTS *fts = fts_open((char *const[]){folder, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (fts == NULL) return ERR(IO, "reading %s: %s", folder, strerror(errno));
    int result = walk(list, fts, strlen(root) + 1);
    (void)fts_close(fts);
    if (result < 0) store_list_free(list);
    if (list->n_files > 1) qsort(list->files, list->n_files, sizeof *list->files, compare);
    return result;
}

void store_list_free(struct store_list *list) {
    for (size_t i = 0; i < list->n_files; i++) mem_free(list->files[i].path);
    mem_free(list->files);
    *list = (struct store_list){0};
}

/* ---- by name ---- */

/* The complete files of a repository as a listing, so that the hub's rules choose among them. */
static int read_repository(struct listing *listing, const char *folder) {
    struct store_list list;
    TRY(store_list(&list, folder));
    int result = 0;
    for (size_t i = 0; i < list.n_files && result == 0; i++) {
        const struct store_file *file = &list.files[i];
        const char *path = file->path + strlen(folder) + 1;
        if (!file->is_part) result = listing_add(listing, path, strlen(path), file->bytes, "");
    }
    store_list_free(&list);
    return result < 0 ? result : listing_sort(listing);
}

int store_find(const struct hub_name *name, char *path, size_t size) {
    struct listing listing = {0};
    struct choice choice;
    char of[FILE_PATH_LENGTH + 32];
    snprintf(of, sizeof of, "the cache's %s", name->folder);
    int result = read_repository(&listing, name->folder);
    if (result == 0 && listing.n_files > 0) {
        result = choose(&choice, &listing, name->file, of);
        if (result == 0) result = 1;
    }
    if (result == 1 && (size_t)snprintf(path, size, "%s/%s", name->folder, choice.first->path) >= size)
        result = ERR(TOO_LARGE, "the path of %s is too long", name->folder);
    listing_free(&listing);
    return result;
}

/* ---- removal ---- */

static int remove_path(const char *path, bool may_be_absent) {
    if (unlink(path) == 0 || (may_be_absent && errno == ENOENT)) return 0;
    return ERR(IO, "%s: cannot be removed: %s", path, strerror(errno));
}

int store_remove(const struct store_file *file) {
    char root[STORE_PATH_LENGTH], path[STORE_PATH_LENGTH + sizeof PART_ORIGIN_SUFFIX];
    TRY(store_folder(root, sizeof root));
    int length = snprintf(path, STORE_PATH_LENGTH, "%s/%s", root, file->path);
    if (length >= STORE_PATH_LENGTH) return ERR(TOO_LARGE, "the path of %s is too long", file->path);
    if (file->is_part) {
        strcpy(path + length, PART_ORIGIN_SUFFIX);
        TRY(remove_path(path, true));
        strcpy(path + length, PART_SUFFIX);
    }
    TRY(remove_path(path, false));
    /* Up to the folder itself, as long as nothing else is in it. */
    for (char *slash = strrchr(path, '/'); slash > path + strlen(root); slash = strrchr(path, '/')) {
        *slash = '\0';
        if (rmdir(path) != 0) break;
    }
    return 0;
}
