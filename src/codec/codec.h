/* How the K and V rows of one attention head are stored inside a block.
 *
 * A codec decides the bytes of a block's K and V for one KV head; either side of a layer may have its own.
 * The *float* codecs (f32, f16, bf16) keep every number on its own and differ only in the element type.
 * Layout of one head in a block of BLOCK_TOKENS slots:
 *
 *   K: (head_dim, BLOCK_TOKENS)   element [dim][slot]   so that a vector holds one dimension of many tokens
 *                                                       and their scores fall out without horizontal sums
 *   V: (BLOCK_TOKENS, head_dim)   element [slot][dim]   so that a vector holds many dimensions of one token
 *
 * The *coded* codecs (q8, q4, q3) keep small integers and a scale a row: coded.h.
 *
 * Row codecs (the float ones and q8) write rows one by one; block codecs (q4, q3) all of a block at once.
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

/* Adding a codec: a line here and a file codec_<name>.c that defines `const struct codec codec_<name>`. */
#define CODEC_FLOAT_LIST(X) X(f32) X(f16) X(bf16)
#define CODEC_ROW_LIST(X) CODEC_FLOAT_LIST(X) X(q8)
#define CODEC_BLOCK_LIST(X) X(q4) X(q3)
#define CODEC_LIST(X) CODEC_ROW_LIST(X) CODEC_BLOCK_LIST(X)
/* Codecs to measure others against (cabinet quality), not to store with: no rule of --kv names them, kernel
 * sets have nothing for them. */
#define CODEC_CONTROL_LIST(X) X(plain4)

/* Largest head of codecs that are made from others' rows. */
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
    bool is_row;         /* has encode_k and encode_v; the others have encode_*_block */
    bool wants_rotation; /* rows should come rotated (kernel_set.rotate): spreads what single channels have */
    unsigned dim_multiple; /* head sizes that it takes */
    /* Bytes of one head's K area, or of its V area, in one block: multiples of 64 for head sizes of 16. */
    size_t (*k_bytes)(unsigned head_dim), (*v_bytes)(unsigned head_dim);
    /* Writes all of a head's K (or V) area from rows (BLOCK_TOKENS, head_dim). */
    void (*encode_k_block)(void *k_area, const float *rows, unsigned head_dim);
    void (*encode_v_block)(void *v_area, const float *rows, unsigned head_dim);
    /* Writes one row of head_dim f32 numbers into slot `slot` of a head's K (or V) area. */
    void (*encode_k)(void *k_area, unsigned slot, const float *row, unsigned head_dim);
    void (*encode_v)(void *v_area, unsigned slot, const float *row, unsigned head_dim);
    /* The stored row as f32. */
    void (*decode_k)(const void *k_area, unsigned slot, float *row, unsigned head_dim);
    void (*decode_v)(const void *v_area, unsigned slot, float *row, unsigned head_dim);
};

const struct codec *codec_get(enum codec_id id);

/* Stores a head's area anew, all BLOCK_TOKENS rows, from what another codec stored of it. Where both are the
 * same the bytes are copied. */
void codec_convert_k(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim);
void codec_convert_v(const struct codec *to, void *to_area, const struct codec *from, const void *from_area,
                     unsigned head_dim);

#endif
