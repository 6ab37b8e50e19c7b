/* A machine as the planner sees it: one device, its links, and what it costs. 0: not known. */
#ifndef CABINET_PLAN_HARDWARE_H
#define CABINET_PLAN_HARDWARE_H

#include <stdint.h>

#include "base/err.h"

#define PLAN_DEVICE_LIST(X)                                                                                  \
    X(gpu, "a graphics processor with memory of its own")                                                    \
    X(apu, "a processor with graphics that share its memory")                                                \
    X(cpu, "a processor with its memory")                                                                    \
    X(accelerator, "an inference or training chip")                                                          \
    X(tpu, "a tensor processor")                                                                             \
    X(concept, "a machine on paper: its figures are limits, reached in full")

enum plan_device {
#define X(name, meaning) PLAN_DEVICE_##name,
    PLAN_DEVICE_LIST(X)
#undef X
};

enum { PLAN_MAX_TIERS = 4, PLAN_HARDWARE_NAME = 96, PLAN_HARDWARE_SOURCE = 384 };

struct plan_tier {
    char name[64];
    double bytes, bandwidth; /* bytes, bytes per second */
};

struct plan_hardware {
    char id[PLAN_HARDWARE_NAME], name[PLAN_HARDWARE_NAME], vendor[32];
    char memory_type[32];
    char source[PLAN_HARDWARE_SOURCE], notes[PLAN_HARDWARE_SOURCE];
    enum plan_device device;
    uint32_t year;
    double memory_bytes, bandwidth;                    /* bytes; bytes per second, peak */
    double bf16_flops, fp8_flops, int8_ops, fp4_flops; /* peaks, dense */
    double scaleup_bandwidth;                          /* one direction, per device, within the domain */
    uint32_t scaleup_domain;                           /* devices in it; 0: no such link */
    double host_bandwidth, scaleout_bandwidth;         /* one direction, per device */
    double watts, price_usd;
    double usd_per_hour;    /* the lowest offer of a named provider */
    char price_source[128]; /* who offers it, and when */
    uint32_t n_tiers;
    struct plan_tier tiers[PLAN_MAX_TIERS];
    /* Achieved, not peaks; of a calibrated machine these count. */
    double measured_bandwidth, measured_bf16_flops, measured_fp8_flops;
};

const char *plan_device_name(enum plan_device device);

#endif
