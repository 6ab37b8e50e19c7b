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
#define WEIGHT_TYPE_LIST(X)                                                                                  \
    X(F32, 0, 1, 4)                                                                                          \
    X(F16, 1, 1, 2)                                                                                          \
    X(Q4_0, 2, 32, 18)                                                                                       \
    X(Q4_1, 3, 32, 20)                                                                                       \
    X(Q5_0, 6, 32, 22)                                                                                       \
    X(Q8_0, 8, 32, 34)                                                                                       \
    X(Q4_K, 12, 256, 144)                                                                                    \
    X(Q6_K, 14, 256, 210)                                                                                    \
    X(BF16, 30, 1, 2)

enum weight_type {
#define X(name, number, elements, bytes) WEIGHT_##name = number,
    WEIGHT_TYPE_LIST(X)
#undef X
};

struct weight_format {
    const char *name;
    uint32_t group_elements, group_bytes;
};

/* NULL for a number that this build cannot run. */
const struct weight_format *weight_format_get(uint32_t type);
/* The name of any number that the format defines, also of those that do not run here; NULL if unknown. */
const char *weight_type_name(uint32_t type);

/* Bytes of n elements; n is a multiple of group_elements. */
static inline size_t weight_bytes(const struct weight_format *format, size_t n) {
    return n / format->group_elements * format->group_bytes;
}

/* Dequantises n elements (a multiple of the group) to f32. The source needs no alignment. */
void weight_dequantize(enum weight_type type, const void *source, float *destination, size_t n);

#endif
