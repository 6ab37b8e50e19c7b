/* How each quantised weight type lays out its bytes: the one place that knows. */
#include "kernel/weight_run.h"

#include <string.h>

/* Runs of the larger groups. */
enum { GROUP_RUNS = 8 };

WEIGHT_INLINE void set_factors(struct weight_run *run, int scale, int minimum) {
    run->scale_factor[0] = run->scale_factor[1] = (int8_t)scale;
    run->minimum_factor[0] = run->minimum_factor[1] = (int8_t)minimum;
}

WEIGHT_INLINE void read_scale(struct weight_run *run, const uint8_t *scale) {
    memcpy(&run->scale, scale, sizeof run->scale);
}

WEIGHT_INLINE void read_minimum(struct weight_run *run, const uint8_t *minimum, bool is_subtracted) {
    memcpy(&run->minimum, minimum, sizeof run->minimum);
    if (is_subtracted) run->minimum ^= 0x8000;
}

/* 16 bytes of two nibbles: the low ones are inputs 0 .. 15, the high ones 16 .. 31. */
WEIGHT_INLINE void unpack_nibbles(uint8_t code[WEIGHT_RUN], const uint8_t *nibbles) {
    for (int i = 0; i < 16; i++) {
        code[i] = nibbles[i] & 15;
        code[i + 16] = nibbles[i] >> 4;
    }
}

/* 32 fifth bits, nibbles */
WEIGHT_INLINE void unpack_fives(uint8_t code[WEIGHT_RUN], const uint8_t *fives) {
    unpack_nibbles(code, fives + 4);
    for (int i = 0; i < WEIGHT_RUN; i += 8) {
        /* bit j of one byte becomes bit 4 of byte j */
        uint64_t bits = fives[i / 8] * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201), word;
        bits = (bits + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 3 & UINT64_C(0x1010101010101010);
        memcpy(&word, code + i, sizeof word);
        word |= bits;
        memcpy(code + i, &word, sizeof word);
    }
}

/* Of 32 bytes the n bits from bit `from` on, as codes from bit `to` on; with `to` above 0 they are added. The
 * bytes are eight at a time in a word, as no compiler shifts bytes side by side by a count that varies. */
WEIGHT_INLINE void add_bits(uint8_t code[WEIGHT_RUN], unsigned to, const uint8_t *bytes, unsigned from,
                            unsigned n) {
    for (int i = 0; i < WEIGHT_RUN; i += 8) {
        uint64_t word, sum = 0;
        memcpy(&word, bytes + i, sizeof word);
        if (to > 0) memcpy(&sum, code + i, sizeof sum);
        sum |= (word >> from & UINT64_C(0x0101010101010101) * ((1u << n) - 1)) << to;
        memcpy(code + i, &sum, sizeof sum);
    }
}

/* Q4_K and Q5_K: f16 scale, f16 minimum, 8 six-bit factors of each in 12 bytes. */
WEIGHT_INLINE void unpack_k_scales(struct weight_run *run, const uint8_t *group, size_t part) {
    const uint8_t *factors = group + 4;
    read_scale(run, group);
    read_minimum(run, group + 2, true);
    if (part < 4)
        set_factors(run, factors[part] & 63, factors[part + 4] & 63);
    else
        set_factors(run, (factors[part + 4] & 15) | (factors[part - 4] >> 6 << 4),
                    factors[part + 4] >> 4 | (factors[part] >> 6 << 4));
}

/* 16 bytes of a four-bit scale factor and a four-bit minimum factor for each 16 inputs, 64 bytes of codes,
 * f16 scale, f16 minimum. Four neighbouring runs share 32 bytes of codes. */
WEIGHT_INLINE void unpack_q2_k(struct weight_run *run, const uint8_t *group, size_t part) {
    add_bits(run->code, 0, group + 16 + part / 4 * 32, (unsigned)(part % 4 * 2), 2);
    for (size_t share = 0; share < WEIGHT_SHARES; share++) {
        uint8_t factors = group[part * 2 + share];
        run->scale_factor[share] = factors & 15;
        run->minimum_factor[share] = (int8_t)(factors >> 4);
    }
    read_scale(run, group + 80);
    read_minimum(run, group + 82, true);
}

/* 32 bytes of third bits (a bit for each run), 64 bytes of lower bits as in Q2_K, 16 six-bit factors in 12
 * bytes, f16 scale. */
WEIGHT_INLINE void unpack_q3_k(struct weight_run *run, const uint8_t *group, size_t part) {
    const uint8_t *factors = group + 96;
    add_bits(run->code, 0, group + 32 + part / 4 * 32, (unsigned)(part % 4 * 2), 2);
    add_bits(run->code, 2, group, (unsigned)part, 1);
    for (size_t share = 0; share < WEIGHT_SHARES; share++) {
        size_t i = part * 2 + share;
        int low = factors[i % 8] >> i / 8 * 4 & 15, high = factors[8 + i % 4] >> i / 4 * 2 & 3;
        run->scale_factor[share] = (int8_t)((low | high << 4) - 32);
    }
    read_scale(run, group + 108);
}

/* Scales as unpack_k_scales has them; 128 bytes in which two neighbouring runs share 32 bytes. */
WEIGHT_INLINE void unpack_q4_k(struct weight_run *run, const uint8_t *group, size_t part) {
    unpack_k_scales(run, group, part);
    add_bits(run->code, 0, group + 16 + part / 2 * 32, (unsigned)(part % 2 * 4), 4);
}

/* The same with 32 bytes of fifth bits (a bit for each run) before the nibbles. */
WEIGHT_INLINE void unpack_q5_k(struct weight_run *run, const uint8_t *group, size_t part) {
    unpack_k_scales(run, group, part);
    add_bits(run->code, 0, group + 48 + part / 2 * 32, (unsigned)(part % 2 * 4), 4);
    add_bits(run->code, 4, group + 16, (unsigned)part, 1);
}

/* Low nibbles in 128 bytes, upper two bits in 64, 16 signed factors, f16 scale. Each half of 128 inputs has
 * 64 bytes of nibbles and 32 of upper bits. */
WEIGHT_INLINE void unpack_q6_k(struct weight_run *run, const uint8_t *group, size_t part) {
    size_t half = part / 4, quarter = part % 4;
    add_bits(run->code, 0, group + half * 64 + quarter % 2 * 32, (unsigned)(quarter / 2 * 4), 4);
    add_bits(run->code, 4, group + 128 + half * 32, (unsigned)(quarter * 2), 2);
    memcpy(run->scale_factor, group + 192 + part * 2, sizeof run->scale_factor);
    read_scale(run, group + 208);
}

/* f16 scale, u16 of the factors' upper two bits, 4 bytes of their lower four, nibbles as in Q4_0. */
WEIGHT_INLINE void unpack_iq4_xs(struct weight_run *run, const uint8_t *group, size_t part) {
    uint16_t high;
    memcpy(&high, group + 2, sizeof high);
    int low = group[4 + part / 2] >> part % 2 * 4 & 15;
    set_factors(run, (low | (high >> 2 * part & 3) << 4) - 32, 0);
    unpack_nibbles(run->code, group + 8 + part * 16);
    read_scale(run, group);
}

/* The types whose group is a run. */
WEIGHT_INLINE void unpack_small(enum weight_type type, struct weight_run *run, const uint8_t *group) {
    set_factors(run, 1, 1);
    read_scale(run, group);
    switch (type) {
    case WEIGHT_Q4_1: unpack_nibbles(run->code, group + 4); break;
    case WEIGHT_Q5_0: unpack_fives(run->code, group + 2); break;
    case WEIGHT_Q5_1: unpack_fives(run->code, group + 4); break;
    case WEIGHT_Q8_0:
        for (int i = 0; i < WEIGHT_RUN; i++) run->code[i] = group[2 + i] ^ 0x80;
        break;
    case WEIGHT_MXFP4:
        run->scale = group[0];
        unpack_nibbles(run->code, group + 1);
        break;
    default: unpack_nibbles(run->code, group + 2); /* Q4_0, IQ4_NL */
    }
    if (weight_traits_of(type).has_minimum) read_minimum(run, group + 2, false);
}

/* The types whose group is GROUP_RUNS runs. */
WEIGHT_INLINE void unpack_large(enum weight_type type, struct weight_run *run, const uint8_t *group,
                                size_t part) {
    switch (type) {
    case WEIGHT_Q2_K: unpack_q2_k(run, group, part); break;
    case WEIGHT_Q3_K: unpack_q3_k(run, group, part); break;
    case WEIGHT_Q4_K: unpack_q4_k(run, group, part); break;
    case WEIGHT_Q5_K: unpack_q5_k(run, group, part); break;
    case WEIGHT_Q6_K: unpack_q6_k(run, group, part); break;
    case WEIGHT_IQ4_XS: unpack_iq4_xs(run, group, part); break;
    default: __builtin_unreachable();
    }
}

void weight_unpack_run(enum weight_type type, struct weight_run *run, const uint8_t *row, size_t index) {
    switch (type) {
#define X(name, number, elements, bytes)                                                                     \
    case number:                                                                                             \
        if (elements == WEIGHT_RUN)                                                                          \
            unpack_small(WEIGHT_##name, run, row + index * bytes);                                           \
        else                                                                                                 \
            unpack_large(WEIGHT_##name, run, row + index / GROUP_RUNS * bytes, index % GROUP_RUNS);          \
        break;
        WEIGHT_QUANTISED_LIST(X)
#undef X
    default: __builtin_unreachable();
    }
}
