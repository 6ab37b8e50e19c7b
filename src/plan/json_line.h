/* Lines of members in JSON text, for messages about what was parsed from it. */
#ifndef CABINET_PLAN_JSON_LINE_H
#define CABINET_PLAN_JSON_LINE_H

#include <stddef.h>

/* A way into the text: the member `array` of the root and its `index`-th element (NULL: the root itself), of
 * that the member `part` (NULL: none), of that `key`. */
struct json_way {
    const char *array, *part, *key;
    size_t index;
};

/* The line, from 1, on which the way ends: the member's, or of the last thing on the way that is there.
 * `text` must be JSON. Names that the text writes with escapes are not found. */
size_t json_line_of(const char *text, const struct json_way *way);

#endif
