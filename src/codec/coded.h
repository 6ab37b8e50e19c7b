/* The coded codecs (q8, q4, q3): a row is small integers, its *codes*, and one scale.
 *
 * A side is a matrix of numbers in *quads*, four numbers that one integer dot product takes together, so
 * that attention reads codes as they lie. A *line* is one quad of all columns:
 *
 *   K: (head_dim / 4 quads, BLOCK_TOKENS columns)   a quad is 4 dimensions of one slot
 *   V: (BLOCK_TOKENS / 4 quads, columns)            a quad is 4 slots of one dimension; columns are the
 *                                                   head_dim dimensions, and unused ones up to a multiple of
 * 16
 *
 *   q8: a byte is a code, -127 .. 127, lines one after the other
 *   q4: a byte holds an index into 16 levels of lines 2i (low nibble) and 2i + 1
 *   q3: an index into 8 levels: a byte holds the low two bits of lines 4i, 4i + 1, 4i + 2, 4i + 3 (from its
 *       lowest bits on); after all of those, a byte holds the high bit of lines 8i .. 8i + 7
 *
 *   area: | codes | scales of the BLOCK_TOKENS rows: f32 (q8) or f16 | K of q4 and q3: the mean | up to 64 |
 *   mean: | s8 code of each dimension | f32 scale |
 *
 * number [row][dimension] = code (or its level) * scale of the row + mean code * mean scale. A level of a
 * code's index is an integer of -127 .. 127 too; any bytes are codes, so only scales can be NaN. A row with
 * numbers that are not finite has scale NaN. */
#ifndef CABINET_CODEC_CODED_H
#define CABINET_CODEC_CODED_H

#include "base/float16.h"
#include "codec/codec.h"

enum { CODED_V_QUADS = (BLOCK_TOKENS + 3) / 4, CODED_ALIGN = 64, CODED_MAX = 127 };

/* Optimal quantiser levels of a Gaussian (Max 1960, Lloyd 1982), the widest scaled to CODED_MAX. */
static const int8_t coded_levels_q4[16] = {-127, -96, -75, -58, -44, -31, -18, -6,
                                           6,    18,  31,  44,  58,  75,  96,  127};
static const int8_t coded_levels_q3[8] = {-127, -79, -45, -14, 14, 45, 79, 127};

static inline bool codec_is_coded(enum codec_id codec) {
    return codec == CODEC_q8 || codec == CODEC_q4 || codec == CODEC_q3;
}
static inline unsigned coded_v_columns(unsigned head_dim) { return (head_dim + 15) / 16 * 16; }

/* Bytes of the codes of n_quads lines. */
static inline size_t coded_code_bytes(enum codec_id codec, unsigned n_quads, unsigned n_columns) {
    const size_t line = (size_t)n_columns * 4;
    if (codec == CODEC_q8) return n_quads * line;
    if (codec == CODEC_q4) return (n_quads + 1) / 2 * line;
    return ((n_quads + 3) / 4 + (n_quads + 7) / 8) * line;
}
static inline size_t coded_scale_bytes(enum codec_id codec) {
    return BLOCK_TOKENS * (codec == CODEC_q8 ? sizeof(float) : sizeof(f16_bits));
}

/* Where the scales begin in an area, which is where its codes end; and where the mean does in K's. */
static inline size_t coded_k_scales(enum codec_id codec, unsigned head_dim) {
    return coded_code_bytes(codec, (head_dim + 3) / 4, BLOCK_TOKENS);
}
static inline size_t coded_v_scales(enum codec_id codec, unsigned head_dim) {
    return coded_code_bytes(codec, CODED_V_QUADS, coded_v_columns(head_dim));
}
static inline size_t coded_k_mean(enum codec_id codec, unsigned head_dim) {
    return coded_k_scales(codec, head_dim) + coded_scale_bytes(codec);
}

static inline size_t coded_k_bytes(enum codec_id codec, unsigned head_dim) {
    const size_t mean = codec == CODEC_q8 ? 0 : head_dim + sizeof(float);
    return (coded_k_mean(codec, head_dim) + mean + CODED_ALIGN - 1) / CODED_ALIGN * CODED_ALIGN;
}
static inline size_t coded_v_bytes(enum codec_id codec, unsigned head_dim) {
    const size_t bytes = coded_v_scales(codec, head_dim) + coded_scale_bytes(codec);
    return (bytes + CODED_ALIGN - 1) / CODED_ALIGN * CODED_ALIGN;
}

/* The code or index at quad `quad` of n_quads, byte `at` (column * 4 + place in the quad) of its line. */
static inline uint8_t coded_index(enum codec_id codec, const uint8_t *codes, unsigned n_quads,
                                  unsigned n_columns, unsigned quad, unsigned at) {
    const size_t line = (size_t)n_columns * 4;
    if (codec == CODEC_q8) return codes[quad * line + at];
    if (codec == CODEC_q4) return (codes[quad / 2 * line + at] >> (quad % 2 * 4)) & 15;
    const uint8_t *high = codes + (n_quads + 3) / 4 * line;
    const unsigned low_bits = (codes[quad / 4 * line + at] >> (quad % 4 * 2)) & 3u;
    return (uint8_t)(low_bits | ((high[quad / 8 * line + at] >> quad % 8) & 1u) << 2);
}
/* The integer that it stands for. */
static inline int coded_value(enum codec_id codec, uint8_t index) {
    if (codec == CODEC_q8) return (int8_t)index;
    return codec == CODEC_q4 ? coded_levels_q4[index] : coded_levels_q3[index];
}
/* A row's scale, of the scales in an area. */
static inline float coded_scale(enum codec_id codec, const void *scales, unsigned slot) {
    return codec == CODEC_q8 ? ((const float *)scales)[slot] : f16_to_f32(((const f16_bits *)scales)[slot]);
}

#endif
