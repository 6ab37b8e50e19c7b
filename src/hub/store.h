/* The cache folder: where models lie, and what is there.
 *
 * Below $XDG_CACHE_HOME/cabinet/models (or ~/.cache/…): OWNER/REPO/FILE for what came from the hub,
 * https@HOST/PATH for what came from a URL (hub/name.h), and single files such as the demo model. */
#ifndef CABINET_HUB_STORE_H
#define CABINET_HUB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/listing.h"
#include "hub/name.h"

enum { STORE_PATH_LENGTH = 4096 };

/* $XDG_CACHE_HOME/cabinet/models or ~/.cache/cabinet/models. NOT_FOUND if neither is an absolute path. */
int store_folder(char *path, size_t size);
/* Where repacked weights are kept, beside it: $XDG_CACHE_HOME/cabinet/weights. NOT_FOUND as above. */
int store_weights_folder(char *path, size_t size);

struct store_file {
    char *path; /* below the folder, without the ".part" of a part */
    uint64_t bytes;
    int64_t modified_s; /* since 1970 */
    bool is_part;
};
struct store_list {
    struct store_file *files; /* sorted by path */
    size_t n_files, capacity;
};
/* Everything below `under`, a path within the folder ("" for all of it). An absent folder is an empty list.
 * IO, NO_MEMORY, TOO_LARGE. */
int store_list(struct store_list *list, const char *under);
void store_list_free(struct store_list *list);

/* The complete file that a name means, by the rules of choose(): 1 and its path below the folder, or 0 if
 * nothing of that repository or URL is there. NOT_FOUND if that alone does not tell which one; it lists the
 * choices. */
int store_find(const struct hub_name *name, char *path, size_t size);

/* Removes a file or a part, with its line of origin and the folders that are empty then. */
int store_remove(const struct store_file *file);

#endif
