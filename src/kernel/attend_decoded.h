/* Attention over any codecs, by decoding each row to f32: the reference for integer codecs, and what runs for
 * pairs of codecs that no kernel was written for. */
#ifndef CABINET_KERNEL_ATTEND_DECODED_H
#define CABINET_KERNEL_ATTEND_DECODED_H

#include "kernel/kernel_set.h"

/* As kernel_set.attend_tile. */
void attend_decoded(enum codec_id k, enum codec_id v, struct attention_rows *rows,
                    const struct attention_tile *tile);
/* The same by way of f32 areas and the set's kernel for them: for controls (codec.h), to measure in minutes.
 */
void attend_control(const struct kernel_set *kernels, enum codec_id k, enum codec_id v,
                    struct attention_rows *rows, const struct attention_tile *tile);
/* Adds a tile with whatever the set has for these codecs. */
static inline void attend_tile(const struct kernel_set *kernels, enum codec_id k, enum codec_id v,
                               struct attention_rows *rows, const struct attention_tile *tile) {
    if (k >= CODEC_COUNT || v >= CODEC_COUNT)
        attend_control(kernels, k, v, rows, tile);
    else if (k == v && kernels->attend_tile[k] != NULL)
        kernels->attend_tile[k](rows, tile);
    else if (kernels->attend_tile[k] == NULL && kernels->attend_tile[v] == NULL)
        kernels->attend_codes(k, v, rows, tile);
    else
        attend_decoded(k, v, rows, tile);
}

/* Fills rows->codes from rows->q. Every set's result. */
void attention_prepare(struct attention_rows *rows);

/* q8's rows: no set has its own. */
void store_k_q8(void *k_area, unsigned slot, const float *row, unsigned head_dim);
void store_v_q8(void *v_area, unsigned slot, const float *row, unsigned head_dim);

#endif
