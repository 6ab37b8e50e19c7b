/* What one call of a kernel set's attention sees: query rows, and a tile of keys. */
#ifndef CABINET_KERNEL_ATTENTION_TILE_H
#define CABINET_KERNEL_ATTENTION_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "codec/codec.h"

/* Keys that one pass of the softmax sees together. Tiles begin at absolute multiples of this position. */
enum { ATTENTION_TILE = 128, ATTENTION_TILE_BLOCKS = ATTENTION_TILE / BLOCK_TOKENS, ATTENTION_MAX_ROWS = 48 };

/* Query rows as integers, for coded K (codec/coded.h): q = code * scale, codes within +-ATTENTION_Q_MAX. How
 * the set lays codes out is its own affair. */
enum { ATTENTION_Q_MAX = 16319 };
struct attention_codes {
    float scale[ATTENTION_MAX_ROWS];
    int32_t bias[ATTENTION_MAX_ROWS]; /* what the set's products are too large by */
    int16_t codes[];                  /* (n_rows, head_dim) */
};

/* Query rows that see the same keys of one KV head (GQA heads x positions), and their running softmax. */
struct attention_rows {
    unsigned n_rows;   /* 1 .. ATTENTION_MAX_ROWS */
    unsigned head_dim; /* multiple of 2 */
    const float *q;    /* (n_rows, head_dim), already scaled */
    float *max;        /* (n_rows) about the largest score so far, at most 8 below it; -INFINITY at first */
    float *sum;        /* (n_rows) sum of exp(score - max); 0 at first */
    float *out;        /* (n_rows, head_dim) sum of exp(score - max) * v; 0 at first */
    struct attention_codes *codes; /* attention_codes_bytes, aligned to a cache line; attend_prepare fills it.
                                      Tiles with float K do not look at it. */
};

/* Up to ATTENTION_TILE consecutive keys, in whole blocks that are all stored alike. */
struct attention_tile {
    enum codec_id k_codec, v_codec;
    const void *k[ATTENTION_TILE_BLOCKS]; /* K areas of one head */
    const void *v[ATTENTION_TILE_BLOCKS];
    const void *next_k[ATTENTION_TILE_BLOCKS]; /* K areas that are read next, to prefetch; any may be NULL */
    const uint32_t *begin, *end; /* (n_rows) the keys of the tile that a row sees; equal if it sees none */
    float softcap;               /* scores become softcap * tanh(score / softcap); 0: they stay as they are */
};

/* Bytes of the codes of up to ATTENTION_MAX_ROWS rows, whole cache lines. */
static inline size_t attention_codes_bytes(unsigned head_dim) {
    const size_t line = 64, bytes = sizeof(struct attention_codes) + sizeof(int16_t) * ATTENTION_MAX_ROWS *
                                                                         ((head_dim + 15) / 16 * (size_t)16);
    return (bytes + line - 1) / line * line;
}

#endif
