#include "engine/step_time.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"

enum { FIXED, DECODE_ROWS, DECODE_KV, PREFILL_ROWS, PREFILL_KV };
enum { DECODE_ONLY, WITH_PREFILL };

/* Proportions of a step of a small model on a processor, in seconds: the first measured step scales them, and
 * as evidence they weigh START_WEIGHT steps. */
static const double start[STEP_TIME_TERMS] = {4e-3, 5e-4, 1e-7, 5e-4, 1e-7};
static const double START_WEIGHT = 0.05;

/* What a step leaves of the earlier ones of its kind: about 50 count. Where times are off to one side for
 * some steps, by more than MOST_DRIFT on average, the machine is another one: then about 4 count. */
static const double KEEP = 0.98, KEEP_WHEN_DRIFTING = 0.75, MOST_DRIFT = 0.25;
/* A time is believed up to so many usual distances from what is predicted, which are never taken to be below
 * LEAST_DISTANCE; the first steps of a kind are believed as they are. */
static const double BELIEVED_DISTANCES = 3, LEAST_DISTANCE = 0.05;
static const double DISTANCE_RATE = 0.1;
enum { BELIEVED_STEPS = 4, SWEEPS = 30 };
/* No step is so short: below, squares of its inverse would leave the range of a double. */
static const double LEAST_SECONDS = 1e-9;

static void put_terms(const struct step_shape *shape, double *terms) {
    terms[FIXED] = 1;
    terms[DECODE_ROWS] = shape->decode_rows;
    terms[DECODE_KV] = (double)shape->decode_kv_tokens;
    terms[PREFILL_ROWS] = shape->prefill_rows;
    terms[PREFILL_KV] = (double)shape->prefill_kv_tokens;
}

static double predict(const double *coefficients, const double *terms) {
    double seconds = 0;
    for (int i = 0; i < STEP_TIME_TERMS; i++) seconds += coefficients[i] * terms[i];
    return seconds;
}

/* The start's proportions times `scale`, as the only evidence: each coefficient by itself, so that any
 * measured step outweighs it. */
static void begin(struct step_time *times, double scale) {
    *times = (struct step_time){0};
    for (int i = 0; i < STEP_TIME_TERMS; i++) {
        int kind = i < PREFILL_ROWS ? DECODE_ONLY : WITH_PREFILL;
        double coefficient = start[i] * scale;
        times->coefficients[i] = coefficient;
        times->squares[kind][i][i] = START_WEIGHT / (coefficient * coefficient);
        times->products[kind][i] = START_WEIGHT / coefficient;
    }
}

void step_time_open(struct step_time *times) { begin(times, 1); }

double step_time_predict(const struct step_time *times, const struct step_shape *shape) {
    double terms[STEP_TIME_TERMS];
    put_terms(shape, terms);
    return predict(times->coefficients, terms);
}

/* The time as far as it is believed; learns how far times usually are, and to which side. */
static double believe(struct step_time *times, int kind, double predicted, double seconds) {
    double away = (seconds - predicted) / predicted;
    double *distance = &times->distance[kind], *drift = &times->drift[kind];
    double most = BELIEVED_DISTANCES * fmax(*distance, LEAST_DISTANCE);
    bool is_early = times->n_noted[kind]++ < BELIEVED_STEPS;
    /* One step counts at most as a doubling here, or a single stall would open the door for the next ones. */
    *distance += DISTANCE_RATE * (fmin(fabs(away), 1) - *distance);
    *drift += DISTANCE_RATE * (fmin(away, 1) - *drift);
    return is_early || fabs(away) <= most ? seconds : predicted * (1 + copysign(most, away));
}

static void add_evidence(struct step_time *times, int kind, const double *terms, double predicted,
                         double seconds) {
    double keep = fabs(times->drift[kind]) < MOST_DRIFT ? KEEP : KEEP_WHEN_DRIFTING;
    /* Relative errors: both sides of a step's equation are divided by the time that was predicted. */
    for (int i = 0; i < STEP_TIME_TERMS; i++) {
        for (int j = 0; j < STEP_TIME_TERMS; j++)
            times->squares[kind][i][j] =
                keep * times->squares[kind][i][j] + terms[i] / predicted * (terms[j] / predicted);
        times->products[kind][i] =
            keep * times->products[kind][i] + terms[i] / predicted * (seconds / predicted);
    }
}

/* Coordinate descent from the coefficients as they are, each at least 0. Where the steps say nothing of a
 * coefficient apart from others, it stays near where it was. */
static void solve(struct step_time *times) {
    double squares[STEP_TIME_TERMS][STEP_TIME_TERMS], products[STEP_TIME_TERMS];
    for (int i = 0; i < STEP_TIME_TERMS; i++) {
        products[i] = times->products[DECODE_ONLY][i] + times->products[WITH_PREFILL][i];
        for (int j = 0; j < STEP_TIME_TERMS; j++)
            squares[i][j] = times->squares[DECODE_ONLY][i][j] + times->squares[WITH_PREFILL][i][j];
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (int i = 0; i < STEP_TIME_TERMS; i++) {
            if (squares[i][i] < 1e-12) continue; /* forgotten: nothing speaks of it */
            double left = products[i];
            for (int j = 0; j < STEP_TIME_TERMS; j++)
                if (j != i) left -= squares[i][j] * times->coefficients[j];
            times->coefficients[i] = fmax(0, left / squares[i][i]);
        }
}

void step_time_note(struct step_time *times, const struct step_shape *shape, double seconds) {
    if (!isfinite(seconds) || seconds < LEAST_SECONDS) return;
    double terms[STEP_TIME_TERMS];
    put_terms(shape, terms);
    if (times->n_noted[DECODE_ONLY] + times->n_noted[WITH_PREFILL] == 0)
        begin(times, seconds / predict(start, terms));
    int kind = shape->prefill_rows > 0 ? WITH_PREFILL : DECODE_ONLY;
    double predicted = predict(times->coefficients, terms);
    if (predicted < LEAST_SECONDS) predicted = seconds; /* all that the step consists of was thought free */
    seconds = believe(times, kind, predicted, seconds);
    add_evidence(times, kind, terms, predicted, seconds);
    solve(times);
}

uint32_t step_time_chunk(const struct step_time *times, const struct step_shape *decode_only,
                         uint32_t context, double factor, uint32_t least, uint32_t most) {
    ASSERT(least <= most && factor >= 1);
    if (decode_only->decode_rows == 0) return most;
    struct step_shape shape = *decode_only;
    shape.prefill_rows = 0;
    shape.prefill_kv_tokens = 0;
    double limit = factor * step_time_predict(times, &shape);
    /* No coefficient is negative, so a longer chunk never takes less: bisection. */
    uint32_t fits = least, above = most;
    while (fits < above) {
        uint32_t n = fits + (above - fits + 1) / 2;
        shape.prefill_rows = n;
        shape.prefill_kv_tokens = (uint64_t)n * context + (uint64_t)n * (n + 1) / 2;
        if (step_time_predict(times, &shape) <= limit)
            fits = n;
        else
            above = n - 1;
    }
    return fits;
}
