/* The checks of a GGUF header, in file order: fixed part, metadata, tensor descriptions, then the tensors'
 * places.
 *
 *     "GGUF" | version u32 | n_tensors u64 | n_values u64
 *     n_values  x  key string | type u32 | value
 *     n_tensors x  name string | n_dims u32 | dims u64 [n_dims] | type u32 | offset u64
 *     padding to the alignment | tensor data; offsets count from here
 *
 * A string is its length (u64) and its bytes; an array is element type (u32), length (u64) and elements.
 *
 * Hostile files are part of the job. A count is compared with the bytes that are left, divided by the least
 * that one entry takes, before anything is allocated for it: memory stays below a small multiple of the
 * file's length. Names are indexed by sorting, whose worst case an adversary cannot worsen as he could a hash
 * table's. */
#include "model/gguf_parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/mem.h"
#include "kernel/weight_type.h"
#include "model/quote.h"

enum {
    FIXED_BYTES = 24,        /* magic, version, two counts */
    LEAST_VALUE_BYTES = 14,  /* a key of one byte, a type, a value of one byte */
    LEAST_TENSOR_BYTES = 33, /* a name of one byte, one dimension */
    LEAST_STRING_BYTES = 8,  /* an empty string */
    NAME_BYTES_MAX = 65535,  /* the format's bound for keys */
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MIN = 8,       /* the format wants a multiple of 8 */
    ALIGNMENT_MAX = 1 << 20, /* beyond any page size that a writer could have in mind */
};

static const char *const type_names[GGUF_TYPE_COUNT] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                        "bool", "string", "array", "u64", "i64", "f64"};
/* 0: not a scalar of fixed size */
static const uint8_t type_bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* `what` of `name` starts at the cursor and does not fit. */
static int past_end(const struct gguf *file, const struct cursor *cursor, const char *what,
                    struct gguf_string name) {
    return ERR(CORRUPT, "%s: %s '%s' runs past the end of the file (from byte %zu of %zu)", file->name, what,
               QUOTE(name), cursor->offset, cursor->length);
}

/* ---- names ---- */

int gguf_name_compare(const struct gguf_string *a, const struct gguf_string *b) {
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return memcmp(a->bytes, b->bytes, a->length);
}

static int compare_entries(const void *a, const void *b) {
    return gguf_name_compare(*(const struct gguf_string *const *)a, *(const struct gguf_string *const *)b);
}

int gguf_index_names(const void *entries, size_t n, size_t stride, const struct gguf_string ***index,
                     const struct gguf_string ***twice) {
    *twice = NULL;
    *index = mem_alloc(n, sizeof **index);
    if (*index == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        (*index)[i] = (const struct gguf_string *)(const void *)((const uint8_t *)entries + i * stride);
    qsort(*index, n, sizeof **index, compare_entries);
    for (size_t i = 1; i < n && *twice == NULL; i++)
        if (gguf_name_compare((*index)[i - 1], (*index)[i]) == 0) *twice = *index + i - 1;
    return 0;
}

static int index_names(const struct gguf *file, const char *what, const void *entries, size_t n,
                       size_t stride, const struct gguf_string ***index) {
    const struct gguf_string **twice;
    TRY(gguf_index_names(entries, n, stride, index, &twice));
    if (twice != NULL) return ERR(CORRUPT, "%s: %s '%s' is there twice", file->name, what, QUOTE(**twice));
    return 0;
}

static void read_string(struct cursor *cursor, struct gguf_string *string) {
    uint64_t length = cursor_u64(cursor);
    string->bytes = cursor_take(cursor, length);
    string->length = string->bytes == NULL ? 0 : (size_t)length;
}

/* The name of entry `i` of `n`; `what` says of which kind. */
static int read_name(const struct gguf *file, struct cursor *cursor, const char *what, size_t i, size_t n,
                     struct gguf_string *name) {
    size_t start = cursor->offset;
    read_string(cursor, name);
    if (cursor->failed)
        return ERR(CORRUPT,
                   "%s: the name of %s %zu of %zu runs past the end of the file (from byte %zu of %zu)",
                   file->name, what, i + 1, n, start, cursor->length);
    if (name->length == 0)
        return ERR(CORRUPT, "%s: %s %zu of %zu has an empty name (byte %zu)", file->name, what, i + 1, n,
                   start);
    if (name->length > NAME_BYTES_MAX)
        return ERR(TOO_LARGE, "%s: the name of %s %zu of %zu has %zu bytes, more than %d (byte %zu)",
                   file->name, what, i + 1, n, name->length, NAME_BYTES_MAX, start);
    return 0;
}

/* ---- metadata ---- */

static int check_bools(const struct gguf *file, struct gguf_string key, const uint8_t *bools, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bools[i] > 1)
            return ERR(CORRUPT, "%s: key '%s' has a bool of value %u (byte %zu)", file->name, QUOTE(key),
                       (unsigned)bools[i], (size_t)(bools + i - file->bytes));
    return 0;
}

static int read_string_array(const struct gguf *file, struct cursor *cursor, struct gguf_value *value) {
    struct gguf_string *strings = mem_alloc((size_t)value->length, sizeof *strings);
    if (strings == NULL) return ERR_NO_MEMORY;
    value->strings = strings;
    for (size_t i = 0; i < value->length; i++) {
        read_string(cursor, &strings[i]);
        if (cursor->failed)
            return ERR(CORRUPT,
                       "%s: string %zu of %" PRIu64 " of key '%s' runs past the end of the file "
                       "(from byte %zu of %zu)",
                       file->name, i + 1, value->length, QUOTE(value->key), cursor->offset, cursor->length);
    }
    return 0;
}

static int read_array(const struct gguf *file, struct cursor *cursor, struct gguf_value *value) {
    size_t start = cursor->offset;
    uint32_t element_type = cursor_u32(cursor);
    value->length = cursor_u64(cursor);
    if (cursor->failed) return past_end(file, cursor, "the array of key", value->key);
    if (element_type >= GGUF_TYPE_COUNT)
        return ERR(CORRUPT, "%s: key '%s' is an array of unknown type %" PRIu32 " (byte %zu)", file->name,
                   QUOTE(value->key), element_type, start);
    if (element_type == GGUF_ARRAY)
        return ERR(UNSUPPORTED, "%s: key '%s' is an array of arrays, which no model here needs (byte %zu)",
                   file->name, QUOTE(value->key), start);
    value->element_type = (enum gguf_type)element_type;
    bool is_string = element_type == GGUF_STRING;
    uint64_t least = is_string ? LEAST_STRING_BYTES : type_bytes[element_type];
    if (value->length > cursor_left(cursor) / least)
        return ERR(CORRUPT,
                   "%s: key '%s' is an array of %" PRIu64
                   " %ss, but the file ends %zu bytes later (byte %zu)",
                   file->name, QUOTE(value->key), value->length, type_names[element_type],
                   cursor_left(cursor), start);
    if (is_string) return read_string_array(file, cursor, value);
    value->elements = cursor_take(cursor, value->length * least);
    return element_type == GGUF_BOOL ? check_bools(file, value->key, value->elements, (size_t)value->length)
                                     : 0;
}

static double read_f32(struct cursor *cursor) {
    uint32_t bits = cursor_u32(cursor);
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static double read_f64(struct cursor *cursor) {
    uint64_t bits = cursor_u64(cursor);
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static int read_value(const struct gguf *file, struct cursor *cursor, size_t i, struct gguf_value *value) {
    TRY(read_name(file, cursor, "key", i, file->n_values, &value->key));
    size_t start = cursor->offset;
    uint32_t type = cursor_u32(cursor);
    if (cursor->failed) return past_end(file, cursor, "the type of key", value->key);
    if (type >= GGUF_TYPE_COUNT)
        return ERR(CORRUPT, "%s: key '%s' has the unknown type %" PRIu32 " (byte %zu)", file->name,
                   QUOTE(value->key), type, start);
    value->type = (enum gguf_type)type;
    switch (value->type) {
    case GGUF_U8:
    case GGUF_BOOL: value->u = cursor_u8(cursor); break;
    case GGUF_U16: value->u = cursor_u16(cursor); break;
    case GGUF_U32: value->u = cursor_u32(cursor); break;
    case GGUF_U64: value->u = cursor_u64(cursor); break;
    case GGUF_I8: value->i = (int8_t)cursor_u8(cursor); break;
    case GGUF_I16: value->i = (int16_t)cursor_u16(cursor); break;
    case GGUF_I32: value->i = (int32_t)cursor_u32(cursor); break;
    case GGUF_I64: value->i = (int64_t)cursor_u64(cursor); break;
    case GGUF_F32: value->f = read_f32(cursor); break;
    case GGUF_F64: value->f = read_f64(cursor); break;
    case GGUF_STRING: read_string(cursor, &value->string); break;
    case GGUF_ARRAY: return read_array(file, cursor, value);
    case GGUF_TYPE_COUNT: break;
    }
    if (cursor->failed) return past_end(file, cursor, "the value of key", value->key);
    return value->type == GGUF_BOOL ? check_bools(file, value->key, cursor->bytes + cursor->offset - 1, 1)
                                    : 0;
}

static int read_values(struct gguf *file, struct cursor *cursor, uint64_t n_values) {
    if (n_values > cursor_left(cursor) / LEAST_VALUE_BYTES)
        return ERR(CORRUPT,
                   "%s: %" PRIu64 " metadata keys do not fit into the %zu bytes after the header (byte 16)",
                   file->name, n_values, cursor_left(cursor));
    file->values = mem_alloc((size_t)n_values, sizeof *file->values);
    if (file->values == NULL) return ERR_NO_MEMORY;
    file->n_values = (size_t)n_values;
    for (size_t i = 0; i < file->n_values; i++) TRY(read_value(file, cursor, i, &file->values[i]));
    return index_names(file, "key", file->values, file->n_values, sizeof *file->values,
                       &file->values_by_name);
}

/* ---- tensors ---- */

static int check_type(const struct gguf *file, const struct gguf_tensor *tensor) {
    static const char runs[] =
#define X(name, number, elements, bytes) " " #name
        WEIGHT_TYPE_LIST(X)
#undef X
        ;
    if (weight_format_get(tensor->type) != NULL) return 0;
    const char *name = weight_type_name(tensor->type);
    return ERR(UNSUPPORTED, "%s: tensor '%s' has type %s (%" PRIu32 "), which does not run here; these do:%s",
               file->name, QUOTE(tensor->name), name != NULL ? name : "unknown", tensor->type, runs);
}

static int check_dims(const struct gguf *file, struct gguf_tensor *tensor) {
    const struct weight_format *format = weight_format_get(tensor->type);
    uint64_t n = 1, bytes;
    for (uint32_t d = 0; d < tensor->n_dims; d++) {
        if (tensor->dims[d] == 0)
            return ERR(CORRUPT, "%s: tensor '%s' has a dimension of 0", file->name, QUOTE(tensor->name));
        if (__builtin_mul_overflow(n, tensor->dims[d], &n))
            return ERR(CORRUPT, "%s: the dimensions of tensor '%s' multiply to more than 64 bits hold",
                       file->name, QUOTE(tensor->name));
    }
    if (tensor->dims[0] % format->group_elements != 0)
        return ERR(CORRUPT,
                   "%s: tensor '%s' has rows of %" PRIu64 " elements, not a multiple of the %" PRIu32
                   " that %s groups",
                   file->name, QUOTE(tensor->name), tensor->dims[0], format->group_elements, format->name);
    if (__builtin_mul_overflow(n / format->group_elements, (uint64_t)format->group_bytes, &bytes) ||
        bytes > file->length)
        return ERR(CORRUPT, "%s: tensor '%s' of %" PRIu64 " elements is larger than the file (%zu bytes)",
                   file->name, QUOTE(tensor->name), n, file->length);
    tensor->n_elements = n;
    tensor->bytes = (size_t)bytes;
    return 0;
}

static int read_tensor(const struct gguf *file, struct cursor *cursor, size_t i, struct gguf_tensor *tensor,
                       uint64_t *offset) {
    TRY(read_name(file, cursor, "tensor", i, file->n_tensors, &tensor->name));
    size_t start = cursor->offset;
    tensor->n_dims = cursor_u32(cursor);
    if (!cursor->failed && tensor->n_dims == 0)
        return ERR(CORRUPT, "%s: tensor '%s' has no dimensions (byte %zu)", file->name, QUOTE(tensor->name),
                   start);
    if (tensor->n_dims > 4)
        return ERR(TOO_LARGE, "%s: tensor '%s' has %" PRIu32 " dimensions, more than 4 (byte %zu)",
                   file->name, QUOTE(tensor->name), tensor->n_dims, start);
    for (uint32_t d = 0; d < 4; d++) tensor->dims[d] = d < tensor->n_dims ? cursor_u64(cursor) : 1;
    tensor->type = cursor_u32(cursor);
    *offset = cursor_u64(cursor);
    if (cursor->failed) return past_end(file, cursor, "the description of tensor", tensor->name);
    TRY(check_type(file, tensor));
    return check_dims(file, tensor);
}

static int read_alignment(const struct gguf *file, uint32_t *alignment) {
    *alignment = ALIGNMENT_DEFAULT;
    TRY(gguf_get_u32(file, "general.alignment", alignment));
    if (*alignment > ALIGNMENT_MAX)
        return ERR(TOO_LARGE, "%s: general.alignment is %" PRIu32 ", more than %d", file->name, *alignment,
                   ALIGNMENT_MAX);
    if (*alignment < ALIGNMENT_MIN || (*alignment & (*alignment - 1)) != 0)
        return ERR(CORRUPT, "%s: general.alignment is %" PRIu32 ", not a power of two from %d up", file->name,
                   *alignment, ALIGNMENT_MIN);
    return 0;
}

/* Places every tensor in the data part, which begins at the first aligned byte after `header_end`. */
static int place_tensors(struct gguf *file, size_t header_end, const uint64_t *offsets) {
    uint32_t alignment;
    file->head_bytes = header_end;
    TRY(read_alignment(file, &alignment));
    uint64_t start = ((uint64_t)header_end + alignment - 1) / alignment * alignment;
    uint64_t room = start < file->length ? file->length - start : 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        struct gguf_tensor *tensor = &file->tensors[i];
        if (offsets[i] % alignment != 0)
            return ERR(CORRUPT,
                       "%s: tensor '%s' has offset %" PRIu64 ", not a multiple of the alignment %" PRIu32,
                       file->name, QUOTE(tensor->name), offsets[i], alignment);
        if (offsets[i] > room || tensor->bytes > room - offsets[i])
            return ERR(CORRUPT,
                       "%s: tensor '%s' (%zu bytes at offset %" PRIu64 " of the %" PRIu64
                       " bytes of data) runs past the end of the file; is the file cut short?",
                       file->name, QUOTE(tensor->name), tensor->bytes, offsets[i], room);
        tensor->data = file->bytes + start + offsets[i];
    }
    return 0;
}

static int compare_places(const void *a, const void *b) {
    const struct gguf_tensor *left = *(const struct gguf_tensor *const *)a,
                             *right = *(const struct gguf_tensor *const *)b;
    return left->data < right->data ? -1 : left->data > right->data;
}

/* Each byte belongs to one tensor at most. Else a small file could hold any number of large ones, and whoever
 * unpacks them would need memory without bound. */
static int check_apart(const struct gguf *file) {
    const struct gguf_tensor **by_place = mem_alloc(file->n_tensors, sizeof *by_place);
    if (by_place == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < file->n_tensors; i++) by_place[i] = &file->tensors[i];
    qsort(by_place, file->n_tensors, sizeof *by_place, compare_places);
    int result = 0;
    for (size_t i = 1; i < file->n_tensors && result == 0; i++)
        if (by_place[i]->data < by_place[i - 1]->data + by_place[i - 1]->bytes)
            result = ERR(CORRUPT, "%s: tensors '%s' and '%s' share bytes", file->name,
                         QUOTE(by_place[i - 1]->name), QUOTE(by_place[i]->name));
    mem_free(by_place);
    return result;
}

static int read_tensors(struct gguf *file, struct cursor *cursor, uint64_t n_tensors) {
    if (n_tensors > cursor_left(cursor) / LEAST_TENSOR_BYTES)
        return ERR(CORRUPT,
                   "%s: %" PRIu64 " tensors do not fit into the %zu bytes after the metadata (byte 8)",
                   file->name, n_tensors, cursor_left(cursor));
    file->tensors = mem_alloc((size_t)n_tensors, sizeof *file->tensors);
    if (file->tensors == NULL) return ERR_NO_MEMORY;
    file->n_tensors = (size_t)n_tensors;
    uint64_t *offsets = mem_alloc((size_t)n_tensors, sizeof *offsets);
    if (offsets == NULL) return ERR_NO_MEMORY;
    int result = 0;
    for (size_t i = 0; i < file->n_tensors && result == 0; i++)
        result = read_tensor(file, cursor, i, &file->tensors[i], &offsets[i]);
    if (result == 0) result = place_tensors(file, cursor->offset, offsets);
    mem_free(offsets);
    TRY(result);
    TRY(index_names(file, "tensor", file->tensors, file->n_tensors, sizeof *file->tensors,
                    &file->tensors_by_name));
    return check_apart(file);
}

/* ---- the fixed part ---- */

/* What people hand over instead of a GGUF file. */
static int wrong_magic(const struct gguf *file) {
    static const struct {
        const char *start, *is;
    } kinds[] = {
        {"FUGG", "a big-endian GGUF file; convert it to little-endian"},
        {"version https://git-lfs",
         "a Git LFS pointer, not the model itself; fetch that with `git lfs pull`"},
        {"<", "a web page, not a model"},
        {"PK\x03\x04", "a zip archive (PyTorch?); convert the model to GGUF"},
        {"lmgg", "an old GGML file; convert the model to GGUF"},
        {"fmgg", "an old GGML file; convert the model to GGUF"},
        {"tjgg", "an old GGML file; convert the model to GGUF"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].start);
        if (file->length >= n && memcmp(file->bytes, kinds[i].start, n) == 0)
            return ERR(UNSUPPORTED, "%s: this is %s", file->name, kinds[i].is);
    }
    size_t n = file->length < 4 ? file->length : 4;
    return ERR(CORRUPT, "%s: not a GGUF file: it starts with '%s' instead of 'GGUF' (byte 0)", file->name,
               QUOTE(((struct gguf_string){(const char *)file->bytes, n})));
}

static int check_version(const struct gguf *file) {
    unsigned version = file->version;
    if (version == 2 || version == 3) return 0;
    if (version != 0 && (version & 0xffff) == 0)
        return ERR(UNSUPPORTED, "%s: this is a big-endian GGUF file; convert it to little-endian (byte 4)",
                   file->name);
    return ERR(UNSUPPORTED, "%s: GGUF version %u; this build reads versions 2 and 3 (byte 4)", file->name,
               version);
}

int gguf_parse(struct gguf *file) {
    if (file->length == 0) return ERR(CORRUPT, "%s: the file is empty", file->name);
    struct cursor cursor = cursor_over(file->bytes, file->length);
    const void *magic = cursor_take(&cursor, 4);
    if (magic == NULL || memcmp(magic, "GGUF", 4) != 0) return wrong_magic(file);
    file->version = cursor_u32(&cursor);
    uint64_t n_tensors = cursor_u64(&cursor), n_values = cursor_u64(&cursor);
    if (cursor.failed)
        return ERR(CORRUPT, "%s: %zu bytes are too short for a GGUF header of %d", file->name, file->length,
                   FIXED_BYTES);
    TRY(check_version(file));
    TRY(read_values(file, &cursor, n_values));
    return read_tensors(file, &cursor, n_tensors);
}
