/* Files that Cabinet keeps for itself beside the models of the cache folder (hub/store.h). */
#ifndef CABINET_CLI_CACHE_FILE_H
#define CABINET_CLI_CACHE_FILE_H

#include <stddef.h>

/* The path of a file of that name, which may hold folders; they are made. NOT_FOUND without a cache folder,
 * IO. */
int cache_file(const char *name, char *path, size_t size);

#endif
