/* What a GGUF file holds: values by key, and tensors. gguf.h says who owns what they point to. */
#ifndef CABINET_MODEL_GGUF_VALUE_H
#define CABINET_MODEL_GGUF_VALUE_H

#include <stddef.h>
#include <stdint.h>

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_string {
    const char *bytes;
    size_t length;
};

struct gguf_value {
    struct gguf_string key;
    enum gguf_type type;
    union {
        uint64_t u; /* U8 .. U64, BOOL */
        int64_t i;  /* I8 .. I64 */
        double f;   /* F32, F64 */
        struct gguf_string string;
    };
    /* ARRAY: `length` elements of `element_type` (never ARRAY), from `elements` on, unaligned.
     * A string array has `strings` instead: one entry an element, owned by the file. */
    enum gguf_type element_type;
    uint64_t length;
    const uint8_t *elements;
    const struct gguf_string *strings;
};

struct gguf_tensor {
    struct gguf_string name;
    uint32_t type;    /* the file's number; a type that runs here, see kernel/weight_type.h */
    uint32_t n_dims;  /* 1 .. 4 */
    uint64_t dims[4]; /* fastest first; 1 past n_dims */
    uint64_t n_elements;
    const uint8_t *data;
    size_t bytes;
};

#endif
