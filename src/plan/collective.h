/* Seconds of what devices do together: latency by algorithm and number of ranks, plus bytes over the link.
 * The latency does not shrink with more devices; that is where scaling ends. */
#ifndef CABINET_PLAN_COLLECTIVE_H
#define CABINET_PLAN_COLLECTIVE_H

#include "plan/load.h"

/* Every rank ends with the sum of `bytes` (payload of one rank). 0 for one rank. */
double plan_allreduce_seconds(const struct plan_hardware *hardware, enum plan_engine engine, double ranks,
                              double bytes);
/* Every rank sends `bytes` in all, an equal part to each other rank. */
double plan_alltoall_seconds(const struct plan_hardware *hardware, enum plan_engine engine, double ranks,
                             double bytes);
/* From one pipeline stage to the next. */
double plan_send_seconds(const struct plan_hardware *hardware, enum plan_engine engine, double bytes);

#endif
