/* Fault injection: tests let the n-th fallible call of this process fail, once or from then on.
 *
 * Allocation and I/O wrappers ask fault_hit() before they do their work. Nothing is armed outside tests; the
 * cost is then one relaxed load. */
#ifndef CABINET_BASE_FAULT_H
#define CABINET_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_mode { FAULT_OFF, FAULT_ONCE, FAULT_FROM_THEN_ON };

/* The n-th call from now on (n counts from 1) fails. */
void fault_arm(enum fault_mode mode, uint64_t n);
void fault_disarm(void);
/* True if the caller must fail now. */
bool fault_hit(void);
/* True if a fault was delivered since the last fault_arm: a run without one was a clean run. */
bool fault_delivered(void);

#endif
