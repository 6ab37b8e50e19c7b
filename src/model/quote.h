/* Text that came from outside, for a message or a terminal: one printable line, whatever it was. */
#ifndef CABINET_MODEL_QUOTE_H
#define CABINET_MODEL_QUOTE_H

#include <stdbool.h>
#include <stddef.h>

#include "model/gguf.h"

/* Writes at most `room` - 1 bytes: control bytes, invisible characters and broken UTF-8 as \xNN. False if it
 * did not fit: then it ends with "...". */
bool quote_printable(char *line, size_t room, struct gguf_string text);

/* The same by value, to stand in the arguments of ERR or printf. */
enum { QUOTED_BYTES = 84 };
struct quoted {
    char text[QUOTED_BYTES];
};
struct quoted quote_text(struct gguf_string text);
#define QUOTE(string) (quote_text(string).text)

#endif
