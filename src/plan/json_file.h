/* JSON files of strangers, bounded: what has many small members takes some forty times its bytes when read.
 */
#ifndef CABINET_PLAN_JSON_FILE_H
#define CABINET_PLAN_JSON_FILE_H

#include <jansson.h>
#include <stddef.h>

enum { JSON_FILE_MOST_BYTES = 4 << 20 };

/* The whole text, a NUL behind its `length` bytes; mem_free it. NOT_FOUND, IO, TOO_LARGE. */
int json_file_text(char **text, size_t *length, const char *path);
/* CORRUPT with file and line; members of the same name twice are refused. A new reference. */
int json_text_parse(json_t **root, const char *text, size_t length, const char *file);
/* Both. */
int json_file_load(json_t **root, const char *path);

#endif
