/* GGUF files (versions 2 and 3), mapped and read in place.
 *
 * The whole header is checked when a file is opened: every size is bounded by the file's own length before it
 * is used, every tensor lies inside the file, aligned as the file says and apart from the others, names are
 * unique. What remains unchecked is meaning: whoever reads a value checks its type and range. Nothing is
 * copied: strings, arrays and tensors point into the mapping and live until gguf_close. Strings are not
 * NUL-terminated.
 *
 * Format: the GGUF specification of the ggml project (docs/gguf.md there). */
#ifndef CABINET_MODEL_GGUF_H
#define CABINET_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/gguf_value.h"

struct gguf;

/* Maps the file at `path`, and if that is the first part of a split model (NAME-00001-of-00003.gguf), the
 * other parts beside it: their tensors are found as if all were one file. NOT_FOUND, IO, CORRUPT, UNSUPPORTED
 * (version, endianness, a tensor type that does not run here: the message names tensor and type), TOO_LARGE,
 * INVALID for another part than the first. Every message names the file. */
int gguf_open(struct gguf **file, const char *path);

struct gguf_buffer {
    const void *bytes;
    size_t length;
    const char *name; /* for messages */
};
/* The same over borrowed bytes, which stay valid until gguf_close: one file, or a split model's parts in
 * order. */
int gguf_open_buffers(struct gguf **file, const struct gguf_buffer *buffers, size_t n_buffers);
int gguf_open_bytes(struct gguf **file, const void *bytes, size_t length, const char *name);
void gguf_close(struct gguf *file);

/* Names what mapped files hold without reading the tensors: a hash of each one's length, time of change, and
 * everything before its tensors' bytes. */
struct gguf_identity {
    uint64_t words[2];
};
/* False for borrowed bytes, which have no time of change. */
bool gguf_identify(const struct gguf *file, struct gguf_identity *identity);

size_t gguf_n_files(const struct gguf *file);
size_t gguf_bytes(const struct gguf *file); /* length of all files */
unsigned gguf_version(const struct gguf *file);
size_t gguf_n_values(const struct gguf *file);
const struct gguf_value *gguf_value_at(const struct gguf *file, size_t index);
size_t gguf_n_tensors(const struct gguf *file);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *file, size_t index);

/* NULL if there is none of that name. */
const struct gguf_value *gguf_find(const struct gguf *file, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *file, const char *name);

/* Typed look-ups of metadata. They return 1 and set *value, 0 if the key is absent, or CORRUPT if it is there
 * with another type or out of range. Any integer type that can hold the value is accepted. */
int gguf_get_u32(const struct gguf *file, const char *key, uint32_t *value);
int gguf_get_f32(const struct gguf *file, const char *key, float *value);
int gguf_get_bool(const struct gguf *file, const char *key, bool *value);
int gguf_get_string(const struct gguf *file, const char *key, struct gguf_string *value);

/* Element `index` (< length) of a numeric array; the caller has checked element_type and range. */
int64_t gguf_array_int(const struct gguf_value *array, uint64_t index);
double gguf_array_float(const struct gguf_value *array, uint64_t index);

#endif
