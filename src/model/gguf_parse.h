/* Between gguf.c (one file, look-ups), gguf_parse.c (its checks) and gguf_split.c (several files as one):
 * nobody else includes this. */
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
    bool mapped;                     /* `bytes` is our mapping, else borrowed */
    size_t head_bytes;               /* before the tensors' bytes */
    int64_t modified_s, modified_ns; /* of a mapped file: time of change, seconds and the rest */
    unsigned version;
    struct gguf_value *values;
    size_t n_values;
    struct gguf_tensor *tensors;
    size_t n_tensors;
    /* Names in the order of gguf_name_compare. Each is the first member of its value or tensor. */
    const struct gguf_string **values_by_name, **tensors_by_name;
    /* A split model's first part owns the others and lists their tensors as its own; they list none. */
    struct gguf **parts;
    size_t n_parts;
};

/* One file or buffer, whatever it says of parts. On failure *file is NULL. */
int gguf_open_one(struct gguf **file, const char *path);
int gguf_open_one_buffer(struct gguf **file, const struct gguf_buffer *buffer);
/* A path for messages: printable, of a long one the end, which says more than its beginning. */
void gguf_set_name(char name[GGUF_FILE_NAME_BYTES], const char *path);

/* Checks the whole header and fills versions, values, tensors and indices. On failure gguf_close frees the
 * rest. */
int gguf_parse(struct gguf *file);

/* Shorter first, then by bytes. */
int gguf_name_compare(const struct gguf_string *a, const struct gguf_string *b);
/* Sorts the names of n entries of `stride` bytes, whose first member is their name, into a new *index. If two
 * are the same, *twice is the place of the first of them in it, else NULL. NO_MEMORY. */
int gguf_index_names(const void *entries, size_t n, size_t stride, const struct gguf_string ***index,
                     const struct gguf_string ***twice);

#endif
