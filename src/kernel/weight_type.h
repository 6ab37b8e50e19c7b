/* The number formats of weights as GGUF files hold them, and their exact meaning.
 *
 * A quantised row is a run of *groups* (the file format calls them blocks; a block here is always KV): each
 * has a scale, perhaps a minimum, and codes. Layouts and dequantisation are those of the GGML format as the
 * PyPI package `gguf` documents and implements them; results agree with it bit for bit. */
#ifndef CABINET_KERNEL_WEIGHT_TYPE_H
#define CABINET_KERNEL_WEIGHT_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, number in the file, elements in a group, bytes of a group */
#define WEIGHT_FLOAT_LIST(X)                                                                                 \
    X(F32, 0, 1, 4)                                                                                          \
    X(F16, 1, 1, 2)
#define WEIGHT_BF16_LIST(X) X(BF16, 30, 1, 2)
#define WEIGHT_QUANTISED_LIST(X)                                                                             \
    X(Q4_0, 2, 32, 18)                                                                                       \
    X(Q4_1, 3, 32, 20)                                                                                       \
    X(Q5_0, 6, 32, 22)                                                                                       \
    X(Q5_1, 7, 32, 24)                                                                                       \
    X(Q8_0, 8, 32, 34)                                                                                       \
    X(Q2_K, 10, 256, 84)                                                                                     \
    X(Q3_K, 11, 256, 110)                                                                                    \
    X(Q4_K, 12, 256, 144)                                                                                    \
    X(Q5_K, 13, 256, 176)                                                                                    \
    X(Q6_K, 14, 256, 210)                                                                                    \
    X(IQ4_NL, 20, 32, 18)                                                                                    \
    X(IQ4_XS, 23, 256, 136)                                                                                  \
    X(MXFP4, 39, 32, 17)
#define WEIGHT_TYPE_LIST(X) WEIGHT_FLOAT_LIST(X) WEIGHT_BF16_LIST(X) WEIGHT_QUANTISED_LIST(X)

enum weight_type {
#define X(name, number, elements, bytes) WEIGHT_##name = number,
    WEIGHT_TYPE_LIST(X)
#undef X
        WEIGHT_TYPE_END /* a table by type has this many entries */
};

struct weight_format {
    const char *name;
    uint32_t group_elements, group_bytes;
};

/* NULL for a number that this build cannot run. */
const struct weight_format *weight_format_get(uint32_t type);
/* The name of any number that the format defines, also of those that do not run here; NULL if unknown. */
const char *weight_type_name(uint32_t type);

static inline bool weight_is_quantised(enum weight_type type) {
    return type != WEIGHT_F32 && type != WEIGHT_F16 && type != WEIGHT_BF16;
}

/* Bytes of n elements; n is a multiple of group_elements. */
static inline size_t weight_bytes(const struct weight_format *format, size_t n) {
    return n / format->group_elements * format->group_bytes;
}

/* Dequantises n elements (a multiple of the group) to f32. The source needs no alignment. */
void weight_dequantize(enum weight_type type, const void *source, float *destination, size_t n);

#endif
