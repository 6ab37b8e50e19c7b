#include "kernel/kernel_set.h"

#include <string.h>

#include "base/err.h"

static const struct kernel_set *const sets[] = {
#if defined(__x86_64__)
    &kernel_set_amx,    &kernel_set_avx512,
    &kernel_set_avx2,
#elif defined(__aarch64__)
    &kernel_set_neon,
#endif
    &kernel_set_scalar, NULL,
};

const struct kernel_set *const *kernel_set_all(void) { return sets; }

const struct kernel_set *kernel_set_get(const char *name) {
    char names[128] = "";
    for (size_t i = 0; sets[i] != NULL; i++) {
        if (!sets[i]->is_supported()) continue;
        if (name == NULL || strcmp(name, sets[i]->name) == 0) return sets[i];
        if (names[0] != 0) strncat(names, ", ", sizeof names - strlen(names) - 1);
        strncat(names, sets[i]->name, sizeof names - strlen(names) - 1);
    }
    (void)ERR(UNSUPPORTED, "kernel set \"%s\" does not exist or cannot run on this processor; it has: %s",
              name, names);
    return NULL;
}
