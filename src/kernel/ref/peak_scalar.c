#include "kernel/peak.h"

enum { CHAINS = 8 };
#if defined(__x86_64__)
#define IN_FLOAT_REGISTER(number) "+x"(number)
#else
#define IN_FLOAT_REGISTER(number) "+w"(number) /* aarch64 */
#endif

static uint64_t f32_ops(uint64_t n_turns) {
    float sums[CHAINS] = {0};
    for (uint64_t turn = 0; turn < n_turns; turn++)
        for (int i = 0; i < CHAINS; i++) {
            sums[i] = sums[i] * 0.5f + 1.0f;
            __asm__ volatile(
                ""
                : IN_FLOAT_REGISTER(sums[i])); /* keeps the compiler from vectorising or folding it */
        }
    return n_turns * CHAINS * 2;
}

static uint64_t int8_ops(uint64_t n_turns) {
    int32_t sums[CHAINS] = {0};
    for (uint64_t turn = 0; turn < n_turns; turn++)
        for (int i = 0; i < CHAINS; i++) {
            sums[i] += sums[i] * 3;
            __asm__ volatile("" : "+r"(sums[i]));
        }
    return n_turns * CHAINS * 2;
}

static uint64_t read_bytes(const void *bytes, size_t length) {
    const uint64_t *words = bytes;
    uint64_t sums[CHAINS] = {0};
    for (size_t i = 0; i < length / sizeof *words; i += CHAINS)
        for (int chain = 0; chain < CHAINS; chain++) sums[chain] ^= words[i + chain];
    for (int chain = 0; chain < CHAINS; chain++) __asm__ volatile("" : : "r"(sums[chain]));
    return length;
}

const struct peak_loops peak_loops_scalar = {
    .int8_ops = int8_ops, .bf16_ops = f32_ops, .f32_ops = f32_ops, .read = read_bytes};
