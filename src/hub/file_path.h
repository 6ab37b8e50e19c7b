/* Paths of files inside a repository: they come from strangers and become paths in the cache folder and URLs.
 */
#ifndef CABINET_HUB_FILE_PATH_H
#define CABINET_HUB_FILE_PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { FILE_PATH_LENGTH = 512, FILE_PATH_COMPONENT = 240 };

/* True if `path` may be appended to a folder's path without leaving it, and printed: components divided by
 * single '/', none beginning with '.', none longer than FILE_PATH_COMPONENT (room is left for ".part"), all
 * together shorter than FILE_PATH_LENGTH; printable ASCII without a backslash. */
bool file_path_is_safe(const char *path, size_t length);
bool file_path_is_gguf(const char *path);
/* What follows the last '/'. */
const char *file_path_base(const char *path);

/* One part of a model that was split over several files, "…-00002-of-00003.gguf" as llama.cpp's gguf-split
 * names them. */
struct file_split {
    size_t stem_length; /* of what precedes "-00002-of-00003.gguf" */
    unsigned index, count;
};
/* False if the path is not of that form, or the numbers contradict each other. */
bool file_path_split(const char *path, struct file_split *split);
/* The path of another part of the same model, into `size` bytes; false if it does not fit. */
bool file_path_of_part(char *part, size_t size, const char *path, const struct file_split *split,
                       unsigned index);

/* True if the file's name holds `tag` (a quantisation such as Q4_K_M) as a word of its own; letters' case
 * does not matter. */
bool file_path_has_tag(const char *path, const char *tag);

#endif
