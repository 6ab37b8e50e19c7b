/* Where the integers and scales of q8, q4 and q3 lie in an area.
 *
 *   K: | codes: chunk 0 .. head_dim / 4 - 1 | scale of each slot | q4, q3: mean of each dimension, its scale
 * | V: | codes: chunk 0 .. n - 1            | scale of each slot |
 *
 * A K chunk is four dimensions of all slots, element [slot][dim % 4]; a V chunk is four slots of 32
 * dimensions, element [dim % 32][slot % 4], and chunk (slot / 4) * ceil(head_dim / 32) + dim / 32 has it:
 * four products that one dot-product instruction sums stand side by side, and its lanes are the slots of a
 * score, or the dimensions of an output. Where head_dim is no multiple of 32 the last V chunks have unused
 * elements.
 *
 * Chunks of 128 elements, by codec:
 *   q8   128 bytes: K as code + 128 (that instruction's one operand is unsigned), V as a signed byte
 *   q4    64 bytes: element e < 64 in the low half of byte e, element 64 + e in the high half
 *   q3    48 bytes: two low bits of element e in byte e % 32, shifted by 2 * (e / 32); the third bit of
 * element e is bit e % 8 of byte 32 + e / 8
 *
 * A row's number is code / 127 * scale; in q4 and q3 the stored index is that of a code in a table of levels,
 * and to K the mean of its dimension is added: mean / 127 * mean scale. Scales are f16, the mean's is f32. */
#ifndef CABINET_CODEC_CODE_LAYOUT_H
#define CABINET_CODEC_CODE_LAYOUT_H

#include "base/float16.h"
#include "codec/codec.h"

enum {
    CODE_CHUNK = 4 * BLOCK_TOKENS, /* elements of a K chunk; of a V chunk 128 */
    CODE_V_DIMS = 32,
    CODE_MAX = 127,
    CODE_BIAS = 128, /* of K's bytes */
    CODE_ALIGN = 64
};

static inline unsigned code_k_chunks(unsigned head_dim) { return (head_dim + 3) / 4; }
static inline unsigned code_v_groups(unsigned head_dim) { return (head_dim + CODE_V_DIMS - 1) / CODE_V_DIMS; }
static inline unsigned code_v_chunks(unsigned head_dim) {
    return (BLOCK_TOKENS + 3) / 4 * code_v_groups(head_dim);
}
static inline size_t code_align(size_t bytes) { return (bytes + CODE_ALIGN - 1) / CODE_ALIGN * CODE_ALIGN; }

/* Chunk and element of a number. */
struct code_place {
    unsigned chunk, element;
};
static inline struct code_place code_k_place(unsigned slot, unsigned dim) {
    return (struct code_place){dim / 4, slot * 4 + dim % 4};
}
static inline struct code_place code_v_place(unsigned slot, unsigned dim, unsigned head_dim) {
    return (struct code_place){slot / 4 * code_v_groups(head_dim) + dim / CODE_V_DIMS,
                               dim % CODE_V_DIMS * 4 + slot % 4};
}

/* What follows the chunks. */
static inline f16_bits *code_scales(const void *area, unsigned n_chunks, unsigned chunk_bytes) {
    return (f16_bits *)((uintptr_t)area + (size_t)n_chunks * chunk_bytes);
}
static inline int8_t *code_mean(const void *area, unsigned n_chunks, unsigned chunk_bytes) {
    return (int8_t *)(code_scales(area, n_chunks, chunk_bytes) + BLOCK_TOKENS);
}
static inline float code_mean_scale(const int8_t *mean, unsigned head_dim) {
    float scale;
    memcpy(&scale, mean + head_dim, sizeof scale);
    return scale;
}

/* The levels of a table in order of index, as codes: odd, so that index and ~index are each other's negative.
 */
extern const int8_t code_levels_q4[16], code_levels_q3[8];

enum {
    CODE_Q8_CHUNK = CODE_CHUNK,
    CODE_Q4_CHUNK = CODE_CHUNK / 2,
    CODE_Q3_CHUNK = CODE_CHUNK / 4 + CODE_CHUNK / 8
};

#endif
