/* The rules by which a group of activations becomes int8: shared, so that codes and scales are the same bits
 * in every kernel set.
 *
 * The scale is the largest magnitude / 127 with its last two significand bits cut: 3 * 2^22 * scale is then
 * exact in f32, by which kernels turn an integer sum into `sum * scale` in a single fused operation
 * (x86/matmul_avx512.c). Codes are x * (1 / scale) rounded to nearest even, which still ends within -127 ..
 * 127.
 *
 * A group has a fine plane if its squared scale exceeds FINE_THRESHOLD times the row's mean squared scale:
 * rounding errors grow with the scale, so these few groups hold most of the error. Fine codes are (x - code *
 * scale) * (256 / scale), rounded likewise and kept within -127 .. 127; their scale is scale / 256. */
#ifndef CABINET_KERNEL_QUANTIZE_H
#define CABINET_KERNEL_QUANTIZE_H

#include <math.h>
#include <stddef.h>

#include "base/float16.h"

struct quantize_scale {
    float scale, inverse;
};

/* From the bits of the group's largest magnitude (as unsigned numbers, so that a NaN is larger than all). */
static inline struct quantize_scale quantize_scale_of(uint32_t magnitude_bits) {
    float magnitude = float_of_bits(magnitude_bits);
    /* A number that is not finite, or absurd, must show in the result: NaN, and codes of 0. */
    if (!(magnitude < 0x1p100f)) return (struct quantize_scale){NAN, 0};
    if (magnitude < 0x1p-100f) return (struct quantize_scale){0, 0};
    float scale = float_of_bits(bits_of_float(magnitude / 127.0f) & ~3u);
    return (struct quantize_scale){scale, 1.0f / scale};
}

enum { FINE_THRESHOLD = 2, FINE_STEPS = 256 };

/* Scales above this have a fine plane. */
static inline float quantize_fine_above(const float *scale, size_t n_groups) {
    double sum = 0;
    for (size_t g = 0; g < n_groups; g++) sum += (double)scale[g] * (double)scale[g];
    return (float)sqrt(sum * FINE_THRESHOLD / (double)n_groups);
}

/* To BF16: nearest, ties to even; denormal numbers become zeros of their sign, as vcvtneps2bf16 has them, and
 * a NaN remains one. Without branches, so that a compiler may do several at once. */
static inline bf16_bits quantize_bf16(float value) {
    uint32_t bits = bits_of_float(value), magnitude = bits & 0x7fffffffu;
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    rounded = magnitude < 0x00800000u ? bits >> 16 & 0x8000u : rounded;
    rounded = magnitude > 0x7f800000u ? bits >> 16 | 0x40u : rounded;
    return (bf16_bits)rounded;
}

#endif
