/* What tells the quantised weight types apart, as a table: files, panels and kernels follow it. Of a run of
 * 32 inputs, with `share` the part of the run that input k lies in (the first or second half, or all of it):
 *
 *   w[k] = scale[share] * (number[k] - offset)  [+ minimum[share]]
 *
 * where number[k] is the code, or what the type's table has in its place, and scale and minimum are each one
 * f16, one power of two, or an f16 for 256 inputs times an integer factor (a product that is exact in f32).
 */
#ifndef CABINET_KERNEL_WEIGHT_TRAITS_H
#define CABINET_KERNEL_WEIGHT_TRAITS_H

#include "base/float16.h"
#include "kernel/weight_type.h"

enum weight_scale {
    SCALE_F16,
    SCALE_E8M0,          /* 2^(e - 128): half of what OCP's E8M0 means, as the table doubles E2M1 */
    SCALE_FACTORS,       /* f16 for 256 inputs, one byte for each factor */
    SCALE_NIBBLE_FACTORS /* the same, but scale and minimum have four bits each */
};

struct weight_traits {
    unsigned low_bits, high_bits; /* of a code; panels keep the two parts apart */
    int offset, largest;          /* of numbers */
    unsigned n_shares;            /* of a run: so many scales, and minima if it has them */
    bool has_minimum;             /* then offset is 0 */
    enum weight_scale scale;
    const uint8_t *table; /* (16), or NULL */
};

/* The sixteen numbers of IQ4_NL and IQ4_XS, and twice those of OCP's E2M1, plus their offsets. */
static const uint8_t weight_table_iq4[16] = {0,   23,  44,  62,  78,  92,  105, 117,
                                             128, 140, 152, 165, 180, 196, 216, 240};
static const uint8_t weight_table_e2m1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

/* `type` is a constant wherever speed matters, so that one loop is compiled for each type. */
#define WEIGHT_INLINE static inline __attribute__((always_inline))

WEIGHT_INLINE struct weight_traits weight_traits_of(enum weight_type type) {
    switch (type) {
    case WEIGHT_Q4_0: return (struct weight_traits){4, 0, 8, 15, 1, false, SCALE_F16, NULL};
    case WEIGHT_Q4_1: return (struct weight_traits){4, 0, 0, 15, 1, true, SCALE_F16, NULL};
    case WEIGHT_Q5_0: return (struct weight_traits){4, 1, 16, 31, 1, false, SCALE_F16, NULL};
    case WEIGHT_Q5_1: return (struct weight_traits){4, 1, 0, 31, 1, true, SCALE_F16, NULL};
    case WEIGHT_Q8_0: return (struct weight_traits){8, 0, 128, 255, 1, false, SCALE_F16, NULL};
    case WEIGHT_Q2_K: return (struct weight_traits){2, 0, 0, 3, 2, true, SCALE_NIBBLE_FACTORS, NULL};
    case WEIGHT_Q3_K: return (struct weight_traits){2, 1, 4, 7, 2, false, SCALE_FACTORS, NULL};
    case WEIGHT_Q4_K: return (struct weight_traits){4, 0, 0, 15, 1, true, SCALE_FACTORS, NULL};
    case WEIGHT_Q5_K: return (struct weight_traits){4, 1, 0, 31, 1, true, SCALE_FACTORS, NULL};
    case WEIGHT_Q6_K: return (struct weight_traits){4, 2, 32, 63, 2, false, SCALE_FACTORS, NULL};
    case WEIGHT_IQ4_NL: return (struct weight_traits){4, 0, 127, 240, 1, false, SCALE_F16, weight_table_iq4};
    case WEIGHT_IQ4_XS:
        return (struct weight_traits){4, 0, 127, 240, 1, false, SCALE_FACTORS, weight_table_iq4};
    case WEIGHT_MXFP4: return (struct weight_traits){4, 0, 12, 24, 1, false, SCALE_E8M0, weight_table_e2m1};
    default: __builtin_unreachable(); /* a float type */
    }
}

WEIGHT_INLINE int weight_number(struct weight_traits traits, uint8_t code) {
    return (traits.table != NULL ? traits.table[code] : code) - traits.offset;
}

/* 2^(exponent - 128) */
WEIGHT_INLINE float weight_e8m0_to_f32(uint8_t exponent) {
    return float_of_bits(exponent < 2 ? 0x00200000u << exponent : (exponent - 1u) << 23);
}

#endif
