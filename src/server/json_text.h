/* JSON written straight into a text: for what is written per token, where a tree would cost too much. All
 * escaping of the server happens here or in jansson. */
#ifndef CABINET_SERVER_JSON_TEXT_H
#define CABINET_SERVER_JSON_TEXT_H

#include <jansson.h>

#include "base/text.h"

/* The inside of a string literal; bytes that are not UTF-8 become U+FFFD. No line breaks come out, so that it
 * fits into one line of a server-sent event. */
void json_text_escape(struct text *out, const char *bytes, size_t length);
/* A string literal; of a NUL-terminated string, or null for NULL. */
void json_text_bytes(struct text *out, const char *bytes, size_t length);
void json_text_string(struct text *out, const char *string);
/* A number as short as a float allows; NAN is null, an infinity the nearest number that clients take. */
void json_text_float(struct text *out, float number);
/* A tree, compact, keys in order; null for NULL. */
void json_text_value(struct text *out, const json_t *value);

#endif
