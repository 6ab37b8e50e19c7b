#include "base/team.h"

#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

/* About 20 microseconds of spinning: longer than the gap between two calls of a step, shorter than a time
 * slice. With more threads than processors spinning only steals the processor from the one that works. */
enum { SPIN_LIMIT = 4000 };

struct worker {
    struct team *team;
    pthread_t thread;
    unsigned rank;
};

/* On a line of its own: each is mostly one thread's. */
struct range {
    _Alignas(MEM_CACHE_LINE) struct team_cursor cursor;
    size_t first;
};

struct team {
    unsigned n_threads, n_started;
    int spin_limit;
    struct worker *workers;
    struct range *ranges;      /* (n_threads) of team_for under way */
    const struct clock *clock; /* NULL: waits are not measured */
    uint64_t *waited_ns;
    /* On lines of their own, so that a call moves as few as can be: the caller writes the first, the workers
     * the second. */
    _Alignas(MEM_CACHE_LINE) _Atomic uint32_t generation; /* counts calls */
    _Atomic bool closing;
    uint32_t n_expected; /* what n_done is at the end of the call; wraps around, as that does */
    team_function function;
    void *argument;
    _Alignas(
        MEM_CACHE_LINE) _Atomic uint32_t n_done; /* workers that came to the end of a call, of all calls */
    _Alignas(MEM_CACHE_LINE) _Atomic uint32_t n_sleeping; /* workers */
    _Atomic bool caller_sleeps;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Returns the generation that follows `seen`. */
static uint32_t wait_for_call(struct team *team, uint32_t seen) {
    for (int spins = 0; spins < team->spin_limit; spins++) {
        uint32_t now = atomic_load_explicit(&team->generation, memory_order_acquire);
        if (now != seen) return now;
        relax();
    }
    atomic_fetch_add(&team->n_sleeping, 1);
    uint32_t now;
    while ((now = atomic_load(&team->generation)) == seen) futex_wait(&team->generation, seen);
    atomic_fetch_sub(&team->n_sleeping, 1);
    return now;
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct team *team = worker->team;
    uint32_t seen = 0;
    for (;;) {
        seen = wait_for_call(team, seen);
        if (atomic_load(&team->closing)) return NULL;
        const uint32_t n_expected = team->n_expected; /* once this thread is done it may be the next call's */
        team->function(team->argument, worker->rank, team->n_threads);
        if (atomic_fetch_add(&team->n_done, 1) + 1 == n_expected && atomic_load(&team->caller_sleeps))
            futex_wake_all(&team->n_done);
    }
}

static void announce(struct team *team) {
    atomic_fetch_add(&team->generation, 1);
    if (atomic_load(&team->n_sleeping) > 0) futex_wake_all(&team->generation);
}

/* Until every worker is done. A worker that lost its processor is waited for asleep. */
static void wait_for_workers(struct team *team) {
    for (int spins = 0; spins < team->spin_limit; spins++) {
        if (atomic_load_explicit(&team->n_done, memory_order_acquire) == team->n_expected) return;
        relax();
    }
    atomic_store(&team->caller_sleeps, true);
    uint32_t n_done;
    while ((n_done = atomic_load(&team->n_done)) != team->n_expected) futex_wait(&team->n_done, n_done);
    atomic_store(&team->caller_sleeps, false);
}

void team_run(struct team *team, team_function function, void *argument) {
    if (team == NULL || team->n_threads == 1) {
        function(argument, 0, 1);
        return;
    }
    team->function = function;
    team->argument = argument;
    team->n_expected += team->n_threads - 1;
    announce(team);
    function(argument, 0, team->n_threads);
    uint64_t done_ns = team->clock == NULL ? 0 : clock_now_ns(team->clock);
    wait_for_workers(team);
    if (team->clock != NULL) *team->waited_ns += clock_now_ns(team->clock) - done_ns;
}

void team_measure_waits(struct team *team, const struct clock *clock, uint64_t *waited_ns) {
    if (team == NULL) return;
    team->clock = waited_ns == NULL ? NULL : clock;
    team->waited_ns = waited_ns;
}

int team_open(struct team **out, unsigned n_threads) {
    ASSERT(n_threads >= 1);
    struct team *team = mem_alloc_aligned(1, sizeof *team);
    if (team == NULL) return ERR_NO_MEMORY;
    team->n_threads = n_threads;
    long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
    team->spin_limit = n_processors > 0 && n_threads > (unsigned)n_processors ? 0 : SPIN_LIMIT;
    team->workers = mem_alloc(n_threads, sizeof *team->workers);
    team->ranges = mem_alloc_aligned(n_threads, sizeof *team->ranges);
    if (team->workers == NULL || team->ranges == NULL) {
        team_close(team);
        return ERR_NO_MEMORY;
    }
    for (unsigned rank = 1; rank < n_threads; rank++) {
        struct worker *worker = &team->workers[rank];
        *worker = (struct worker){.team = team, .rank = rank};
        int failure = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (failure != 0) {
            team_close(team);
            return ERR(NO_MEMORY, "cannot start thread %u of %u: %s", rank + 1, n_threads, strerror(failure));
        }
        team->n_started = rank;
    }
    *out = team;
    return 0;
}

void team_close(struct team *team) {
    if (team == NULL) return;
    atomic_store(&team->closing, true);
    announce(team);
    for (unsigned rank = 1; rank <= team->n_started; rank++) pthread_join(team->workers[rank].thread, NULL);
    mem_free(team->workers);
    mem_free(team->ranges);
    mem_free(team);
}

struct item_job {
    team_item_function function;
    void *argument;
    struct range *ranges;
};

/* A thread begins with the items that it had in the last call of so many too: what it wrote then is in its
 * core's cache. Then it helps the others. */
static void run_items(void *argument, unsigned rank, unsigned n_ranks) {
    struct item_job *job = argument;
    size_t begin, end;
    for (unsigned i = 0; i < n_ranks; i++) {
        struct range *range = &job->ranges[(rank + i) % n_ranks];
        while (team_cursor_take(&range->cursor, &begin, &end))
            for (size_t item = begin; item < end; item++)
                job->function(job->argument, rank, range->first + item);
    }
}

void team_for(struct team *team, size_t n, size_t chunk, team_item_function function, void *argument) {
    if (team == NULL || team->n_threads == 1) {
        for (size_t item = 0; item < n; item++) function(argument, 0, item);
        return;
    }
    const size_t n_chunks = (n + chunk - 1) / chunk;
    size_t first = 0;
    for (unsigned rank = 0; rank < team->n_threads; rank++) {
        size_t end = n_chunks * (rank + 1) / team->n_threads * chunk;
        if (end > n) end = n;
        team->ranges[rank].first = first;
        team_cursor_init(&team->ranges[rank].cursor, end - first, chunk);
        first = end;
    }
    struct item_job job = {.function = function, .argument = argument, .ranges = team->ranges};
    team_run(team, run_items, &job);
}

unsigned team_size(const struct team *team) { return team == NULL ? 1 : team->n_threads; }

unsigned team_default_size(void) {
    hwloc_topology_t topology;
    int n_cores = 0;
    if (hwloc_topology_init(&topology) == 0) {
        if (hwloc_topology_load(topology) == 0) n_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
        hwloc_topology_destroy(topology);
    }
    return n_cores > 0 ? (unsigned)n_cores : 1;
}
