/* Attention inner loops in plain C: the reference of the other sets (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_REF_ATTENTION_SCALAR_H
#define CABINET_KERNEL_REF_ATTENTION_SCALAR_H

#include "kernel/kernel_set.h"

#define X(codec)                                                                                             \
    void attend_tile_##codec##_scalar(struct attention_rows *rows, const struct attention_tile *tile);       \
    void store_k_##codec##_scalar(void *k_area, unsigned slot, const float *row, unsigned head_dim);         \
    void store_v_##codec##_scalar(void *v_area, unsigned slot, const float *row, unsigned head_dim);
CODEC_FLOAT_LIST(X)
#undef X

void attend_codes_scalar(enum codec_id k, enum codec_id v, struct attention_rows *rows,
                         const struct attention_tile *tile);
void attend_merge_scalar(struct attention_rows *rows, const struct attention_rows *part);

#endif
