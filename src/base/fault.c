#include "base/fault.h"

#include <stdatomic.h>

static _Atomic int armed = FAULT_OFF;
static _Atomic int64_t calls_left;
static _Atomic bool delivered;

void fault_arm(enum fault_mode mode, uint64_t n) {
    atomic_store(&calls_left, (int64_t)n);
    atomic_store(&delivered, false);
    atomic_store(&armed, (int)mode);
}

void fault_disarm(void) { atomic_store(&armed, FAULT_OFF); }

bool fault_hit(void) {
    int mode = atomic_load_explicit(&armed, memory_order_relaxed);
    if (mode == FAULT_OFF) return false;
    int64_t left = atomic_fetch_sub(&calls_left, 1) - 1;
    bool hit = left == 0 || (left < 0 && mode == FAULT_FROM_THEN_ON);
    if (hit) atomic_store(&delivered, true);
    return hit;
}

bool fault_delivered(void) { return atomic_load(&delivered); }
