/* Which of the idle items goes first when memory is wanted: a plug point.
 *
 * A policy keeps a set of items, small numbers that mean nothing to it, and names the one to evict. All that
 * it learns of an item is whether it was passed (a window block that the sequences using it have left behind:
 * they go before all others) and `used`, a count that grows with every use: no clock. Adding one: a file
 * evict_<name>.c that defines `const struct evict_policy evict_<name>`. */
#ifndef CABINET_KV_EVICT_POLICY_H
#define CABINET_KV_EVICT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define EVICT_NONE UINT32_MAX

struct evict_policy {
    const char *name;
    /* A state for items 0 .. n_items - 1; nothing is allocated afterwards. NO_MEMORY. */
    int (*create)(void **state, uint32_t n_items);
    void (*destroy)(void *state); /* NULL is allowed */
    void (*insert)(void *state, uint32_t item, bool is_passed, uint64_t used);
    void (*remove)(void *state, uint32_t item);
    /* The item to evict first, which stays in; EVICT_NONE if there is none. */
    uint32_t (*victim)(const void *state);
    bool (*holds)(const void *state, uint32_t item);
    /* Its own structure is sound, and it holds n items. */
    bool (*check)(const void *state, uint32_t n);
};

extern const struct evict_policy evict_lru;

#endif
