/* The names most like one that nobody knows: for messages. */
#ifndef CABINET_PLAN_NEAREST_H
#define CABINET_PLAN_NEAREST_H

#include <stddef.h>

enum { NEAREST_COUNT = 3 };

/* Zero-initialise. Names must outlive it. */
struct nearest {
    size_t n;
    const char *names[NEAREST_COUNT];
    double distances[NEAREST_COUNT];
};

void nearest_offer(struct nearest *nearest, const char *name, const char *candidate);
/* NOT_FOUND: "no model is called X; near: A, B, C (cabinet plan --list models)". */
int nearest_error(const struct nearest *nearest, const char *thing, const char *name, const char *list);

#endif
