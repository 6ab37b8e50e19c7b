/* Corrects a calibration by measured steps of one model: a factor for each part of a step, for attention and
 * storing one for each KV format.
 *
 * Least squares of the relative error, over factors of 0 or more, each drawn to 1 with a weight that matters
 * only where the points say nothing of it. */
#ifndef CABINET_PLAN_SELF_FIT_H
#define CABINET_PLAN_SELF_FIT_H

#include <stddef.h>

#include "plan/self.h"

enum { SELF_FIT_FORMATS = 8 };

/* A step, or the steps of a prompt together. */
struct self_point {
    struct self_seconds predicted; /* as calibrated */
    unsigned format;               /* below SELF_FIT_FORMATS */
    double seconds;                /* measured */
};

/* factors: (SELF_FIT_FORMATS) */
void self_fit(const struct self_point *points, size_t n, struct self_factors *factors);

struct self_errors {
    size_t n;
    double median, p90; /* of |predicted - measured| / measured */
};
/* Sorts `errors`. */
struct self_errors self_errors_of(double *errors, size_t n);

#endif
