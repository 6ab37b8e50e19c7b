#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t monotonic_ns(void *state) {
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct clock clock_monotonic(void) { return (struct clock){.now_ns = monotonic_ns, .state = NULL}; }
