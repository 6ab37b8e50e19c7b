#include "server/metric_table.h"

/* ---- labels ---- */

#define VALUE(label, id, text) text,
#define X(label)                                                                                             \
    static const char *const values_##label[] = {METRIC_LABEL_##label(VALUE)};                               \
    static const struct metric_label label_##label = {#label, METRIC_##label##_COUNT, values_##label};
METRIC_LABEL_LIST(X)
#undef X
#undef VALUE

/* ---- borders ----
 * vLLM's, so that its dashboards find theirs, with finer ones where a small model on a processor needs them:
 * below the first of theirs, and among tokens also between the first ones. */

static const double values_borders_context[] = {1,   2,   5,   10,  20,  50,  100, 200, 500, 1e3, 2e3,
                                                5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7};
static const double values_borders_rows[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
static const double values_borders_first_token[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                                    1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
static const double values_borders_token[] = {.001, .002, .003, .004, .005, .0075, .01, .0125, .015, .02,
                                              .025, .035, .05,  .075, .1,   .15,   .2,  .3,    .4,   .5,
                                              .75,  1,    2.5,  5,    7.5,  10,    20,  40,    80};
static const double values_borders_request[] = {.001, .0025, .005, .01, .025, .05, .1,  .2,   .3,  .5,
                                                .8,   1,     1.5,  2,   2.5,  5,   10,  15,   20,  30,
                                                40,   50,    60,   120, 240,  480, 960, 1920, 7680};
static const double values_borders_step[] = {1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, .001, .0025, .005, .01,
                                             .025, .05,    .1,   .25,  .5,     1,    2.5,  5,     10};
static const double values_borders_residency[] = {.001, .002, .005, .01, .02, .05, .1,  .2,  .5,   1,   2,
                                                  5,    10,   20,   30,  60,  120, 300, 600, 1200, 1800};

static const double values_borders_ratio[] = {.01, .02, .05, .1, .2, .5, 1, 2, 5};

#define N_BORDERS(name) (sizeof values_borders_##name / sizeof values_borders_##name[0])
#define BORDERS(name, ticks, ends_with_context)                                                              \
    _Static_assert(N_BORDERS(name) <= METRIC_MAX_BORDERS, "too many borders");                               \
    static const struct metric_borders borders_##name = {N_BORDERS(name), values_borders_##name, ticks,      \
                                                         ends_with_context};
enum { TOKENS = 1, MILLIONTHS = 1000000, SECONDS = 1000000000 };
BORDERS(context, TOKENS, true)
BORDERS(rows, TOKENS, false)
BORDERS(first_token, SECONDS, false)
BORDERS(token, SECONDS, false)
BORDERS(request, SECONDS, false)
BORDERS(step, SECONDS, false)
BORDERS(residency, SECONDS, false)
BORDERS(ratio, MILLIONTHS, false)
static const struct metric_borders borders_none = {0, NULL, TOKENS, false};

/* ---- metrics ---- */

#define CELLS_COUNTER(borders) 1
#define CELLS_GAUGE(borders) 1
#define CELLS_HISTOGRAM(borders) (N_BORDERS(borders) + 2)

/* A struct of one byte a cell: so the compiler counts where each metric begins. */
struct cells {
#define X(kind, id, name, first, second, borders, help)                                                      \
    char id[CELLS_##kind(borders) * (size_t)METRIC_##first##_COUNT * (size_t)METRIC_##second##_COUNT];
    METRIC_LIST(X)
#undef X
};
const uint32_t metric_n_cells = sizeof(struct cells);

const struct metric_description metric_table[METRIC_COUNT] = {
#define X(kind, id, name, first, second, borders, help)                                                      \
    {METRIC_KIND_##kind,                                                                                     \
     name,                                                                                                   \
     help,                                                                                                   \
     &label_##first,                                                                                         \
     &label_##second,                                                                                        \
     &borders_##borders,                                                                                     \
     offsetof(struct cells, id),                                                                             \
     CELLS_##kind(borders)},
    METRIC_LIST(X)
#undef X
};
