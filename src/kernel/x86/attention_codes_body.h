/* What products with codes need beside codes (kernel/attention_coded.h): scales, means, q as codes. For
 * attention_body.h, which includes this. */

/* The scales of an area as f32. */
INLINE void load_scales(enum codec_id codec, const uint8_t *scales, float *out) {
    for (unsigned i = 0; i < BLOCK_TOKENS; i += VEC_WIDTH)
        vec_store(out + i, codec == CODEC_q8 ? vec_load((const float *)scales + i)
                                             : vec_widen_f16((const f16_bits *)scales + i));
}

INLINE void prefetch_bytes(const void *from, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += 64) __builtin_prefetch((const char *)from + i, 0, 2);
}

/* The means of a tile's blocks as codes in lines, like q8's: the i-th column is that of block i. */
enum { MEAN_COLUMNS = 16 };
struct mean_lines {
    _Alignas(64) uint8_t codes[CODEC_MAX_DIM / 4][MEAN_COLUMNS * 4];
    _Alignas(64) float scales[MEAN_COLUMNS];
};
_Static_assert(MEAN_COLUMNS >= VEC_WIDTH && (int)VEC_WIDTH >= (int)ATTENTION_TILE_BLOCKS,
               "a vector of means");

/* What codes other columns have does not matter; their scales are 0, as numbers by chance would often be
 * denormal, which is slow. */
INLINE void gather_means(enum codec_id codec, const struct tile_work *work, const struct attention_tile *tile,
                         unsigned head_dim, struct mean_lines *lines) {
    for (unsigned i = 0; i < MEAN_COLUMNS; i++) lines->scales[i] = 0;
    for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
        const uint8_t *mean = (const uint8_t *)tile->k[block] + coded_k_mean(codec, head_dim);
        for (unsigned i = 0; i < head_dim; i += 4)
            memcpy(lines->codes[i / 4] + (size_t)block * 4, mean + i, 4);
        memcpy(&lines->scales[block], mean + head_dim, sizeof(float));
    }
}

/* Lines that one byte of a codec has numbers of. */
INLINE unsigned lines_together(enum codec_id codec) {
    return codec == CODEC_q8 ? 1 : codec == CODEC_q4 ? 2 : 8;
}

/* Codes of one area from some column on. */
struct code_lines {
    const uint8_t *low, *high;
    size_t line; /* bytes */
};

INLINE struct code_lines lines_at(enum codec_id codec, const void *area, unsigned n_quads, unsigned n_columns,
                                  unsigned column) {
    const size_t line = (size_t)n_columns * 4;
    const uint8_t *low = (const uint8_t *)area + (size_t)column * 4;
    return (struct code_lines){low, codec == CODEC_q3 ? low + n_quads / 4 * line : NULL, line};
}
