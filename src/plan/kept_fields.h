/* Members of the files that calibrate and verify keep in the cache folder: what has another type or is out of
 * range is CORRUPT and names the member. */
#ifndef CABINET_PLAN_KEPT_FIELDS_H
#define CABINET_PLAN_KEPT_FIELDS_H

#include <jansson.h>
#include <stddef.h>

/* A finite number of 0 or more, less than `limit` (INFINITY: any). */
int kept_number(const json_t *object, const char *key, double limit, double *number);
/* A text of less than `size` bytes. */
int kept_text(const json_t *object, const char *key, char *text, size_t size);

#endif
