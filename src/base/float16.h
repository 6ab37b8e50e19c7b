/* 16-bit floats as bit patterns: IEEE binary16 ("half") and bfloat16.
 *
 * Conversions to f32 are exact; conversions from f32 round to nearest, ties to even, as the hardware does. */
#ifndef CABINET_BASE_FLOAT16_H
#define CABINET_BASE_FLOAT16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t f16_bits;
typedef uint16_t bf16_bits;

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float f16_to_f32(f16_bits half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f)
        return float_of_bits(sign | 0x7f800000u | (mantissa << 13) | (mantissa ? 0x400000u : 0));
    if (exponent == 0) {
        /* zero or denormal: mantissa * 2^-24, exact in f32 */
        float magnitude = (float)mantissa * 0x1p-24f;
        return float_of_bits(bits_of_float(magnitude) | sign);
    }
    return float_of_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

static inline f16_bits f16_from_f32(float value) {
    uint32_t bits = bits_of_float(value);
    uint32_t sign = (bits >> 16) & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (f16_bits)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu)); /* NaN */
    if (magnitude >= 0x477ff000u) return (f16_bits)(sign | 0x7c00u); /* rounds past 65504 */
    if (magnitude < 0x38800000u) {
        /* denormal half: let the float adder round at 2^-24 */
        float shifted = float_of_bits(magnitude) + 0.5f;
        return (f16_bits)(sign | (bits_of_float(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (f16_bits)(sign | ((rounded - 0x38000000u) >> 13));
}

static inline float bf16_to_f32(bf16_bits bits) { return float_of_bits((uint32_t)bits << 16); }

static inline bf16_bits bf16_from_f32(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16_bits)((bits >> 16) | 0x40u); /* keep a NaN a NaN */
    return (bf16_bits)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#endif
