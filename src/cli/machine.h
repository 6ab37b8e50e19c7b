/* This machine's limits, measured: what `bench` holds speeds against. */
#ifndef CABINET_CLI_MACHINE_H
#define CABINET_CLI_MACHINE_H

#include <stddef.h>

#include "base/clock.h"
#include "base/team.h"
#include "kernel/kernel_set.h"
#include "model/cost.h"

struct machine_limits {
    double read_bytes_per_second; /* all threads together, over a buffer of the size asked for */
    double int8_ops_per_second, bf16_flops, f32_flops;
    double quantised_ops_per_second; /* the one of them that products with quantised weights are made of */
};

struct machine {
    struct team *team;
    const struct kernel_set *kernels;
    struct clock clock;
    void *buffer;
    size_t buffer_bytes;
};

/* The buffer is swept again and again, as a decode step sweeps weights and cache: give the size of a step's
 * reads. */
int machine_open(struct machine *machine, struct team *team, const struct kernel_set *kernels,
                 struct clock clock, size_t buffer_bytes);
void machine_close(struct machine *machine);
/* Bytes a second, all threads together. */
double machine_measure_read(struct machine *machine);
/* One measurement of each, some tens of milliseconds in all. */
struct machine_limits machine_measure(struct machine *machine);

/* The least time that a step of that cost can take: bytes read over bandwidth, or operations over their
 * peaks. */
double machine_limit_seconds(const struct machine_limits *limits, const struct cost *cost);

#endif
