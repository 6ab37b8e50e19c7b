/* A double as its bits, to keep one in an integer: those of numbers that are not negative are in order. */
#ifndef CABINET_BASE_DOUBLE_BITS_H
#define CABINET_BASE_DOUBLE_BITS_H

#include <stdint.h>
#include <string.h>

static inline uint64_t bits_of_double(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline double double_of_bits(uint64_t bits) {
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

#endif
