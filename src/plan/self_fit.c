#include "plan/self_fit.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/err.h"

enum { TERMS = SELF_PARTS * SELF_FIT_FORMATS, SWEEPS = 400 };
/* How much a factor of 2 counts beside a point that is off by all of its time. */
static const double PRIOR_WEIGHT = 0.01;

static bool is_by_format(int part) {
    return part == SELF_attention_few || part == SELF_attention_many || part == SELF_store;
}

static size_t term_of(int part, unsigned format) {
    return (size_t)part * SELF_FIT_FORMATS + (is_by_format(part) ? format : 0);
}

/* Normal equations of the relative errors, and the pull to 1. */
struct equations {
    double squares[TERMS][TERMS], products[TERMS];
};

static void add_point(struct equations *e, const struct self_point *point) {
    for (int i = 0; i < SELF_PARTS; i++) {
        const size_t row = term_of(i, point->format);
        const double share = point->predicted.part[i] / point->seconds;
        e->products[row] += share;
        for (int j = 0; j < SELF_PARTS; j++)
            e->squares[row][term_of(j, point->format)] += share * point->predicted.part[j] / point->seconds;
    }
}

void self_fit(const struct self_point *points, size_t n, struct self_factors *factors) {
    struct equations e = {0};
    double factor[TERMS];
    for (size_t i = 0; i < n; i++) {
        ASSERT(points[i].format < SELF_FIT_FORMATS && points[i].seconds > 0);
        add_point(&e, &points[i]);
    }
    for (size_t t = 0; t < TERMS; t++) {
        factor[t] = 1;
        e.squares[t][t] += PRIOR_WEIGHT;
        e.products[t] += PRIOR_WEIGHT;
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (size_t t = 0; t < TERMS; t++) {
            double left = e.products[t];
            for (size_t other = 0; other < TERMS; other++)
                if (other != t) left -= e.squares[t][other] * factor[other];
            factor[t] = fmax(0, left / e.squares[t][t]);
        }
    for (unsigned f = 0; f < SELF_FIT_FORMATS; f++)
        for (int i = 0; i < SELF_PARTS; i++) factors[f].part[i] = factor[term_of(i, f)];
}

static int by_value(const void *left, const void *right) {
    const double *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

struct self_errors self_errors_of(double *errors, size_t n) {
    if (n == 0) return (struct self_errors){0};
    qsort(errors, n, sizeof *errors, by_value);
    const size_t p90 = (size_t)ceil(0.9 * (double)n) - 1;
    return (struct self_errors){
        .n = n, .median = (errors[(n - 1) / 2] + errors[n / 2]) / 2, .p90 = errors[p90]};
}
