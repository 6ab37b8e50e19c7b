/* What a step reads and computes: the formula beside the forward pass that it describes (transformer.c).
 * tests/equiv/test_cost.c counts the same in the forward pass itself. */
#ifndef CABINET_MODEL_COST_H
#define CABINET_MODEL_COST_H

#include <stdint.h>

#include "codec/kv_seen.h"
#include "model/model.h"

/* A batch in numbers: each of n_sequences computes n_new tokens from first_position on. */
struct cost_batch {
    uint64_t n_sequences, n_new, first_position;
    uint64_t n_wanted; /* rows with logits */
    uint64_t n_shared; /* tokens in whole blocks at the front that all sequences have in common; at most
                          first_position */
};

struct cost {
    uint64_t weight_bytes;   /* repacked weights, once for every block of rows that goes through them
                                (matmul_n_passes); the output matrix only if logits are wanted */
    uint64_t kv_read_bytes;  /* slots that a sequence sees, each read once a step in every form that rows read
                                it in; whole tiles of shared tokens once for all sequences
                                (kernel/attention_peers.h) */
    uint64_t kv_write_bytes; /* rows as they come, and full blocks again in the form that they go over into */
    /* Multiply and add count two. */
    uint64_t quantised_ops; /* products with quantised weights */
    uint64_t bf16_ops;      /* products with BF16 weights */
    uint64_t f32_ops;       /* products with F32 and F16 weights, and attention over f32, f16 and bf16 rows */
    uint64_t coded_ops;     /* attention over coded rows (q8, q4, q3): integers of 15 bits with those of 8 */
    uint64_t vector_numbers; /* that go through norms, activations, sums, rotations and soft-caps */
    uint64_t rows;           /* of which logits or K and V come */
};

/* A decode step of n_sequences, each over context_tokens already there. */
struct cost_batch cost_batch_decode(uint64_t n_sequences, uint64_t context_tokens);
/* A prefill of n_tokens of one sequence from first_position on, in one step. */
struct cost_batch cost_batch_prefill(uint64_t n_tokens, uint64_t first_position);

/* Needs an opened model with weights, or their shapes. */
struct cost model_cost(const struct model *model, const struct kv_layout *layout,
                       const struct cost_batch *batch);

/* Slots that all sequences' rows see together in a layer of the group: in whole tiles. */
struct kv_seen cost_common_slots(const struct cost_batch *batch, const struct kv_group *group);

#endif
