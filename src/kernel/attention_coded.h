/* The integers that stand for q and for probabilities where K and V are coded (codec/coded.h): 15 bits, so
 * that what they add to the error of the stored codes, of at most 8 bits, cannot be seen.
 *
 * A score is (sum of q codes * K codes) * scale of the key * scale of q, plus the same with the block's mean
 * codes where K has them. A tile adds to a row's out (sum of weight codes * V codes) * scale of the weights,
 * where a weight is a probability times the scale of the key's V; their scale is the row's own in this tile:
 * such that no weight exceeds ATTENTION_WEIGHT_MAX, and the largest is at least half of it. The sums fit
 * 32 bits for heads of up to CODEC_MAX_DIM numbers. */
#ifndef CABINET_KERNEL_ATTENTION_CODED_H
#define CABINET_KERNEL_ATTENTION_CODED_H

#include "base/float16.h"
#include "kernel/attention_tile.h"

enum { ATTENTION_WEIGHT_MAX = 32767 };
#define ATTENTION_LEAST_SCALE 0x1p-100f

/* The scale of numbers of which `largest_bits` is the largest magnitude's bits, and what to multiply them by
 * to get codes; 0 if all codes are 0, because the numbers are next to nothing (scale 0) or not finite (NaN).
 */
static inline float attention_scale_of(uint32_t largest_bits, int max_code, float *scale) {
    const float largest = float_of_bits(largest_bits);
    const uint32_t infinity = 0x7f800000u;
    *scale = largest_bits >= infinity ? float_of_bits(infinity | 0x400000u) : largest / (float)max_code;
    if (largest_bits >= infinity) return 0;
    if (*scale < ATTENTION_LEAST_SCALE) {
        *scale = 0;
        return 0;
    }
    return (float)max_code / largest;
}

#endif
