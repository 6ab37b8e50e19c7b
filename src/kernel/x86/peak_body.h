/* The shape of a peak loop, for both vector widths: enough independent chains to hide an instruction's
 * latency, in inline assembly so that no compiler folds it. */
#ifndef CABINET_KERNEL_X86_PEAK_BODY_H
#define CABINET_KERNEL_X86_PEAK_BODY_H

#include "kernel/peak.h"

/* name, vector type, instruction with operands %1 (input) and %0 (accumulator), operations of one instruction
 */
#define PEAK_LOOP_DEFINE(name, vector, instruction, ops)                                                     \
    static uint64_t name(uint64_t n_turns) {                                                                 \
        vector a = {0}, s0 = {0}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0,    \
               s9 = s0;                                                                                      \
        for (uint64_t turn = 0; turn < n_turns; turn++) {                                                    \
            __asm__ volatile(instruction : "+v"(s0) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s1) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s2) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s3) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s4) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s5) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s6) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s7) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s8) : "v"(a));                                               \
            __asm__ volatile(instruction : "+v"(s9) : "v"(a));                                               \
        }                                                                                                    \
        return n_turns * 10 * (ops);                                                                         \
    }

/* vector type, its xor of two, bytes of it */
#define PEAK_READ_DEFINE(vector, bytes_of_vector)                                                            \
    static uint64_t read_bytes(const void *bytes, size_t length) {                                           \
        const vector *source = bytes;                                                                        \
        vector s0 = {0}, s1 = s0, s2 = s0, s3 = s0;                                                          \
        for (size_t i = 0; i < length / (bytes_of_vector); i += 4) {                                         \
            __builtin_prefetch(&source[i + 64]);                                                             \
            s0 ^= source[i];                                                                                 \
            s1 ^= source[i + 1];                                                                             \
            s2 ^= source[i + 2];                                                                             \
            s3 ^= source[i + 3];                                                                             \
        }                                                                                                    \
        s0 ^= s1 ^ s2 ^ s3;                                                                                  \
        __asm__ volatile("" : : "v"(s0));                                                                    \
        return length;                                                                                       \
    }

#endif
