/* Which of the idle items goes first when memory is wanted: a plug point.
 *
 * A policy keeps a set of items, small numbers that mean nothing to it, and names the one to evict. All that
 * it learns of an item is its traits; there is no clock. Whatever the policy, items of lower priority go
 * before those of higher, and of one priority the passed ones before the others. Adding one: a file
 * evict_<name>.c that defines `const struct evict_policy evict_<name>`, and a line in evict_list.h. */
#ifndef CABINET_KV_EVICT_POLICY_H
#define CABINET_KV_EVICT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define EVICT_NONE UINT32_MAX

struct evict_traits {
    uint8_t priority; /* 0 unless somebody asked for more */
    bool is_passed;   /* a window block that the sequences using it have left behind */
    uint64_t used;    /* a count that grows with every use of anything */
    uint64_t n_hits;  /* sequences that found it in the cache */
    uint64_t bytes;   /* that evicting it frees */
    uint64_t cost_ns; /* what computing it again would take */
};

/* What goes first: the lower class, of equal ones the lower first key, then the lower second key. */
struct evict_rank {
    uint32_t class;
    uint64_t first, second;
};

struct evict_policy {
    const char *name;
    /* The rank of something idle with these traits, whether it is an item that the policy holds or not. */
    struct evict_rank (*rank)(const void *state, const struct evict_traits *traits);
    /* A state for items 0 .. n_items - 1; nothing is allocated afterwards. NO_MEMORY. */
    int (*create)(void **state, uint32_t n_items);
    void (*destroy)(void *state); /* NULL is allowed */
    void (*insert)(void *state, uint32_t item, const struct evict_traits *traits);
    void (*remove)(void *state, uint32_t item);
    /* The item to evict first, which stays in, but the caller will remove it; EVICT_NONE if there is none. */
    uint32_t (*victim)(void *state);
    bool (*holds)(const void *state, uint32_t item);
    /* Its own structure is sound, and it holds n items. */
    bool (*check)(const void *state, uint32_t n);
};

#endif
