/* What the verbs that fetch, list and remove models know of their names. */
#ifndef CABINET_CLI_MODEL_NAME_H
#define CABINET_CLI_MODEL_NAME_H

#include <stddef.h>

/* The short name of the file at `path` below the cache folder's models/, or NULL; and the other way round. */
const char *model_short_name(const char *path);
const char *model_short_name_path(const char *name);

/* Where the hub is: `option` if it is not NULL, else $CABINET_ENDPOINT, else $HF_ENDPOINT, else Hugging Face;
 * without a
 * '/' at its end. INVALID. */
int model_endpoint(const char *option, char *endpoint, size_t size);

#endif
