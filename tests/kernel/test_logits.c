/* What sampling does with logits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kernel/kernel_set.h"

#define FOR_EACH_SET(set)                                                                                    \
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)                        \
        if ((*set)->is_supported())

enum { MAX_NUMBERS = 150, GUARD = 16 };

/* Few different numbers, so that the largest is there more than once; some that are not finite. */
static float coarse_number(uint64_t seed, uint64_t i) {
    const uint64_t random = rng_u64(seed, i);
    if (seed % 3 == 0 && random % 4 == 0) return NAN;
    if (seed % 5 == 0 && random % 3 == 0) return -INFINITY;
    return (float)(random >> 32 & 7) - 12;
}

static void largest_is_the_first_of_the_largest(void **state) {
    (void)state;
    FOR_EACH_SET(set)
    for (uint64_t seed = 0; seed < 20; seed++)
        for (size_t n = 1; n <= MAX_NUMBERS; n++) {
            float x[MAX_NUMBERS + GUARD];
            for (size_t i = 0; i < n + GUARD; i++) x[i] = i < n ? coarse_number(seed, i + 1000 * n) : 100;
            if (seed == 19)
                for (size_t i = 0; i < n; i++) x[i] = n % 2 ? NAN : -INFINITY;
            size_t expected = 0;
            while (expected < n && isnan(x[expected])) expected++;
            for (size_t i = expected; i < n; i++)
                if (x[i] > x[expected]) expected = i;
            assert_int_equal((*set)->largest(x, n), expected == n ? 0 : expected);
        }
}

static void softened_numbers_are_near_double_precision(void **state) {
    (void)state;
    static const float temperatures[] = {0.01f, 0.7f, 1, 100};
    FOR_EACH_SET(set)
    for (size_t n = 1; n <= MAX_NUMBERS; n++) {
        const float temperature = temperatures[n % 4], max = n % 3 == 0 ? 0.0f : -3.5f;
        float x[MAX_NUMBERS], out[MAX_NUMBERS + GUARD];
        for (size_t i = 0; i < n; i++) x[i] = max - (float)(100 * rng_uniform(n, i) * (double)temperature);
        x[0] = n % 2 ? max : -INFINITY;
        x[n - 1] = n % 7 == 0 ? NAN : n % 5 == 0 ? -3e38f : x[n - 1];
        for (size_t i = 0; i < n + GUARD; i++) out[i] = 12345;
        const double sum = (*set)->soften(out, x, n, max, temperature);
        double expected = 0;
        for (size_t i = 0; i < n; i++) {
            const float t = (x[i] - max) / temperature;
            const double weight = t >= -87 ? exp((double)t) : 0;
            assert_true(weight == 0 ? out[i] == 0 : fabs((double)out[i] / weight - 1) < 0x1p-22);
            expected += (double)out[i];
        }
        assert_true(fabs(sum - expected) <= 1e-14 * expected);
        for (size_t i = n; i < n + GUARD; i++) assert_true(out[i] == 12345);
        assert_true((*set)->soften(x, x, n, max, temperature) == sum);
        assert_memory_equal(x, out, n * sizeof *x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_is_the_first_of_the_largest),
        cmocka_unit_test(softened_numbers_are_near_double_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
