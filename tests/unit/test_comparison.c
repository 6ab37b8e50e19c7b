/* Figures of token comparisons, against numbers worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/comparison.h"

static void assert_near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-12)) fail_msg("%.17g instead of %.17g", value, expected);
}

/* Two windows of four tokens; the first of each lies outside of what is asked for, the last as well. */
static const struct token_comparison tokens[] = {
    {99, -50, true}, {4, 1, true},  {1, 3, false}, {77, 50, true},
    {99, -50, true}, {16, 2, true}, {2, 6, true},  {77, 50, true},
};

static void figures_of_a_band(void **state) {
    (void)state;
    struct comparison_figures figures;
    assert_int_equal(comparison_figures(&figures, tokens, 2, 4, 1, 3), 0);
    assert_int_equal(figures.n, 4);
    assert_near(figures.kl_mean, 23.0 / 4);
    assert_near(figures.kl_median, 3); /* of 1 2 4 16 */
    assert_near(figures.kl_p99, 4 + 0.97 * 12);
    assert_near(figures.kl_max, 16);
    assert_near(figures.top1_agreement, 0.75);
    assert_near(figures.delta_ln_ppl, 3);                    /* of 1 2 3 6 */
    assert_near(figures.delta_ln_ppl_stderr, sqrt(3.5 / 3)); /* deviations 4 1 0 9 */
}

static void figures_of_one_token(void **state) {
    (void)state;
    struct comparison_figures figures;
    assert_int_equal(comparison_figures(&figures, tokens, 1, 4, 2, 3), 0);
    assert_int_equal(figures.n, 1);
    assert_near(figures.kl_mean, 1);
    assert_near(figures.kl_median, 1);
    assert_near(figures.kl_p99, 1);
    assert_near(figures.kl_max, 1);
    assert_near(figures.top1_agreement, 0);
    assert_near(figures.delta_ln_ppl, 3);
    assert_near(figures.delta_ln_ppl_stderr, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_a_band),
        cmocka_unit_test(figures_of_one_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
