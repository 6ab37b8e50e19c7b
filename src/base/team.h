/* A team of threads that run one function together and meet again at its end (fork and join).
 *
 * The caller is rank 0. Workers spin briefly between calls, then sleep on a futex, so that a step with
 * hundreds of short calls pays nanoseconds for each and an idle program pays nothing. A team belongs to one
 * calling thread. */
#ifndef CABINET_BASE_TEAM_H
#define CABINET_BASE_TEAM_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/clock.h"

struct team;

typedef void (*team_function)(void *argument, unsigned rank, unsigned n_ranks);

/* Starts n_threads - 1 workers (n_threads >= 1). */
int team_open(struct team **team, unsigned n_threads);
void team_close(struct team *team);
/* NULL counts as a team of one. */
unsigned team_size(const struct team *team);
/* Runs function(argument, rank, n_ranks) on every thread and returns when all are done. With one thread, or a
 * NULL team, it is a plain call. */
void team_run(struct team *team, team_function function, void *argument);

/* Hands out the numbers 0 .. n-1 in runs of `chunk` to whoever asks first. */
struct team_cursor {
    _Atomic size_t next;
    size_t n, chunk;
};
static inline void team_cursor_init(struct team_cursor *cursor, size_t n, size_t chunk) {
    atomic_init(&cursor->next, 0);
    cursor->n = n;
    cursor->chunk = chunk;
}
/* The next run [*begin, *end), or 0 when there is none left. */
static inline int team_cursor_take(struct team_cursor *cursor, size_t *begin, size_t *end) {
    size_t start = atomic_fetch_add_explicit(&cursor->next, cursor->chunk, memory_order_relaxed);
    if (start >= cursor->n) return 0;
    *begin = start;
    *end = start + cursor->chunk < cursor->n ? start + cursor->chunk : cursor->n;
    return 1;
}

/* From now on adds to *waited_ns what the caller waits at the end of calls for the others; NULL: no longer.
 * Both stay the caller's. A team of one never waits; `team` may be NULL. */
void team_measure_waits(struct team *team, const struct clock *clock, uint64_t *waited_ns);

typedef void (*team_item_function)(void *argument, unsigned rank, size_t item);
/* Calls function(argument, rank, i) for i = 0 .. n-1, in turns of `chunk` items: to each thread from a part
 * of its own, which depends on n and chunk alone, and when that is done from the others'. */
void team_for(struct team *team, size_t n, size_t chunk, team_item_function function, void *argument);

/* Physical cores that this process may use; at least 1. */
unsigned team_default_size(void);

#endif
