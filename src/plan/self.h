/* What a step of Cabinet itself takes on a calibrated machine: the parts of model/cost.h, each at the speed
 * that the kernels reached in the calibration. docs/planner.md derives them. */
#ifndef CABINET_PLAN_SELF_H
#define CABINET_PLAN_SELF_H

#include "model/cost.h"
#include "plan/calibration.h"

/* A step's seconds. `few` and `many`: of steps with few rows (decoding) and with many (prompts), between
 * which a step's rows divide it; verification corrects the two apart. */
#define SELF_PART_LIST(X)                                                                                    \
    X(step, "scheduling and sampling")                                                                       \
    X(layers, "forks and calls of the layers")                                                               \
    X(weights_few, "products with the weights, few rows")                                                    \
    X(weights_many, "products with the weights, many rows")                                                  \
    X(vectors_few, "norms, activations, sums on one thread, few rows")                                       \
    X(vectors_many, "the same on all threads, many rows")                                                    \
    X(attention_few, "attention, few rows")                                                                  \
    X(attention_many, "attention, many rows")                                                                \
    X(store, "K and V into the cache")

enum self_part {
#define X(name, meaning) SELF_##name,
    SELF_PART_LIST(X)
#undef X
        SELF_PARTS
};
const char *self_part_name(enum self_part part); /* "weights_few" */

struct self_seconds {
    double part[SELF_PARTS];
};
/* What each part is multiplied by: 1 as calibrated, others from a verification. */
struct self_factors {
    double part[SELF_PARTS];
};

struct self_machine {
    const struct calibration *calibration;
    const struct model *model;
    const struct kv_layout *layout;
};

struct self_factors self_factors_none(void);
/* INVALID if the calibration lacks a weight type or codec of the model. */
int self_check(const struct self_machine *machine);
/* One step, as calibrated. */
struct self_seconds self_step(const struct self_machine *machine, const struct cost_batch *batch);
/* A prompt's n_tokens from first_position on, in chunks: the sum of its steps, the last of which samples. */
struct self_seconds self_prefill(const struct self_machine *machine, uint64_t first_position,
                                 uint64_t n_tokens, uint64_t chunk_tokens);
double self_total(const struct self_seconds *seconds, const struct self_factors *factors);

#endif
