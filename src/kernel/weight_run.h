/* How each quantised weight type lays out its bytes: the one place that knows. A *run* is 32 consecutive
 * inputs of a row, whatever the size of the type's group; dequantize.c and panel.c both read weights as runs.
 *
 *   w[k] = f16(scale) * scale_factor[k / 16] * (code[k] - offset)  [+ f16(minimum) * minimum_factor]
 *
 * The products of a f16 scale and its integer factor are exact in f32. */
#ifndef CABINET_KERNEL_WEIGHT_RUN_H
#define CABINET_KERNEL_WEIGHT_RUN_H

#include <stdbool.h>
#include <string.h>

#include "base/float16.h"
#include "kernel/weight_type.h"

enum { WEIGHT_RUN = 32 };

struct weight_run {
    uint8_t code[WEIGHT_RUN];
    f16_bits scale, minimum;
    int scale_factor[2], minimum_factor;
};

/* `type` is a constant wherever these are called, so that one loop is compiled for each type. */
#define WEIGHT_INLINE static inline __attribute__((always_inline))

WEIGHT_INLINE bool weight_run_has_minimum(enum weight_type type) {
    return type == WEIGHT_Q4_1 || type == WEIGHT_Q4_K;
}

WEIGHT_INLINE int weight_run_offset(enum weight_type type) {
    switch (type) {
    case WEIGHT_Q4_0: return 8;
    case WEIGHT_Q5_0: return 16;
    case WEIGHT_Q6_K: return 32;
    case WEIGHT_Q8_0: return 128;
    default: return 0;
    }
}

/* Folds to constants, unlike weight_format_get of another file. */
WEIGHT_INLINE struct weight_format weight_run_format(enum weight_type type) {
    switch (type) {
#define X(name, number, elements, bytes)                                                                     \
    case number: return (struct weight_format){#name, elements, bytes};
        WEIGHT_TYPE_LIST(X)
#undef X
    default: __builtin_unreachable();
    }
}

/* 16 bytes of two nibbles: the low ones are inputs 0 .. 15, the high ones 16 .. 31. */
WEIGHT_INLINE void weight_unpack_nibbles(uint8_t code[WEIGHT_RUN], const uint8_t *nibbles) {
    for (int i = 0; i < 16; i++) {
        code[i] = nibbles[i] & 15;
        code[i + 16] = nibbles[i] >> 4;
    }
}

/* f16 scale, u32 of fifth bits, nibbles */
WEIGHT_INLINE void weight_unpack_q5_0(struct weight_run *run, const uint8_t *group) {
    uint32_t fifth;
    memcpy(&fifth, group + 2, sizeof fifth);
    weight_unpack_nibbles(run->code, group + 6);
    for (int i = 0; i < WEIGHT_RUN; i++) run->code[i] = (uint8_t)(run->code[i] | (fifth >> i & 1) << 4);
}

/* 256 inputs: f16 scale, f16 minimum, 8 six-bit factors of each in 12 bytes, 128 bytes in which two
 * neighbouring runs share 32 bytes as low and high nibbles */
WEIGHT_INLINE void weight_unpack_q4_k(struct weight_run *run, const uint8_t *group, size_t part) {
    const uint8_t *factors = group + 4, *nibbles = group + 16 + part / 2 * 32;
    int scale, minimum;
    if (part < 4) {
        scale = factors[part] & 63;
        minimum = factors[part + 4] & 63;
    } else {
        scale = (factors[part + 4] & 15) | (factors[part - 4] >> 6 << 4);
        minimum = factors[part + 4] >> 4 | (factors[part] >> 6 << 4);
    }
    run->scale_factor[0] = run->scale_factor[1] = scale;
    run->minimum_factor = -minimum; /* the type subtracts its minimum */
    unsigned shift = part % 2 * 4;
    for (int i = 0; i < WEIGHT_RUN; i++) run->code[i] = nibbles[i] >> shift & 15;
}

/* 256 inputs: low nibbles in 128 bytes, upper two bits in 64, 16 signed factors, f16 scale. Each half of 128
 * inputs has 64 bytes of nibbles and 32 of upper bits. */
WEIGHT_INLINE void weight_unpack_q6_k(struct weight_run *run, const uint8_t *group, size_t part) {
    size_t half = part / 4, quarter = part % 4;
    const uint8_t *low = group + half * 64 + quarter % 2 * 32, *high = group + 128 + half * 32;
    unsigned low_shift = (unsigned)(quarter / 2 * 4), high_shift = (unsigned)(quarter * 2);
    for (int i = 0; i < WEIGHT_RUN; i++)
        run->code[i] = (uint8_t)((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4);
    for (size_t i = 0; i < 2; i++) run->scale_factor[i] = (int8_t)group[192 + part * 2 + i];
}

/* Run number `index` of a row that begins at `row`. */
WEIGHT_INLINE void weight_unpack_run(enum weight_type type, struct weight_run *run, const uint8_t *row,
                                     size_t index) {
    const struct weight_format format = weight_run_format(type);
    const size_t runs = format.group_elements / WEIGHT_RUN;
    const uint8_t *group = row + index / runs * format.group_bytes;
    memcpy(&run->scale, group + (type == WEIGHT_Q6_K ? 208 : 0), sizeof run->scale);
    memcpy(&run->minimum, group + 2, sizeof run->minimum); /* ignored by types without one */
    run->scale_factor[0] = run->scale_factor[1] = run->minimum_factor = 1;
    switch (type) {
    case WEIGHT_Q4_0: weight_unpack_nibbles(run->code, group + 2); break;
    case WEIGHT_Q4_1: weight_unpack_nibbles(run->code, group + 4); break;
    case WEIGHT_Q5_0: weight_unpack_q5_0(run, group); break;
    case WEIGHT_Q8_0:
        for (int i = 0; i < WEIGHT_RUN; i++) run->code[i] = group[2 + i] ^ 0x80;
        break;
    case WEIGHT_Q4_K: weight_unpack_q4_k(run, group, index % runs); break;
    case WEIGHT_Q6_K: weight_unpack_q6_k(run, group, index % runs); break;
    default: __builtin_unreachable();
    }
}

#endif
