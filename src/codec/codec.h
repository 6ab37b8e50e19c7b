/* How the K and V rows of one attention head are stored inside a block.
 *
 * A codec decides the bytes of a block's K or V for one KV head: an *area*. There are two kinds.
 *
 * Row codecs write every row on its own (encode_k, encode_v), so a block can grow token by token, and slots
 * can be copied bit for bit. f32, f16 and bf16 keep every number; q8 has 8 bits for one and a scale a row.
 * Block codecs (q4, q3) encode all BLOCK_TOKENS rows of a block together (encode_k_block, encode_v_block):
 * they need the whole block to know its mean.
 *
 * f32, f16, bf16:
 *   K: (head_dim, BLOCK_TOKENS)   element [dim][slot]   a vector holds one dimension of many tokens, and
 *                                                       scores fall out without horizontal sums
 *   V: (BLOCK_TOKENS, head_dim)   element [slot][dim]   a vector holds many dimensions of one token
 * The others' layouts stand in code_layout.h.
 *
 * Codecs that want it get their rows *rotated*: multiplied by an orthonormal matrix (kernel/rotate.h) that
 * spreads what stands out in one dimension over all. Queries are rotated alike, so scores stay the same, and
 * what attention returns is rotated back; all that is no business of the codec.
 *
 * The functions here are the plain reference; the kernel sets have faster ones of the same result. */
#ifndef CABINET_CODEC_CODEC_H
#define CABINET_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Consecutive tokens in a block. Property tests build with a tiny value. */
#ifndef BLOCK_TOKENS
#define BLOCK_TOKENS 32
#endif

/* Adding a codec: a line here and a file codec_<name>.c that defines `const struct codec codec_<name>`.
 * Those of the first list store floating-point numbers, those of the second small integers and scales. */
#define CODEC_FLOAT_LIST(X) X(f32) X(f16) X(bf16)
#define CODEC_CODE_LIST(X) X(q8) X(q4) X(q3)
#define CODEC_LIST(X) CODEC_FLOAT_LIST(X) CODEC_CODE_LIST(X)
/* Codecs to measure others against (cabinet quality), not to store with: no rule of --kv names them, kernel
 * sets have nothing for them. */
#define CODEC_CONTROL_LIST(X) X(plain4)

/* Largest head of codecs whose areas are made from others' rows. */
enum { CODEC_MAX_DIM = 512 };

enum codec_id {
#define X(name) CODEC_##name,
    CODEC_LIST(X)
#undef X
        CODEC_COUNT, /* of those that can be chosen; controls come behind it */
    CODEC_BEFORE_CONTROLS = CODEC_COUNT - 1,
#define X(name) CODEC_##name,
    CODEC_CONTROL_LIST(X)
#undef X
        CODEC_ALL_COUNT
};

struct codec {
    const char *name;
    bool is_row, is_float;
    bool wants_rotation;
    unsigned
        dim_multiple; /* heads of multiples of this many numbers, at most CODEC_MAX_DIM unless is_float */
    /* Bytes of one head's area in one block. */
    size_t (*k_bytes)(unsigned head_dim), (*v_bytes)(unsigned head_dim);
    /* Row codecs: writes one row of head_dim f32 numbers into slot `slot` of an area. */
    void (*encode_k)(void *k_area, unsigned slot, const float *row, unsigned head_dim);
    void (*encode_v)(void *v_area, unsigned slot, const float *row, unsigned head_dim);
    /* Block codecs: writes the whole area from rows, (BLOCK_TOKENS, head_dim). */
    void (*encode_k_block)(void *k_area, const float *rows, unsigned head_dim);
    void (*encode_v_block)(void *v_area, const float *rows, unsigned head_dim);
    /* The stored row as f32. */
    void (*decode_k)(const void *k_area, unsigned slot, float *row, unsigned head_dim);
    void (*decode_v)(const void *v_area, unsigned slot, float *row, unsigned head_dim);
};

const struct codec *codec_get(enum codec_id id);
/* "f32, f16, bf16": for messages. Lives for ever. */
const char *codec_names(void);

/* Stores a head's area anew, all BLOCK_TOKENS rows, from what another codec stored of it. Where both are the
 * same the bytes are copied. */
void codec_convert_k(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim);
void codec_convert_v(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim);

#endif
