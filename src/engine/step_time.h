/* How long a step takes: a running fit of measured steps, from which `--chunk auto` takes its budget.
 *
 *   seconds = fixed + per_decode_row * decode_rows   + per_decode_kv_token * decode_kv_tokens
 *                   + per_prefill_row * prefill_rows + per_prefill_kv_token * prefill_kv_tokens
 *
 * Least squares of the relative error, with coefficients that are never negative. A step forgets earlier ones
 * of its own kind only (with prefill rows or without), so an hour of decoding does not unlearn what a prompt
 * costs. A time far from what is predicted, by the usual distance, counts only as far as that: a machine's
 * hiccup moves little, and a machine that has become slower is believed within a few steps. Deterministic;
 * allocates nothing. */
#ifndef CABINET_ENGINE_STEP_TIME_H
#define CABINET_ENGINE_STEP_TIME_H

#include <stdint.h>

/* What a step computes. kv_tokens: keys that its rows attend to, summed over the rows; a decode row at
 * position p reads p + 1, a chunk of n rows from position p on n * p + n * (n + 1) / 2. */
struct step_shape {
    uint32_t decode_rows, prefill_rows;
    uint64_t decode_kv_tokens, prefill_kv_tokens;
};

enum { STEP_TIME_TERMS = 5, STEP_TIME_KINDS = 2 };

struct step_time {
    double coefficients[STEP_TIME_TERMS]; /* seconds, in the order of the formula */
    /* Normal equations by kind of step: decode only, with prefill rows. */
    double squares[STEP_TIME_KINDS][STEP_TIME_TERMS][STEP_TIME_TERMS];
    double products[STEP_TIME_KINDS][STEP_TIME_TERMS];
    double distance[STEP_TIME_KINDS];  /* usual |measured - predicted| / predicted */
    double drift[STEP_TIME_KINDS];     /* usual (measured - predicted) / predicted */
    uint64_t n_noted[STEP_TIME_KINDS]; /* steps */
};

/* Knows only proportions, which the first step scales to this machine. */
void step_time_open(struct step_time *times);
/* A step of that shape took so long. Times that are no time (not finite, below 1 ns) are ignored. */
void step_time_note(struct step_time *times, const struct step_shape *shape, double seconds);
double step_time_predict(const struct step_time *times, const struct step_shape *shape);
/* The largest chunk in [least, most] whose step, beside the rows of `decode_only`, is predicted to take at
 * most `factor` times what it takes without; `least` if none is. `context`: tokens before the chunk. `most`
 * if nothing decodes, since then nobody waits. */
uint32_t step_time_chunk(const struct step_time *times, const struct step_shape *decode_only,
                         uint32_t context, double factor, uint32_t least, uint32_t most);

/* Seconds that a row of a prompt takes by itself, and for each key that it attends to. */
static inline double step_time_of_row(const struct step_time *times) { return times->coefficients[3]; }
static inline double step_time_of_key(const struct step_time *times) { return times->coefficients[4]; }

#endif
