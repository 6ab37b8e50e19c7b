/* What one call of a kernel set's attention sees: query rows, and a tile of keys. */
#ifndef CABINET_KERNEL_ATTENTION_TILE_H
#define CABINET_KERNEL_ATTENTION_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "codec/codec.h"

/* Keys that one pass of the softmax sees together. Tiles begin at absolute multiples of this position. */
enum {
    ATTENTION_TILE = 128,
    ATTENTION_TILE_BLOCKS = ATTENTION_TILE / BLOCK_TOKENS,
    ATTENTION_MAX_ROWS = 48,
    /* rows of codes that there is room for: sets may read whole groups of them, and do nothing with the rest
     */
    ATTENTION_CODE_ROWS = ATTENTION_MAX_ROWS + 8
};

/* Query rows as integers, for coded K (codec/coded.h): q = code * scale, codes within +-ATTENTION_Q_MAX. How
 * the set lays codes out is its own affair. */
enum { ATTENTION_Q_MAX = 16319 };
struct attention_codes {
    float *scale;   /* (n_rows) */
    int32_t *bias;  /* (n_rows) what the set's products are too large by */
    uint8_t *codes; /* (n_rows, attention_code_row_bytes) */
};
/* 16 bits a number, whole vectors of any set. */
static inline size_t attention_code_row_bytes(unsigned head_dim) { return (head_dim + 15) / 16 * (size_t)32; }

/* Query rows that see the same keys of one KV head (GQA heads x positions), and their running softmax. */
struct attention_rows {
    unsigned n_rows;   /* 1 .. ATTENTION_MAX_ROWS */
    unsigned head_dim; /* multiple of 2 */
    const float *q;    /* (n_rows, head_dim), already scaled */
    float *max;        /* (n_rows) about the largest score so far, at most 8 below it; -INFINITY at first */
    float *sum;        /* (n_rows) sum of exp(score - max); 0 at first */
    float *out;        /* (n_rows, head_dim) sum of exp(score - max) * v; 0 at first */
    /* attend_prepare fills them. Tiles with float K do not look at them. */
    const struct attention_codes *codes;
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

/* The codes of up to ATTENTION_MAX_ROWS rows in memory of attention_codes_bytes, aligned to a cache line. */
static inline size_t attention_codes_bytes(unsigned head_dim) {
    const size_t line = 64,
                 bytes = ATTENTION_MAX_ROWS * 8 + ATTENTION_CODE_ROWS * attention_code_row_bytes(head_dim);
    return (bytes + line - 1) / line * line;
}
static inline struct attention_codes attention_codes_in(void *memory) {
    float *scale = memory;
    int32_t *bias = (int32_t *)(scale + ATTENTION_MAX_ROWS);
    return (struct attention_codes){scale, bias, (uint8_t *)(bias + ATTENTION_MAX_ROWS)};
}
/* Those of the rows from `row` on. */
static inline struct attention_codes attention_codes_from(const struct attention_codes *codes, unsigned row,
                                                          unsigned head_dim) {
    return (struct attention_codes){codes->scale + row, codes->bias + row,
                                    codes->codes + row * attention_code_row_bytes(head_dim)};
}

#endif
