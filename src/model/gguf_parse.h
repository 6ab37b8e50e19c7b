/* Between gguf.c (open, close, look-ups) and gguf_parse.c (the checks): nobody else includes this. */
#ifndef CABINET_MODEL_GGUF_PARSE_H
#define CABINET_MODEL_GGUF_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"

enum { GGUF_FILE_NAME_BYTES = 164 };

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

#endif
