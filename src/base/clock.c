#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t read_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t monotonic_ns(void *state) {
    (void)state;
    return read_ns(CLOCK_MONOTONIC);
}

static uint64_t wall_ns(void *state) {
    (void)state;
    return read_ns(CLOCK_REALTIME);
}

struct clock clock_monotonic(void) { return (struct clock){.now_ns = monotonic_ns, .state = NULL}; }

struct clock clock_wall(void) { return (struct clock){.now_ns = wall_ns, .state = NULL}; }
