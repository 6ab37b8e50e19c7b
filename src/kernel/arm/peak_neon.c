#include <arm_neon.h>

#include "kernel/peak.h"

/* Enough independent chains to hide an instruction's latency, in inline assembly so that no compiler folds
 * it. */
enum { CHAINS = 16 };

#define PEAK_LOOP_DEFINE(name, vector, instruction, ops)                                                     \
    static uint64_t name(uint64_t n_turns) {                                                                 \
        vector sums[CHAINS] = {0}, a = {0};                                                                  \
        for (uint64_t turn = 0; turn < n_turns; turn++) {                                                    \
            _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS;                                             \
                                          i++) __asm__ volatile(instruction : "+w"(sums[i]) : "w"(a));       \
        }                                                                                                    \
        return n_turns * CHAINS * (ops);                                                                     \
    }
PEAK_LOOP_DEFINE(int8_ops, int32x4_t, "sdot %0.4s, %1.16b, %1.16b", 32)
PEAK_LOOP_DEFINE(f32_ops, float32x4_t, "fmla %0.4s, %1.4s, %1.4s", 8)

static uint64_t read_bytes(const void *bytes, size_t length) {
    const uint8_t *source = bytes;
    uint8x16_t sums[4] = {{0}};
    for (size_t i = 0; i < length; i += 64) {
        __builtin_prefetch(source + i + 1024);
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) sums[j] = veorq_u8(sums[j], vld1q_u8(source + i + 16 * j));
    }
    uint8x16_t sum = veorq_u8(veorq_u8(sums[0], sums[1]), veorq_u8(sums[2], sums[3]));
    __asm__ volatile("" : : "w"(sum));
    return length;
}

const struct peak_loops peak_loops_neon = {
    .int8_ops = int8_ops, .bf16_ops = f32_ops, .f32_ops = f32_ops, .read = read_bytes};
