/* Counter-based random numbers: a pure function of (seed, counter), with no state to carry.
 *
 * The number drawn for a position of a text is the same whatever ran beside it, so one seed gives one text at
 * any batch size, chunking and thread count. The mixing is splitmix64's (Steele, Lea, Flood, OOPSLA 2014). */
#ifndef CABINET_BASE_RNG_H
#define CABINET_BASE_RNG_H

#include <stdint.h>

static inline uint64_t rng_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t rng_u64(uint64_t seed, uint64_t counter) {
    return rng_mix(rng_mix(seed) ^ rng_mix(~counter));
}

/* Uniform in [0, 1), 53 bits. */
static inline double rng_uniform(uint64_t seed, uint64_t counter) {
    return (double)(rng_u64(seed, counter) >> 11) * 0x1p-53;
}

#endif
