/* A text that grows, for whatever is built piece by piece: replies, metrics, log lines.
 *
 * Zero-initialise; free with text_free. A piece for which there is no memory sets `failed`, and from then on
 * nothing is added: so a builder checks once, at its end. `bytes` is NULL while nothing was added, else
 * NUL-terminated behind `length` bytes (which may hold NULs of their own). */
#ifndef CABINET_BASE_TEXT_H
#define CABINET_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *bytes;
    size_t length, capacity;
    bool failed;
};

void text_append(struct text *text, const char *bytes, size_t length);
void text_append_string(struct text *text, const char *string);
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for `length` more bytes without another allocation; false (and failed) if there is no memory. */
bool text_reserve(struct text *text, size_t length);
/* Empty again, with the memory kept for what comes. */
void text_clear(struct text *text);
void text_free(struct text *text);

#endif
