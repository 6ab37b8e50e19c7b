/* Attention inner loops in plain C: the reference of the other sets (contracts in kernel/kernel_set.h). */
#ifndef CABINET_KERNEL_REF_ATTENTION_SCALAR_H
#define CABINET_KERNEL_REF_ATTENTION_SCALAR_H

#define KERNEL_SET scalar
#include "kernel/kernel_set_define.h"

KERNEL_SET_DECLARE_ATTENTION;

/* What attend_tile_scalar does with coded K and V. Scores are (n_rows, ATTENTION_TILE), those of keys
 * begin .. end matter; weigh_coded reads them as probabilities. */
typedef float score_rows[ATTENTION_MAX_ROWS][ATTENTION_TILE];
void score_coded_scalar(const struct attention_rows *rows, const struct attention_tile *tile, unsigned begin,
                        unsigned end, score_rows scores);
void weigh_coded_scalar(struct attention_rows *rows, const struct attention_tile *tile, unsigned begin,
                        unsigned end, score_rows scores);

#endif
