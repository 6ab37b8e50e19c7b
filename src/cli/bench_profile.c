/* What `cabinet bench --profile` prints. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"

static const char *const names[STEP_PART_COUNT] = {
#define X(part, name, holds) name,
    STEP_PART_LIST(X)
#undef X
};

static double total_ns(const struct step_profile *profile) {
    uint64_t total = 0;
    for (int i = 0; i < STEP_PART_COUNT; i++) total += profile->ns[i];
    return total > 0 ? (double)total : 1;
}

static double step_ms(const struct step_profile *profile) {
    return profile->n_steps == 0 ? 0 : total_ns(profile) / (double)profile->n_steps * 1e-6;
}

void bench_profile_heading(void) {
    printf("\nshares of a step in %%; waiting for other threads is part of the others\n%-8s %7s %6s %8s",
           "test", "depth", "batch", "step ms");
    for (int i = 0; i < STEP_PART_COUNT; i++) printf(" %s", names[i]);
    printf(" waiting\n");
}

void bench_profile_print(const char *test, uint32_t depth, uint32_t batch,
                         const struct step_profile *profile) {
    const double total = total_ns(profile);
    printf("%-8s %7" PRIu32 " %6" PRIu32 " %8.3f", test, depth, batch, step_ms(profile));
    for (int i = 0; i < STEP_PART_COUNT; i++)
        printf(" %*.1f", (int)strlen(names[i]), (double)profile->ns[i] / total * 100);
    printf(" %7.1f\n", (double)profile->waited_ns / total * 100);
}

json_t *bench_profile_json(const struct step_profile *profile) {
    const double total = total_ns(profile);
    json_t *shares = json_object();
    for (int i = 0; i < STEP_PART_COUNT; i++)
        json_object_set_new(shares, names[i], json_real((double)profile->ns[i] / total));
    return json_pack("{s:f, s:o, s:f}", "step_ms", step_ms(profile), "shares", shares, "waiting_share",
                     (double)profile->waited_ns / total);
}
