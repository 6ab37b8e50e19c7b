/* What a plan took for granted: every number that nobody gave. A list of texts, each once, in the order made.
 */
#ifndef CABINET_PLAN_ASSUMPTION_H
#define CABINET_PLAN_ASSUMPTION_H

#include <stddef.h>

enum { PLAN_MAX_ASSUMPTIONS = 32, PLAN_ASSUMPTION_LENGTH = 256 };

struct plan_assumptions {
    size_t n;
    char texts[PLAN_MAX_ASSUMPTIONS][PLAN_ASSUMPTION_LENGTH];
};

/* Adds one unless it is there already. More than fit are a bug. `assumptions` may be NULL: nobody asks. */
void plan_assume(struct plan_assumptions *assumptions, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
