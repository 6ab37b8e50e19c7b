/* The name of a prefix of tokens, in the cache and wherever its blocks may live: a 128-bit hash of what
 * decides their bytes. Equal keys are a hint; who takes a block for another's compares the tokens. */
#ifndef CABINET_BASE_BLOCK_KEY_H
#define CABINET_BASE_BLOCK_KEY_H

#include <stdbool.h>
#include <stdint.h>

struct block_key {
    uint64_t low, high;
};

static inline bool block_key_equal(struct block_key a, struct block_key b) {
    return a.low == b.low && a.high == b.high;
}

#endif
