/* Opening one GGUF file, closing it and looking into it. What makes a file acceptable is in gguf_parse.c,
 * models of several files are put together in gguf_split.c.
 *
 * The mapping is private and read-only. Whoever truncates a file while it is mapped kills the process
 * (SIGBUS), as with any mapped file; replacing it by renaming another over it is safe. */
#include "model/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "model/gguf_parse.h"
#include "model/quote.h"

/* ---- open, close ---- */

void gguf_set_name(char name[GGUF_FILE_NAME_BYTES], const char *path) {
    size_t length = strlen(path), room = GGUF_FILE_NAME_BYTES, skip = 1;
    if (quote_printable(name, room, (struct gguf_string){path, length})) return;
    memcpy(name, "...", 3);
    /* Never from the middle of a character: its rest would be written as \xNN and not fit. */
    while (!quote_printable(name + 3, room - 3, (struct gguf_string){path + skip, length - skip})) skip++;
}

static int new_file(struct gguf **file, const char *name) {
    *file = mem_alloc(1, sizeof **file);
    if (*file == NULL) return ERR_NO_MEMORY;
    gguf_set_name((*file)->name, name);
    return 0;
}

static int map_descriptor(struct gguf *file, int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) return ERR(IO, "%s: fstat: %s", file->name, strerror(errno));
    if (S_ISDIR(status.st_mode)) return ERR(IO, "%s: is a directory, not a GGUF file", file->name);
    if (!S_ISREG(status.st_mode))
        return ERR(IO, "%s: is not a regular file, so it cannot be mapped", file->name);
    file->length = (size_t)status.st_size;
    file->modified_s = status.st_mtim.tv_sec;
    file->modified_ns = status.st_mtim.tv_nsec;
    if (file->length == 0) return 0; /* cannot be mapped; gguf_parse says so */
    if (fault_hit()) return ERR(IO, "%s: mapping failed (injected)", file->name);
    void *bytes = mmap(NULL, file->length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED)
        return ERR(IO, "%s: mapping %zu bytes: %s", file->name, file->length, strerror(errno));
    file->bytes = bytes;
    file->mapped = true;
    return 0;
}

static int map_path(struct gguf *file, const char *path) {
    if (fault_hit()) return ERR(IO, "%s: opening failed (injected)", file->name);
    /* O_NONBLOCK: a named pipe must be refused, not waited for. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0 && (errno == ENOENT || errno == ENOTDIR))
        return ERR(NOT_FOUND, "%s: no such file", file->name);
    if (descriptor < 0) return ERR(IO, "%s: cannot be opened: %s", file->name, strerror(errno));
    int result = map_descriptor(file, descriptor);
    (void)close(descriptor);
    return result;
}

/* Closes a file whose opening failed. */
static int finish_open(struct gguf **file, int result) {
    if (result < 0) {
        gguf_close(*file);
        *file = NULL;
    }
    return result;
}

int gguf_open_one(struct gguf **file, const char *path) {
    TRY(new_file(file, path));
    int result = map_path(*file, path);
    if (result == 0) result = gguf_parse(*file);
    return finish_open(file, result);
}

int gguf_open_one_buffer(struct gguf **file, const struct gguf_buffer *buffer) {
    TRY(new_file(file, buffer->name));
    (*file)->bytes = buffer->bytes;
    (*file)->length = buffer->length;
    return finish_open(file, gguf_parse(*file));
}

void gguf_close(struct gguf *file) {
    if (file == NULL) return;
    for (size_t i = 0; i < file->n_parts; i++) gguf_close(file->parts[i]);
    mem_free(file->parts);
    for (size_t i = 0; i < file->n_values; i++) mem_free((void *)file->values[i].strings);
    mem_free(file->values);
    mem_free(file->tensors);
    mem_free(file->values_by_name);
    mem_free(file->tensors_by_name);
    if (file->mapped) (void)munmap((void *)file->bytes, file->length);
    mem_free(file);
}

/* ---- what is there ---- */

static XXH128_hash_t identity_of(const struct gguf *file, XXH128_hash_t before) {
    const uint64_t parts[] = {before.low64,
                              before.high64,
                              file->length,
                              (uint64_t)file->modified_s,
                              (uint64_t)file->modified_ns,
                              XXH3_64bits(file->bytes, file->head_bytes)};
    return XXH3_128bits(parts, sizeof parts);
}

bool gguf_identify(const struct gguf *file, struct gguf_identity *identity) {
    XXH128_hash_t hash = identity_of(file, (XXH128_hash_t){0, 0});
    bool is_mapped = file->mapped;
    for (size_t i = 0; i < file->n_parts; i++) {
        hash = identity_of(file->parts[i], hash);
        is_mapped = is_mapped && file->parts[i]->mapped;
    }
    *identity = (struct gguf_identity){{hash.high64, hash.low64}};
    return is_mapped;
}

size_t gguf_n_files(const struct gguf *file) { return 1 + file->n_parts; }

size_t gguf_bytes(const struct gguf *file) {
    size_t bytes = file->length;
    for (size_t i = 0; i < file->n_parts; i++) bytes += file->parts[i]->length;
    return bytes;
}

unsigned gguf_version(const struct gguf *file) { return file->version; }
size_t gguf_n_values(const struct gguf *file) { return file->n_values; }
size_t gguf_n_tensors(const struct gguf *file) { return file->n_tensors; }

const struct gguf_value *gguf_value_at(const struct gguf *file, size_t index) {
    ASSERT(index < file->n_values);
    return &file->values[index];
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *file, size_t index) {
    ASSERT(index < file->n_tensors);
    return &file->tensors[index];
}

static const void *find(const struct gguf_string *const *index, size_t n, const char *name) {
    struct gguf_string wanted = {name, strlen(name)};
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = gguf_name_compare(index[middle], &wanted);
        if (order == 0) return index[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct gguf_value *gguf_find(const struct gguf *file, const char *key) {
    return find(file->values_by_name, file->n_values, key);
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *file, const char *name) {
    return find(file->tensors_by_name, file->n_tensors, name);
}

/* ---- typed look-ups ---- */

static int wrong_type(const struct gguf *file, const struct gguf_value *value, const char *wanted) {
    return ERR(CORRUPT, "%s: key '%s' is not %s", file->name, QUOTE(value->key), wanted);
}

static bool is_unsigned(enum gguf_type type) {
    return type == GGUF_U8 || type == GGUF_U16 || type == GGUF_U32 || type == GGUF_U64;
}

static bool is_signed(enum gguf_type type) {
    return type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
}

static bool is_integer(enum gguf_type type) { return is_unsigned(type) || is_signed(type); }

int gguf_get_u32(const struct gguf *file, const char *key, uint32_t *value) {
    const struct gguf_value *found = gguf_find(file, key);
    if (found == NULL) return 0;
    if (!is_integer(found->type)) return wrong_type(file, found, "an integer");
    bool fits = is_unsigned(found->type) ? found->u <= UINT32_MAX : found->i >= 0 && found->i <= UINT32_MAX;
    if (!fits) return wrong_type(file, found, "within 0 to 4294967295");
    *value = (uint32_t)(is_unsigned(found->type) ? found->u : (uint64_t)found->i);
    return 1;
}

int gguf_get_f32(const struct gguf *file, const char *key, float *value) {
    const struct gguf_value *found = gguf_find(file, key);
    if (found == NULL) return 0;
    if (found->type != GGUF_F32 && found->type != GGUF_F64) return wrong_type(file, found, "a float");
    /* also false for NaN */
    if (!(fabs(found->f) <= (double)FLT_MAX)) return wrong_type(file, found, "a finite 32-bit float");
    *value = (float)found->f;
    return 1;
}

int gguf_get_bool(const struct gguf *file, const char *key, bool *value) {
    const struct gguf_value *found = gguf_find(file, key);
    if (found == NULL) return 0;
    if (found->type != GGUF_BOOL) return wrong_type(file, found, "a bool");
    *value = found->u != 0;
    return 1;
}

int gguf_get_string(const struct gguf *file, const char *key, struct gguf_string *value) {
    const struct gguf_value *found = gguf_find(file, key);
    if (found == NULL) return 0;
    if (found->type != GGUF_STRING) return wrong_type(file, found, "a string");
    *value = found->string;
    return 1;
}

/* ---- array elements: unaligned in the file ---- */

#define ELEMENT(type)                                                                                        \
    do {                                                                                                     \
        type element_;                                                                                       \
        memcpy(&element_, array->elements + index * sizeof element_, sizeof element_);                       \
        return element_;                                                                                     \
    } while (0)

int64_t gguf_array_int(const struct gguf_value *array, uint64_t index) {
    ASSERT(array->type == GGUF_ARRAY && index < array->length);
    ASSERT(array->element_type == GGUF_BOOL || is_integer(array->element_type));
    switch (array->element_type) {
    case GGUF_I8: ELEMENT(int8_t);
    case GGUF_U16: ELEMENT(uint16_t);
    case GGUF_I16: ELEMENT(int16_t);
    case GGUF_U32: ELEMENT(uint32_t);
    case GGUF_I32: ELEMENT(int32_t);
    case GGUF_U64:
    case GGUF_I64: ELEMENT(int64_t); /* a u64 past INT64_MAX shows as negative */
    default: ELEMENT(uint8_t);       /* u8 and bool */
    }
}

double gguf_array_float(const struct gguf_value *array, uint64_t index) {
    ASSERT(array->type == GGUF_ARRAY && index < array->length);
    switch (array->element_type) {
    case GGUF_F32: {
        float element;
        memcpy(&element, array->elements + index * sizeof element, sizeof element);
        return (double)element;
    }
    case GGUF_F64: ELEMENT(double);
    default: return (double)gguf_array_int(array, index);
    }
}
