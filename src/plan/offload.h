/* Weights and cache that do not fit: kept in the host's memory and on disk, moved in for every step. */
#ifndef CABINET_PLAN_OFFLOAD_H
#define CABINET_PLAN_OFFLOAD_H

#include "plan/reach.h"

/* Where bytes are when they fill the device first, then the host's memory, then the disk. */
struct plan_spill {
    double device_bytes, host_bytes, disk_bytes;
};
struct plan_spill plan_spill_of(const struct plan_hardware *hardware, double bytes,
                                struct plan_assumptions *assumptions);
/* Seconds of a batch that starts together, everything in FlexGen's order: all prompts, then all steps, each
 * of which reads all weights and the whole cache where they are. */
double plan_offload_batch_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                                  const struct plan_load *load, struct plan_assumptions *assumptions);

#endif
