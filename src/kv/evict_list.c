#include "kv/evict_list.h"

#include <string.h>

static const struct evict_policy *const policies[] = {
#define X(name, meaning) &evict_##name,
    EVICT_LIST(X)
#undef X
};

const struct evict_policy *evict_find(const char *name) {
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (strcmp(policies[i]->name, name) == 0) return policies[i];
    return NULL;
}

const char *evict_names(void) {
#define X(name, meaning) ", " #name
    static const char names[] = EVICT_LIST(X);
#undef X
    return names + 2;
}
