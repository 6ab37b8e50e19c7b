/* What this processor could do at most: loops of one kind of arithmetic out of registers, and a sweep of
 * reads.
 *
 * Each loop runs on the calling thread and returns how many operations it did (a multiply and an add count
 * two), or how many bytes it read. `bench` runs them on every thread of the team and divides by the time. */
#ifndef CABINET_KERNEL_PEAK_H
#define CABINET_KERNEL_PEAK_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel_set.h"

struct peak_loops {
    uint64_t (*int8_ops)(uint64_t n_turns);
    uint64_t (*bf16_ops)(uint64_t n_turns); /* where there is no such instruction: as f32 */
    uint64_t (*f32_ops)(uint64_t n_turns);
    uint64_t (*read)(const void *bytes, size_t length); /* length is a multiple of 1024 */
};

/* The loops for a set's instructions. */
const struct peak_loops *peak_loops_of(const struct kernel_set *kernels);

extern const struct peak_loops peak_loops_scalar;
#if defined(__x86_64__)
extern const struct peak_loops peak_loops_avx2, peak_loops_avx512, peak_loops_amx;
#elif defined(__aarch64__)
extern const struct peak_loops peak_loops_neon;
#endif

#endif
