#include "hub/choose.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

/* Small and good first; all of these types run here. */
static const char *const preferred_tags[] = {"Q4_K_M", "Q4_0", "Q4_1", "Q8_0"};

/* A model is named by its only file, or by the first one of a split model. */
static bool is_model(const struct listing_file *file) {
    struct file_split split;
    return !file_path_split(file->path, &split) || split.index == 1;
}

/* Files that accompany a model: image projectors, importance matrices. They are pulled by name only. */
static bool is_companion(const struct listing_file *file) {
    const char *name = file_path_base(file->path);
    return strcasestr(name, "mmproj") != NULL || strcasestr(name, "imatrix") != NULL;
}

/* How a file can be meant, from the most exact way on. */
static bool matches_path(const struct listing_file *file, const char *wanted) {
    return strcmp(file->path, wanted) == 0;
}
static bool matches_name(const struct listing_file *file, const char *wanted) {
    return strcasecmp(file_path_base(file->path), wanted) == 0;
}
static bool matches_tag(const struct listing_file *file, const char *wanted) {
    return is_model(file) && !is_companion(file) && file_path_has_tag(file->path, wanted);
}
static bool matches_any(const struct listing_file *file, const char *wanted) {
    (void)wanted;
    return is_model(file) && !is_companion(file);
}

typedef bool match(const struct listing_file *file, const char *wanted);

/* How many match; *found is the first. */
static size_t find(const struct listing *listing, match *matches, const char *wanted,
                   const struct listing_file **found) {
    size_t n = 0;
    for (size_t i = 0; i < listing->n_files; i++)
        if (matches(&listing->files[i], wanted) && n++ == 0) *found = &listing->files[i];
    return n;
}

/* NOT_FOUND with as many of the matching files as a line holds. */
static int list_choices(const struct listing *listing, match *matches, const char *wanted, const char *of,
                        const char *problem) {
    char list[300] = "";
    size_t length = 0, n_left = 0;
    for (size_t i = 0; i < listing->n_files; i++) {
        if (!matches(&listing->files[i], wanted)) continue;
        const char *path = listing->files[i].path;
        size_t needed = strlen(path) + 2;
        if (n_left > 0 || length + needed >= sizeof list)
            n_left++;
        else
            length +=
                (size_t)snprintf(list + length, sizeof list - length, "%s%s", length > 0 ? ", " : "", path);
    }
    if (length == 0 && n_left == 0) return ERR(NOT_FOUND, "%s has no GGUF model", of);
    char more[40] = "";
    if (n_left > 0) snprintf(more, sizeof more, " and %zu more", n_left);
    return ERR(NOT_FOUND, "%s %s; add :FILE or :TAG of one of: %s%s", of, problem, list, more);
}

static int find_wanted(const struct listing *listing, const char *wanted, const char *of,
                       const struct listing_file **found) {
    static match *const ways[] = {matches_path, matches_name, matches_tag};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        size_t n = find(listing, ways[i], wanted, found);
        if (n == 1) return 0;
        if (n > 1) return list_choices(listing, ways[i], wanted, of, "has several such files");
    }
    char problem[120];
    snprintf(problem, sizeof problem, "has no '%.100s'", wanted);
    return list_choices(listing, matches_any, wanted, of, problem);
}

static int find_preferred(const struct listing *listing, const char *of, const struct listing_file **found) {
    for (size_t i = 0; i < sizeof preferred_tags / sizeof *preferred_tags; i++) {
        size_t n = find(listing, matches_tag, preferred_tags[i], found);
        if (n == 1) return 0;
        if (n > 1) return list_choices(listing, matches_tag, preferred_tags[i], of, "has several such files");
    }
    if (find(listing, matches_any, "", found) == 1) return 0;
    return list_choices(listing, matches_any, "", of, "has no obvious model");
}

/* A split model is all of its parts, whichever was named. */
static int take_all_parts(struct choice *choice, const struct listing *listing) {
    struct file_split split;
    choice->n_files = 1;
    if (!file_path_split(choice->first->path, &split)) return 0;
    char path[FILE_PATH_LENGTH];
    for (unsigned i = split.count; i >= 1; i--) {
        /* never too long: it is as long as the first one's */
        ASSERT(file_path_of_part(path, sizeof path, choice->first->path, &split, i));
        const struct listing_file *part = listing_find(listing, path);
        if (part == NULL) return ERR(CORRUPT, "a part of the split model is missing: %.300s", path);
        if (i == 1) choice->first = part;
    }
    choice->n_files = split.count;
    return 0;
}

int choose(struct choice *choice, const struct listing *listing, const char *wanted, const char *of) {
    TRY(*wanted != '\0' ? find_wanted(listing, wanted, of, &choice->first)
                        : find_preferred(listing, of, &choice->first));
    return take_all_parts(choice, listing);
}

const struct listing_file *choice_file(const struct choice *choice, const struct listing *listing,
                                       unsigned index) {
    struct file_split split;
    char path[FILE_PATH_LENGTH];
    if (choice->n_files == 1) return choice->first;
    ASSERT(file_path_split(choice->first->path, &split) &&
           file_path_of_part(path, sizeof path, choice->first->path, &split, index + 1));
    const struct listing_file *file = listing_find(listing, path);
    ASSERT(file != NULL);
    return file;
}
