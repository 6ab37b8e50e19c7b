/* The eviction policies: adding one is a file evict_<name>.c and a line here. */
#ifndef CABINET_KV_EVICT_LIST_H
#define CABINET_KV_EVICT_LIST_H

#include "kv/evict_policy.h"

/* name, what goes first */
#define EVICT_LIST(X)                                                                                        \
    X(lru, "least recently used")                                                                            \
    X(lfu, "least often hit")                                                                                \
    X(cost, "least time to recompute saved by a byte")

#define X(name, meaning) extern const struct evict_policy evict_##name;
EVICT_LIST(X)
#undef X

/* The policy of that name, or NULL. */
const struct evict_policy *evict_find(const char *name);
/* "lru, lfu, cost": for messages. Lives for ever. */
const char *evict_names(void);

#endif
