/* plain4: a plain 4-bit format, as caches are stored elsewhere; a control to measure q4 against, of about its
 * size. Every 32 numbers of a row, not rotated, share one scale. Sealed blocks only, like q4.
 *
 *   row, K or V:   | group 0: f16 scale | 16 bytes: number i in the low, 16 + i in the high nibble | group 1
 * ... area:          BLOCK_TOKENS rows, up to a multiple of 64 bytes
 *
 * A code c stands for (c - 8) * scale, where -8 * scale is the group's number of largest magnitude. The last
 * group of a row whose length is no multiple of 32 is shorter. */
#include <math.h>
#include <string.h>

#include "base/float16.h"
#include "codec/codec.h"

enum { GROUP = 32 };

static unsigned group_numbers(unsigned head_dim, unsigned begin) {
    return head_dim - begin < GROUP ? head_dim - begin : GROUP;
}

static size_t row_bytes(unsigned head_dim) {
    return (size_t)(head_dim + GROUP - 1) / GROUP * sizeof(f16_bits) + head_dim / 2;
}

static size_t area_bytes(unsigned head_dim) { return (row_bytes(head_dim) * BLOCK_TOKENS + 63) / 64 * 64; }

static float scale_of(const float *numbers, unsigned n) {
    float extreme = 0;
    for (unsigned i = 0; i < n; i++)
        if (fabsf(numbers[i]) > fabsf(extreme)) extreme = numbers[i];
    return extreme / -8;
}

static unsigned code_of(float number, float inverse) {
    float code = rintf(number * inverse) + 8;
    return code >= 15 ? 15 : code > 0 ? (unsigned)code : 0;
}

static void encode_row(uint8_t *out, const float *row, unsigned head_dim) {
    for (unsigned begin = 0; begin < head_dim; begin += GROUP) {
        unsigned n = group_numbers(head_dim, begin);
        f16_bits scale = f16_from_f32(scale_of(row + begin, n));
        float stored = f16_to_f32(scale), inverse = stored != 0 ? 1 / stored : 0;
        memcpy(out, &scale, sizeof scale);
        out += sizeof scale;
        for (unsigned i = 0; i < n / 2; i++)
            *out++ =
                (uint8_t)(code_of(row[begin + i], inverse) | code_of(row[begin + n / 2 + i], inverse) << 4);
    }
}

static void decode_row(const uint8_t *in, float *row, unsigned head_dim) {
    for (unsigned begin = 0; begin < head_dim; begin += GROUP) {
        unsigned n = group_numbers(head_dim, begin);
        f16_bits bits;
        memcpy(&bits, in, sizeof bits);
        in += sizeof bits;
        float scale = f16_to_f32(bits);
        for (unsigned i = 0; i < n / 2; i++, in++) {
            row[begin + i] = (float)((int)(*in & 15) - 8) * scale;
            row[begin + n / 2 + i] = (float)((int)(*in >> 4) - 8) * scale;
        }
    }
}

static void encode_block(void *area, const float *rows, unsigned head_dim) {
    for (unsigned slot = 0; slot < BLOCK_TOKENS; slot++)
        encode_row((uint8_t *)area + slot * row_bytes(head_dim), rows + (size_t)slot * head_dim, head_dim);
}

static void decode(const void *area, unsigned slot, float *row, unsigned head_dim) {
    decode_row((const uint8_t *)area + slot * row_bytes(head_dim), row, head_dim);
}

const struct codec codec_plain4 = {
    .name = "plain4",
    .dim_multiple = 2,
    .k_bytes = area_bytes,
    .v_bytes = area_bytes,
    .encode_k_block = encode_block,
    .encode_v_block = encode_block,
    .decode_k = decode,
    .decode_v = decode,
};
