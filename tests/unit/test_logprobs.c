/* Log-probabilities against the textbook's formula in long double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "model/logprobs.h"

enum { N_VOCAB = 500 };

static double expected(const float *logits, uint32_t n, uint32_t token) {
    long double sum = 0, max = logits[token];
    for (uint32_t i = 0; i < n; i++)
        if (logits[i] > max) max = logits[i];
    for (uint32_t i = 0; i < n; i++) sum += expl(logits[i] - max);
    return (double)(logits[token] - max - logl(sum));
}

static void assert_near(float value, double wanted) {
    if (isinf(wanted) ? value != (float)wanted : !(fabs(value - wanted) <= 1e-5 * (1 + fabs(wanted))))
        fail_msg("%g is not %g", value, wanted);
}

/* The most likely ones, by looking for the best that was not taken, n_top times. */
static void assert_top(const float *logits, uint32_t n, const struct token_logprob *top, uint32_t n_top) {
    bool is_taken[N_VOCAB] = {0};
    for (uint32_t k = 0; k < n_top; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < n; i++)
            if (!is_taken[i] && (best == UINT32_MAX || logits[i] > logits[best])) best = i;
        is_taken[best] = true;
        assert_int_equal(top[k].token, best);
        assert_near(top[k].logprob, expected(logits, n, best));
    }
}

static void as_the_textbook_says(void **state) {
    (void)state;
    static const float scales[] = {0, 0.1f, 3, 40, 10000};
    static const uint32_t sizes[] = {1, 2, 20, 21, N_VOCAB};
    float logits[N_VOCAB], before[N_VOCAB];
    struct token_logprob top[LOGPROBS_MAX_TOP];
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (size_t v = 0; v < sizeof sizes / sizeof *sizes; v++)
            for (uint32_t n_top = 0; n_top <= LOGPROBS_MAX_TOP && n_top <= sizes[v]; n_top++) {
                uint32_t n = sizes[v];
                for (uint32_t i = 0; i < n; i++) /* few values, so that many are equal */
                    logits[i] = scales[s] * ((float)(rng_u64(s * 10 + v, i) % 17) - 8);
                memcpy(before, logits, sizeof logits);
                uint32_t token = n_top * 7 % n;
                assert_near(logprobs_of(logits, n, (int32_t)token, n_top, top), expected(logits, n, token));
                assert_top(logits, n, top, n_top);
                assert_memory_equal(logits, before, n * sizeof *logits);
            }
}

static void what_cannot_be(void **state) {
    (void)state;
    struct token_logprob top[3];
    const float banned[] = {1, -INFINITY, 1, -INFINITY};
    assert_near(logprobs_of(banned, 4, 1, 3, top), -INFINITY);
    assert_int_equal(top[0].token, 0);
    assert_int_equal(top[1].token, 2);
    assert_int_equal(top[2].token, 1);
    assert_near(top[1].logprob, log(0.5));
    assert_near(top[2].logprob, -INFINITY);
    const float nothing[] = {-INFINITY, -INFINITY, -INFINITY}, broken[] = {1, NAN, 2};
    assert_near(logprobs_of(nothing, 3, 1, 3, top), -INFINITY);
    assert_near(logprobs_of(broken, 3, 2, 3, top), -INFINITY);
    for (int i = 0; i < 3; i++) assert_near(top[i].logprob, -INFINITY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_textbook_says),
        cmocka_unit_test(what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
