/* Where the time of steps goes, as the calling thread sees it: each part ends by reading the clock once, and
 * gets all that passed since the part before ended. So parts add up to the steps. While nobody profiles, a
 * part costs one test of a pointer. */
#ifndef CABINET_MODEL_STEP_PROFILE_H
#define CABINET_MODEL_STEP_PROFILE_H

#include <stddef.h>

#include "base/clock.h"

/* In the order of a step; its name, what it holds */
#define STEP_PART_LIST(X)                                                                                    \
    X(SCHEDULE, "schedule", "what runs, slots for it, copies in the cache")                                  \
    X(EMBED, "embed", "embedding rows, angles of RoPE, who sees the same keys")                              \
    X(NORM, "norms", "adding to the residual stream, norms, activations as the weights want them")           \
    X(QKV, "qkv", "products that give q, k and v")                                                           \
    X(STORE, "rope_store", "biases, head norms, RoPE; K and V into the cache")                               \
    X(ATTENTION, "attention", "over the cache; its result as the weights want it")                           \
    X(OUTPUT, "output", "the product behind attention")                                                      \
    X(FFN, "ffn", "gate and up, the activation, down")                                                       \
    X(LOGITS, "logits", "the last norm, the product with the vocabulary")                                    \
    X(COMMIT, "commit", "states of blocks, bills")                                                           \
    X(SAMPLE, "sampling", "the next tokens, and what is told to whoever asked for them")

enum step_part {
#define X(part, name, holds) STEP_PART_##part,
    STEP_PART_LIST(X)
#undef X
        STEP_PART_COUNT
};

struct step_profile {
    struct clock clock;
    uint64_t ns[STEP_PART_COUNT];
    uint64_t waited_ns; /* of all that: until other threads had finished their share */
    uint64_t n_steps;
    uint64_t last_ns; /* when the latest part ended */
};

/* A step begins, or time passed that is no part of one. `profile` may be NULL, here and below. */
static inline void step_profile_begin(struct step_profile *profile) {
    if (profile == NULL) return;
    profile->last_ns = clock_now_ns(&profile->clock);
    profile->n_steps++;
}

static inline void step_profile_end_part(struct step_profile *profile, enum step_part part) {
    if (profile == NULL) return;
    uint64_t now_ns = clock_now_ns(&profile->clock);
    profile->ns[part] += now_ns - profile->last_ns;
    profile->last_ns = now_ns;
}

#endif
