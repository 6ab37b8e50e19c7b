#include "model/weight_cache_folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

static const char suffix[] = ".panels";
enum { KEY_DIGITS = 32, UNFINISHED_SECONDS = 3600 };

static void write_key(char key[KEY_DIGITS + 1], const struct gguf_identity *source) {
    snprintf(key, KEY_DIGITS + 1, "%016" PRIx64 "%016" PRIx64, source->words[0], source->words[1]);
}

bool weight_cache_path(char path[WEIGHT_CACHE_PATH], const char *folder, const struct gguf_identity *source) {
    char key[KEY_DIGITS + 1];
    if (folder == NULL) return false;
    write_key(key, source);
    return snprintf(path, WEIGHT_CACHE_PATH, "%s/%s%s", folder, key, suffix) < WEIGHT_CACHE_PATH;
}

/* ---- what is there ---- */

/* A file of ours, by its name; unfinished ones too. */
struct entry {
    char name[NAME_MAX + 1];
    uint64_t bytes;
    struct timespec used;
    bool is_unfinished;
};

static bool is_ours(const char *name, bool *is_unfinished) {
    size_t n = 0;
    while (n < KEY_DIGITS && isxdigit((unsigned char)name[n])) n++;
    if (n < KEY_DIGITS || strncmp(name + n, suffix, sizeof suffix - 1) != 0) return false;
    name += n + sizeof suffix - 1;
    *is_unfinished = *name != '\0';
    return !*is_unfinished || (*name == '.' && strlen(name) == sizeof WEIGHT_CACHE_UNFINISHED - 1);
}

typedef bool visit(int folder, const struct entry *entry, void *argument);

/* Shows every file of ours until `function` says no. */
static void for_entries(const char *path, visit *function, void *argument) {
    DIR *folder = path == NULL ? NULL : opendir(path);
    if (folder == NULL) return;
    for (const struct dirent *each = readdir(folder); each != NULL; each = readdir(folder)) {
        struct entry entry;
        struct stat status;
        if (!is_ours(each->d_name, &entry.is_unfinished)) continue;
        if (fstatat(dirfd(folder), each->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(status.st_mode)) continue;
        snprintf(entry.name, sizeof entry.name, "%s", each->d_name);
        entry.bytes = (uint64_t)status.st_size;
        entry.used = status.st_mtim;
        if (!function(dirfd(folder), &entry, argument)) break;
    }
    (void)closedir(folder);
}

static void count(struct weight_cache_usage *usage, const struct entry *entry) {
    usage->bytes += entry->bytes;
    usage->n_files++;
}

static bool add_usage(int folder, const struct entry *entry, void *usage) {
    (void)folder;
    count(usage, entry);
    return true;
}

struct weight_cache_usage weight_cache_usage(const char *folder) {
    struct weight_cache_usage usage = {0};
    for_entries(folder, add_usage, &usage);
    return usage;
}

static bool remove_entry(int folder, const struct entry *entry, void *usage) {
    if (unlinkat(folder, entry->name, 0) == 0) count(usage, entry);
    return true;
}

struct weight_cache_usage weight_cache_clear(const char *folder) {
    struct weight_cache_usage usage = {0};
    for_entries(folder, remove_entry, &usage);
    if (folder != NULL) (void)rmdir(folder);
    return usage;
}

struct weight_cache_usage weight_cache_usage_of(const char *folder, const struct gguf *source) {
    char path[WEIGHT_CACHE_PATH];
    struct gguf_identity identity;
    struct stat status;
    struct weight_cache_usage usage = {0};
    if (gguf_identify(source, &identity) && weight_cache_path(path, folder, &identity) &&
        lstat(path, &status) == 0 && S_ISREG(status.st_mode))
        usage = (struct weight_cache_usage){(uint64_t)status.st_size, 1};
    return usage;
}

struct weight_cache_usage weight_cache_forget(const char *folder, const struct gguf *source) {
    char path[WEIGHT_CACHE_PATH];
    struct gguf_identity identity;
    struct weight_cache_usage usage = weight_cache_usage_of(folder, source);
    bool is_gone = usage.n_files > 0 && gguf_identify(source, &identity) &&
                   weight_cache_path(path, folder, &identity) && unlink(path) == 0;
    return is_gone ? usage : (struct weight_cache_usage){0};
}

/* ---- room ---- */

struct search {
    char kept[KEY_DIGITS + sizeof suffix]; /* the name that is about to be replaced */
    uint64_t bytes;                        /* of all others that are finished */
    struct entry oldest;                   /* of those; no name: there is none */
};

static bool is_before(struct timespec a, struct timespec b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static bool look(int folder, const struct entry *entry, void *argument) {
    struct search *search = argument;
    if (entry->is_unfinished) { /* somebody is writing it, or was stopped */
        if (time(NULL) - entry->used.tv_sec > UNFINISHED_SECONDS) (void)unlinkat(folder, entry->name, 0);
        return true;
    }
    if (strcmp(entry->name, search->kept) == 0) return true;
    search->bytes += entry->bytes;
    if (search->oldest.name[0] == '\0' || is_before(entry->used, search->oldest.used))
        search->oldest = *entry;
    return true;
}

static int make_folders(const char *folder) {
    char path[WEIGHT_CACHE_PATH];
    if (snprintf(path, sizeof path, "%s/", folder) >= WEIGHT_CACHE_PATH)
        return ERR(TOO_LARGE, "the cache folder's path is too long");
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) return ERR(IO, "%s: %s", path, strerror(errno));
        *slash = '/';
    }
    return 0;
}

int weight_cache_make_room(const struct weight_cache *cache, const struct gguf_identity *source,
                           uint64_t bytes) {
    if (bytes > cache->max_bytes)
        return ERR(TOO_LARGE, "repacked weights of %" PRIu64 " bytes are more than the cache may hold",
                   bytes);
    TRY(make_folders(cache->folder));
    for (;;) {
        struct search search = {.bytes = 0};
        write_key(search.kept, source);
        strcat(search.kept, suffix);
        for_entries(cache->folder, look, &search);
        if (search.bytes + bytes <= cache->max_bytes || search.oldest.name[0] == '\0') return 0;
        char path[WEIGHT_CACHE_PATH + NAME_MAX];
        snprintf(path, sizeof path, "%s/%s", cache->folder, search.oldest.name);
        if (unlink(path) != 0 && errno != ENOENT) return ERR(IO, "%s: %s", path, strerror(errno));
    }
}
