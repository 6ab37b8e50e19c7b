#include "plan/collective.h"

#include <math.h>

/* A link as an algorithm sees it: seconds before the first byte and for each further rank, and bytes per
 * second. Figures: catalog/collectives.json, measured on A100 to B200 with custom all-reduce in CUDA graphs
 * (2.8 to 5 us with two ranks, 8 to 10 us with eight), on PCIe cards (4, 10, 26 us with 2, 4, 8), on 1 GbE
 * between Raspberry Pis (0.9 to 1.3 ms a synchronisation); LIMINAL's 0.2 us within eight chips and 1.5 us
 * beyond. */
struct link {
    double start, hop, bandwidth;
};

static struct link scaleup_link(const struct plan_hardware *hardware) {
    return (struct link){4e-6, 0.8e-6, 0.7 * hardware->scaleup_bandwidth};
}

static struct link pcie_link(const struct plan_hardware *hardware) {
    return (struct link){4e-6, 3e-6, 0.6 * (hardware->host_bandwidth > 0 ? hardware->host_bandwidth : 2e10)};
}

/* TCP between hosts: a gigabit port of a small board, or a data centre's. */
static struct link ethernet_link(const struct plan_hardware *hardware) {
    const double bandwidth = hardware->scaleout_bandwidth > 0 ? hardware->scaleout_bandwidth : 1.25e9;
    return (struct link){bandwidth < 1.5e8 ? 1.2e-3 : 0.35e-3, 0, bandwidth};
}

static struct link link_of(const struct plan_hardware *hardware, enum plan_engine engine, double ranks) {
    if (hardware->device == PLAN_DEVICE_concept)
        return (struct link){ranks > 8 ? 1.5e-6 : 0.2e-6, 0, INFINITY};
    if (engine == PLAN_ENGINE_distributed || hardware->device == PLAN_DEVICE_cpu)
        return ethernet_link(hardware);
    if (hardware->scaleup_bandwidth > 0) return scaleup_link(hardware);
    return pcie_link(hardware);
}

/* Ranks within reach of the fast link; the rest is beyond a network. */
static double domain_of(const struct plan_hardware *hardware, double ranks) {
    return hardware->scaleup_domain > 0 && hardware->device != PLAN_DEVICE_concept
               ? fmin(ranks, hardware->scaleup_domain)
               : ranks;
}

/* Steps one after another: a ring of up to eight; beyond that switches add and share out, as a tree. */
static double hops(double ranks) { return ranks <= 8 ? ranks - 1 : 7 + 2 * ceil(log2(ranks / 8)); }

/* Between nodes: a tree there and back, 15 us a hop over InfiniBand or RoCE. */
static double between_nodes(const struct plan_hardware *hardware, double nodes, double bytes) {
    const double network = hardware->scaleout_bandwidth > 0 ? hardware->scaleout_bandwidth : 2.5e10;
    return nodes > 1 ? 2 * ceil(log2(nodes)) * 15e-6 + 2 * bytes / (0.7 * network) : 0;
}

double plan_allreduce_seconds(const struct plan_hardware *hardware, enum plan_engine engine, double ranks,
                              double bytes) {
    if (ranks <= 1) return 0;
    const double inside = domain_of(hardware, ranks);
    const struct link link = link_of(hardware, engine, ranks);
    const double within =
        link.start + link.hop * hops(inside) + 2 * (inside - 1) / inside * bytes / link.bandwidth;
    return within + between_nodes(hardware, ceil(ranks / inside), bytes);
}

double plan_alltoall_seconds(const struct plan_hardware *hardware, enum plan_engine engine, double ranks,
                             double bytes) {
    if (ranks <= 1) return 0;
    const double inside = domain_of(hardware, ranks);
    const struct link link = link_of(hardware, engine, ranks);
    const double within =
        link.start + link.hop * hops(inside) + (inside - 1) / inside * bytes / link.bandwidth;
    return within + between_nodes(hardware, ceil(ranks / inside), bytes / 2);
}

double plan_send_seconds(const struct plan_hardware *hardware, enum plan_engine engine, double bytes) {
    const struct link link = link_of(hardware, engine, 2);
    return 10e-6 + link.start + bytes / link.bandwidth; /* 10 us: aiconfigurator's point-to-point figure */
}
