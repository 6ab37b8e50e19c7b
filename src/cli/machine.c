#include "cli/machine.h"

#include <stdatomic.h>

#include "base/err.h"
#include "base/mem.h"
#include "kernel/peak.h"

enum { READ_UNIT = 1024, MEASURE_NS = 8 * 1000 * 1000 };

struct measurement {
    struct machine *machine;
    uint64_t (*ops)(uint64_t n_turns); /* NULL: read the buffer */
    const struct peak_loops *loops;
    uint64_t n_turns;
    _Atomic uint64_t done;
};

static void measure_on_thread(void *argument, unsigned rank, unsigned n_ranks) {
    struct measurement *measurement = argument;
    if (measurement->ops != NULL) {
        atomic_fetch_add(&measurement->done, measurement->ops(measurement->n_turns));
        return;
    }
    size_t share = measurement->machine->buffer_bytes / n_ranks / READ_UNIT * READ_UNIT;
    const char *begin = (const char *)measurement->machine->buffer + rank * share;
    for (uint64_t turn = 0; turn < measurement->n_turns; turn++)
        atomic_fetch_add(&measurement->done, measurement->loops->read(begin, share));
}

/* Repeats with more turns until a measurement is long enough to be believed; that last one counts. */
static double per_second(struct machine *machine, uint64_t (*ops)(uint64_t), uint64_t n_turns) {
    for (;;) {
        struct measurement measurement = {
            .machine = machine, .ops = ops, .loops = peak_loops_of(machine->kernels), .n_turns = n_turns};
        uint64_t start = clock_now_ns(&machine->clock);
        team_run(machine->team, measure_on_thread, &measurement);
        uint64_t elapsed = clock_now_ns(&machine->clock) - start;
        if (elapsed >= MEASURE_NS) return (double)measurement.done / ((double)elapsed * 1e-9);
        n_turns *= 2;
    }
}

static void touch_share(void *argument, unsigned rank, unsigned n_ranks) {
    struct machine *machine = argument;
    size_t share = machine->buffer_bytes / n_ranks;
    char *begin = (char *)machine->buffer + rank * share;
    for (size_t i = 0; i < share; i += 64) begin[i] = 1;
}

int machine_open(struct machine *machine, struct team *team, const struct kernel_set *kernels,
                 struct clock clock, size_t buffer_bytes) {
    *machine =
        (struct machine){.team = team, .kernels = kernels, .clock = clock, .buffer_bytes = buffer_bytes};
    machine->buffer = mem_map(buffer_bytes);
    if (machine->buffer == NULL) return ERR_NO_MEMORY;
    team_run(team, touch_share, machine);
    return 0;
}

void machine_close(struct machine *machine) { mem_unmap(machine->buffer, machine->buffer_bytes); }

double machine_measure_read(struct machine *machine) { return per_second(machine, NULL, 1); }

struct machine_limits machine_measure(struct machine *machine) {
    enum { TURNS = 1 << 16 };
    const struct peak_loops *loops = peak_loops_of(machine->kernels);
    struct machine_limits limits = {
        .read_bytes_per_second = per_second(machine, NULL, 1),
        .int8_ops_per_second = per_second(machine, loops->int8_ops, TURNS),
        .bf16_flops = per_second(machine, loops->bf16_ops, TURNS),
        .f32_flops = per_second(machine, loops->f32_ops, TURNS),
    };
    limits.quantised_ops_per_second =
        machine->kernels->quantised_form == FORM_INT8 ? limits.int8_ops_per_second : limits.bf16_flops;
    return limits;
}

double machine_limit_seconds(const struct machine_limits *limits, const struct cost *cost) {
    double reading = (double)(cost->weight_bytes + cost->kv_read_bytes) / limits->read_bytes_per_second;
    double computing = (double)cost->quantised_ops / limits->quantised_ops_per_second +
                       (double)cost->bf16_ops / limits->bf16_flops +
                       (double)(cost->f32_ops + cost->coded_ops) / limits->f32_flops;
    return reading > computing ? reading : computing;
}
