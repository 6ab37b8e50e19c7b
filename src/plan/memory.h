/* Bytes: of the cache, of weights, of the rest; what fits. */
#ifndef CABINET_PLAN_MEMORY_H
#define CABINET_PLAN_MEMORY_H

#include "plan/assumption.h"
#include "plan/load.h"

/* Cache of one sequence, whole (over all devices, each row counted once), in bytes. */
double plan_kv_bytes_per_token(const struct plan_model *model, const struct plan_kv_format *format); /* at the
    start: growing and windowed parts both */
double plan_kv_bytes(const struct plan_model *model, const struct plan_kv_format *format, double context);
double plan_state_bytes(const struct plan_model *model);
/* The textbook's 2 x users x context x layers x d_model x bytes: every head has K and V of its own, no
 * window. Source: docs/planner.md, "Memory". */
double plan_kv_bytes_simplified(const struct plan_model *model, const struct plan_kv_format *format,
                                double context, double users);

/* On the fullest device of a layout: heads divide over tp until each has one (then ranks hold copies),
 * latents and index keys are on every rank; cp divides tokens, pp layers. */
double plan_kv_device_bytes(const struct plan_model *model, const struct plan_load *load, double context);
/* What one decode step reads of that: sparse attention reads what it selects. */
double plan_kv_device_read_bytes(const struct plan_model *model, const struct plan_load *load,
                                 double context);
/* Of these, what the load's shared tokens are of a sequence: held, or read, once for all users of a rank. */
double plan_kv_device_shared_bytes(const struct plan_model *model, const struct plan_load *load,
                                   double context);
double plan_kv_device_shared_read_bytes(const struct plan_model *model, const struct plan_load *load,
                                        double context);
double plan_state_device_bytes(const struct plan_model *model, const struct plan_load *load);

/* Weights in bytes, each counted once: all; of routed experts; those other than routed experts that a step
 * reads. Engines leave some in 16 bits: servers the embedding and the output of models in 4 and 8 bits, and
 * with MXFP4 everything but the experts. */
struct plan_weights {
    double bytes, expert_bytes, dense_read_bytes;
    double device_bytes; /* on the fullest device */
};
struct plan_weights plan_weights_of(const struct plan_model *model, const struct plan_load *load);

struct plan_memory {
    struct plan_weights weights;
    double kv_bytes_per_token; /* of one user, at the start */
    double kv_bytes;           /* of all users, shared tokens once a data-parallel rank, each row once */
    double kv_device_bytes, state_bytes, kv_bytes_simplified;
    double activation_bytes, reserved_bytes; /* of a device */
    double device_bytes, capacity_bytes;     /* needed on the fullest device; what one has */
    double max_context_tokens, max_users; /* that fit, the other given; 0: nothing fits, INFINITY: no end */
};
/* Never fails: what does not fit shows as device_bytes > capacity_bytes. */
void plan_memory_of(struct plan_memory *memory, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load,
                    struct plan_assumptions *assumptions);

#endif
