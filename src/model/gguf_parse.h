/* Between gguf.c (open, close, look-ups) and gguf_parse.c (the checks): nobody else includes this. */
#ifndef CABINET_MODEL_GGUF_PARSE_H
#define CABINET_MODEL_GGUF_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"

enum { GGUF_FILE_NAME_BYTES = 164, GGUF_QUOTED_BYTES = 84 };

struct gguf {
    char name[GGUF_FILE_NAME_BYTES]; /* for messages: printable, perhaps only the end of the path */
    const uint8_t *bytes;
    size_t length;
    bool mapped; /* `bytes` is our mapping, else borrowed */
    unsigned version;
    struct gguf_value *values;
    size_t n_values;
    struct gguf_tensor *tensors;
    size_t n_tensors;
    /* Names in the order of gguf_name_compare. Each is the first member of its value or tensor. */
    const struct gguf_string **values_by_name, **tensors_by_name;
};

/* Checks the whole header and fills versions, values, tensors and indices. On failure gguf_close frees the
 * rest. */
int gguf_parse(struct gguf *file);

/* Shorter first, then by bytes. */
int gguf_name_compare(const struct gguf_string *a, const struct gguf_string *b);

/* Writes text that came from outside as one printable line of at most `room` - 1 bytes: control bytes,
 * invisible characters and broken UTF-8 as \xNN. False if it did not fit: then it ends with "...". */
bool gguf_printable(char *line, size_t room, struct gguf_string text);

/* The same by value, to stand in the arguments of ERR. */
struct gguf_quoted {
    char text[GGUF_QUOTED_BYTES];
};
struct gguf_quoted gguf_quote(struct gguf_string text);

#endif
