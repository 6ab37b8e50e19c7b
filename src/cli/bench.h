/* What the kinds of `cabinet bench` share. */
#ifndef CABINET_CLI_BENCH_H
#define CABINET_CLI_BENCH_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/session.h"
#include "model/step_profile.h"

enum { BENCH_MAX_LIST = 32, BENCH_MAX_REPS = 100 };

struct bench_opts {
    struct session_opts session;
    uint32_t n_prefill, n_decode, n_reps;
    uint32_t depths[BENCH_MAX_LIST], batches[BENCH_MAX_LIST];
    size_t n_depths, n_batches;
    uint32_t n_shared, n_users; /* --shared-prompt, --users; n_shared 0: not asked for */
    bool has_copies;            /* --shared-prompt: users with copies of the prompt are measured too */
    bool is_json, is_profiled;
};

struct spread {
    double min, median, max;
};
/* Of n values, at most BENCH_MAX_LIST * BENCH_MAX_REPS. */
struct spread spread_of(const double *values, size_t n);

/* The shares of a profile's parts, as text (one line, below the heading) and as an object for JSON. */
void bench_profile_heading(void);
void bench_profile_print(const char *test, uint32_t depth, uint32_t batch,
                         const struct step_profile *profile);
json_t *bench_profile_json(const struct step_profile *profile);

/* Measures users of one prompt and prints it. */
int bench_shared(const struct bench_opts *opts);

#endif
