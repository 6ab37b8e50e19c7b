/* Scalar parts of attention that other sets take over where they have nothing faster. */
#ifndef CABINET_KERNEL_REF_ATTENTION_CODED_SCALAR_H
#define CABINET_KERNEL_REF_ATTENTION_CODED_SCALAR_H

#include "kernel/attention_tile.h"

/* What attend_tile_scalar does with coded K and V. Scores are (n_rows, ATTENTION_TILE), those of keys
 * begin .. end matter; weigh_coded reads them as probabilities. */
typedef float score_rows[ATTENTION_MAX_ROWS][ATTENTION_TILE];
void score_coded_scalar(const struct attention_rows *rows, const struct attention_tile *tile, unsigned begin,
                        unsigned end, score_rows scores);
void weigh_coded_scalar(struct attention_rows *rows, const struct attention_tile *tile, unsigned begin,
                        unsigned end, score_rows scores);

/* Of kernel_set_scalar. The codes are 16-bit integers, (n_rows, attention_code_row_bytes). */
void attend_prepare_scalar(struct attention_rows *rows);
void attend_merge_scalar(struct attention_rows *rows, const struct attention_rows *part);

#endif
