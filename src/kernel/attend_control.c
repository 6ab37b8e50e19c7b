#include "kernel/attend_control.h"

#include <stdbool.h>

#include "base/err.h"

static bool is_seen(const struct attention_rows *rows, const struct attention_tile *tile, unsigned block) {
    for (unsigned r = 0; r < rows->n_rows; r++)
        if (tile->begin[r] < tile->end[r] && tile->begin[r] < (block + 1) * BLOCK_TOKENS &&
            tile->end[r] > block * BLOCK_TOKENS)
            return true;
    return false;
}

void attend_control(const struct kernel_set *kernels, struct attention_rows *rows,
                    const struct attention_tile *tile) {
    enum { AREA = BLOCK_TOKENS * CODEC_MAX_DIM };
    float areas[2][ATTENTION_TILE_BLOCKS * AREA], line[CODEC_MAX_DIM];
    const struct codec *k = codec_get(tile->k_codec), *v = codec_get(tile->v_codec),
                       *f32 = codec_get(CODEC_f32);
    struct attention_tile decoded = *tile;
    ASSERT(rows->head_dim <= CODEC_MAX_DIM);
    decoded.k_codec = decoded.v_codec = CODEC_f32;
    for (unsigned block = 0; block < ATTENTION_TILE_BLOCKS; block++) {
        float *k_area = areas[0] + (size_t)block * AREA, *v_area = areas[1] + (size_t)block * AREA;
        decoded.k[block] = k_area;
        decoded.v[block] = v_area;
        decoded.next_k[block] = NULL;
        for (unsigned slot = 0; slot < BLOCK_TOKENS && is_seen(rows, tile, block); slot++) {
            k->decode_k(tile->k[block], slot, line, rows->head_dim);
            f32->encode_k(k_area, slot, line, rows->head_dim);
            v->decode_v(tile->v[block], slot, line, rows->head_dim);
            f32->encode_v(v_area, slot, line, rows->head_dim);
        }
    }
    kernels->attend_tile(rows, &decoded);
}
