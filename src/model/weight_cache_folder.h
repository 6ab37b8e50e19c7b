/* The folder of weight_cache.c: names, sizes, and who goes first. */
#ifndef CABINET_MODEL_WEIGHT_CACHE_FOLDER_H
#define CABINET_MODEL_WEIGHT_CACHE_FOLDER_H

#include <stdbool.h>

#include "model/weight_cache.h"

enum { WEIGHT_CACHE_PATH = 4096 };
/* What the name of a file that is being written ends in, for mkostemp. */
#define WEIGHT_CACHE_UNFINISHED ".XXXXXX"

/* Where a source's panels are kept; false if that is too long. */
bool weight_cache_path(char path[WEIGHT_CACHE_PATH], const char *folder, const struct gguf_identity *source);
/* Makes the folder and, by removing others, room for a file of `bytes` of this source. IO, TOO_LARGE. */
int weight_cache_make_room(const struct weight_cache *cache, const struct gguf_identity *source,
                           uint64_t bytes);

#endif
