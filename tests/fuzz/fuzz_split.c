/* Arbitrary bytes as the parts of a split model: refused with one printable line, or every value and tensor
 * of them can be used. The first byte says how many parts, then come the lengths of all but the last (u16),
 * then the parts. */
#include <stdlib.h>

#include "base/cursor.h"
#include "gguf_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { MAX_PARTS = 4 };

static const char *const names[MAX_PARTS] = {"fuzz-1", "fuzz-2", "fuzz-3", "fuzz-4"};

/* Each in a block of exactly its length, so that the address sanitizer sees a read past the end. */
static struct gguf_buffer copy_part(const uint8_t *bytes, size_t length, const char *name) {
    uint8_t *copy = malloc(length > 0 ? length : 1);
    ASSERT(copy != NULL);
    if (length > 0) memcpy(copy, bytes, length);
    return (struct gguf_buffer){copy, length, name};
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct cursor cursor = cursor_over(bytes, length);
    size_t n_parts = 1 + cursor_u8(&cursor) % MAX_PARTS, lengths[MAX_PARTS];
    struct gguf_buffer parts[MAX_PARTS];
    for (size_t i = 0; i + 1 < n_parts; i++) lengths[i] = cursor_u16(&cursor);
    for (size_t i = 0; i < n_parts; i++) {
        size_t left = cursor_left(&cursor), n = i + 1 < n_parts && lengths[i] < left ? lengths[i] : left;
        parts[i] = copy_part(bytes + cursor.offset, n, names[i]);
        cursor.offset += n;
    }
    struct gguf *file;
    if (gguf_open_buffers(&file, parts, n_parts) < 0) {
        check_refusal(file);
    } else {
        ASSERT(gguf_n_files(file) == n_parts);
        use_and_close(file);
    }
    for (size_t i = 0; i < n_parts; i++) free((void *)parts[i].bytes);
    return 0;
}
