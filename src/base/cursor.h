/* A bounded cursor over untrusted little-endian bytes.
 *
 * A read past the end returns zero and makes the cursor fail for good, so that a parser checks once after a
 * group of reads. Nothing is copied; pointers point into the input. */
#ifndef CABINET_BASE_CURSOR_H
#define CABINET_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
    const uint8_t *bytes;
    size_t length;
    size_t offset;
    bool failed;
};

static inline struct cursor cursor_over(const void *bytes, size_t length) {
    return (struct cursor){.bytes = bytes, .length = length};
}

static inline size_t cursor_left(const struct cursor *cursor) { return cursor->length - cursor->offset; }

/* `n` bytes, or NULL with the cursor failed. */
static inline const void *cursor_take(struct cursor *cursor, uint64_t n) {
    if (cursor->failed || n > cursor_left(cursor)) {
        cursor->failed = true;
        return NULL;
    }
    const void *start = cursor->bytes + cursor->offset;
    cursor->offset += (size_t)n;
    return start;
}

#define CURSOR_READ(type, name)                                                                              \
    static inline type cursor_##name(struct cursor *cursor) {                                                \
        type value = 0;                                                                                      \
        const void *start = cursor_take(cursor, sizeof value);                                               \
        if (start != NULL) memcpy(&value, start, sizeof value);                                              \
        return value;                                                                                        \
    }
CURSOR_READ(uint8_t, u8)
CURSOR_READ(uint16_t, u16)
CURSOR_READ(uint32_t, u32)
CURSOR_READ(uint64_t, u64)
#undef CURSOR_READ

#endif
