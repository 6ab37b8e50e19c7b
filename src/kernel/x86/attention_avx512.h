/* Attention inner loops with AVX-512 F, BW, DQ and VL (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_X86_ATTENTION_AVX512_H
#define CABINET_KERNEL_X86_ATTENTION_AVX512_H

#include "kernel/kernel_set.h"

#define X(codec)                                                                                             \
    void attend_tile_##codec##_avx512(struct attention_rows *rows, const struct attention_tile *tile);       \
    void store_k_##codec##_avx512(void *k_area, unsigned slot, const float *row, unsigned head_dim);         \
    void store_v_##codec##_avx512(void *v_area, unsigned slot, const float *row, unsigned head_dim);
CODEC_FLOAT_LIST(X)
#undef X

void attend_codes_avx512(enum codec_id k, enum codec_id v, struct attention_rows *rows,
                         const struct attention_tile *tile);
void attend_merge_avx512(struct attention_rows *rows, const struct attention_rows *part);

#endif
