/* Divergence and perplexity against their definitions, written down naively in long double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/divergence.h"

enum { N = 1000 };

static void fill(float *logits, uint64_t stream, double spread, double shift) {
    for (uint32_t i = 0; i < N; i++)
        logits[i] = (float)((rng_uniform(stream, i) + rng_uniform(stream, N + i) - 1) * spread + shift);
}

static void assert_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.17g instead of %.17g", value, expected);
}

/* Probabilities by dividing, not by subtracting logarithms. */
static void naive_probabilities(const float *logits, size_t n, long double *p) {
    long double sum = 0, max = -INFINITY;
    for (size_t i = 0; i < n; i++) max = fmaxl(max, logits[i]);
    for (size_t i = 0; i < n; i++) sum += p[i] = expl(logits[i] - max);
    for (size_t i = 0; i < n; i++) p[i] /= sum;
}

static double naive_kl(const float *reference, const float *other, size_t n) {
    static long double p[N], q[N];
    naive_probabilities(reference, n, p);
    naive_probabilities(other, n, q);
    long double kl = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] > 0) kl += p[i] * logl(p[i] / q[i]);
    return (double)kl;
}

static double kl(const float *reference, const float *other, size_t n) {
    return divergence_kl(reference, divergence_log_sum(reference, n), other, divergence_log_sum(other, n), n);
}

static void log_sums_and_divergences_are_as_defined(void **state) {
    (void)state;
    static float a[N], b[N];
    static long double p[N];
    static const double spreads[] = {0, 1e-3, 1, 10, 60}, shifts[] = {0, 500, -500, 3e4};
    for (int s = 0; s < 5; s++) {
        for (int h = 0; h < 4; h++) {
            fill(a, 1, spreads[s], shifts[h]);
            fill(b, 2, spreads[s], 0);
            naive_probabilities(a, N, p);
            double log_sum = divergence_log_sum(a, N);
            for (int i = 0; i < N; i += 37) assert_near(exp(a[i] - log_sum), (double)p[i], 1e-11);
            double expected = naive_kl(a, b, N);
            assert_near(kl(a, b, N), expected, 1e-10 * (1 + expected));
            assert_near(kl(a, a, N), 0, 1e-12);
        }
    }
    fill(a, 1, 1, 0);
    assert_near(divergence_log_sum(a, 1), a[0], 1e-15);
    assert_near(divergence_log_sum((const float[]){2, 2, 2, 2}, 4), 2 + log(4), 1e-15);
}

/* Two equal rows but for a shift are the same distribution; the direction matters. */
static void divergence_has_a_direction_and_no_unit_of_logits(void **state) {
    (void)state;
    static const float a[] = {0, 1, 3}, shifted[] = {-7, -6, -4}, b[] = {3, 0, 1};
    assert_near(kl(a, shifted, 3), 0, 1e-14);
    assert_near(kl(a, b, 3), naive_kl(a, b, 3), 1e-14);
    assert_true(fabs(kl(a, b, 3) - kl(b, a, 3)) > 0.1);
}

static void impossible_tokens_and_broken_rows(void **state) {
    (void)state;
    static const float without[] = {1, -INFINITY, 2}, all[] = {1, 1, 2};
    assert_near(divergence_log_sum(without, 3), log(exp(1) + exp(2)), 1e-15);
    assert_near(kl(without, all, 3), naive_kl(without, all, 3), 1e-15);
    assert_near(kl(without, without, 3), 0, 1e-15);
    assert_true(kl(all, without, 3) == INFINITY);
    static const float broken[][3] = {{1, NAN, 2},
                                      {NAN, 1, 2},
                                      {1, 2, NAN},
                                      {1, INFINITY, 2},
                                      {INFINITY, -INFINITY, NAN},
                                      {-INFINITY, -INFINITY, -INFINITY}};
    for (int i = 0; i < 6; i++) {
        assert_true(isnan(divergence_log_sum(broken[i], 3)));
        assert_true(isnan(kl(broken[i], all, 3)));
        assert_true(isnan(kl(all, broken[i], 3)));
        assert_true(divergence_top(broken[i], 3) < 3);
    }
}

static void the_first_of_equals_is_the_top(void **state) {
    (void)state;
    assert_int_equal(divergence_top((const float[]){1, 3, 3, -1}, 4), 1);
    assert_int_equal(divergence_top((const float[]){-1, -1}, 2), 0);
    assert_int_equal(divergence_top((const float[]){-5, -INFINITY, -4}, 3), 2);
}

static void perplexity_and_its_error(void **state) {
    (void)state;
    static const double nll[] = {1, 2, 3, 6}; /* mean 3, mean squared deviation 3.5 */
    struct perplexity perplexity = perplexity_of(nll, 4);
    assert_near(perplexity.value, exp(3), 1e-12);
    assert_near(perplexity.standard_error, exp(3) * sqrt(3.5 / 3), 1e-12);
    perplexity = perplexity_of(nll, 1);
    assert_near(perplexity.value, exp(1), 1e-15);
    assert_near(perplexity.standard_error, 0, 0);
    /* large values with a small spread: squares must not cancel */
    static double shifted[N];
    for (int i = 0; i < N; i++) shifted[i] = 500 + (i % 2 ? 1e-6 : -1e-6);
    perplexity = perplexity_of(shifted, N);
    assert_near(perplexity.standard_error / perplexity.value, 1e-6 / sqrt(N - 1), 1e-12);
}

static void quantiles_lie_between_neighbours(void **state) {
    (void)state;
    static const double values[] = {1, 2, 4, 8, 16};
    assert_near(divergence_quantile(values, 5, 0), 1, 0);
    assert_near(divergence_quantile(values, 5, 0.5), 4, 0);
    assert_near(divergence_quantile(values, 4, 0.5), 3, 0);
    assert_near(divergence_quantile(values, 5, 0.99), 8 + 0.96 * 8, 1e-12);
    assert_near(divergence_quantile(values, 5, 1), 16, 0);
    assert_near(divergence_quantile(values, 1, 0.99), 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_sums_and_divergences_are_as_defined),
        cmocka_unit_test(divergence_has_a_direction_and_no_unit_of_logits),
        cmocka_unit_test(impossible_tokens_and_broken_rows),
        cmocka_unit_test(the_first_of_equals_is_the_top),
        cmocka_unit_test(perplexity_and_its_error),
        cmocka_unit_test(quantiles_lie_between_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
