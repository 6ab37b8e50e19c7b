/* Time is passed in: whoever needs it takes a `struct clock`, so that tests and the simulator bring their
 * own. */
#ifndef CABINET_BASE_CLOCK_H
#define CABINET_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*now_ns)(void *state);
    void *state;
};

static inline uint64_t clock_now_ns(const struct clock *clock) { return clock->now_ns(clock->state); }

/* The machine's monotonic clock, from an arbitrary start: for durations. */
struct clock clock_monotonic(void);
/* The machine's wall clock, since 1970 in UTC; it may jump: for time stamps. */
struct clock clock_wall(void);

#endif
