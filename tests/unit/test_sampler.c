/* The sampler against a naive one: sort everything, cut, draw; all in double precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/sampler.h"

enum { N_VOCAB = 500 };

static void random_logits(float *logits, uint64_t seed) {
    for (int i = 0; i < N_VOCAB; i++) logits[i] = (float)(rng_uniform(seed, (uint64_t)i) * 12 - 6);
}

struct ranked {
    double probability;
    int token;
};

static int by_probability(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    if (a->probability != b->probability) return a->probability < b->probability ? 1 : -1;
    return a->token - b->token;
}

/* Probability of each token after all cuts, or 0. */
static void naive_probabilities(const struct sampler_opts *opts, const float *logits, double *probabilities) {
    struct ranked ranked[N_VOCAB];
    double max = -INFINITY, total = 0;
    for (int i = 0; i < N_VOCAB; i++) max = fmax(max, (double)logits[i]);
    for (int i = 0; i < N_VOCAB; i++)
        ranked[i] = (struct ranked){exp(((double)logits[i] - max) / (double)opts->temperature), i};
    qsort(ranked, N_VOCAB, sizeof *ranked, by_probability);
    int n = N_VOCAB;
    while (opts->min_p > 0 && ranked[n - 1].probability < (double)opts->min_p) n--;
    if (opts->top_k > 0 && (int)opts->top_k < n) n = (int)opts->top_k;
    for (int i = 0; i < n; i++) total += ranked[i].probability;
    double reached = 0;
    int kept = 0;
    while (kept < n && (opts->top_p >= 1 || kept == 0 || reached < (double)opts->top_p * total))
        reached += ranked[kept++].probability;
    memset(probabilities, 0, N_VOCAB * sizeof *probabilities);
    for (int i = 0; i < kept; i++) probabilities[ranked[i].token] = ranked[i].probability / reached;
}

/* Chi-square of draws against expected frequencies; tokens expected less than five times are one bucket. */
static void check_frequencies(const struct sampler_opts *opts, uint64_t seed) {
    enum { N_DRAWS = 50000 };
    struct sampler *sampler;
    assert_int_equal(sampler_open(&sampler, N_VOCAB), 0);
    float logits[N_VOCAB], copy[N_VOCAB];
    double probabilities[N_VOCAB];
    unsigned counts[N_VOCAB] = {0};
    random_logits(logits, seed);
    naive_probabilities(opts, logits, probabilities);
    uint64_t n_allocations = mem_count();
    static int32_t no_tokens[N_DRAWS];
    for (uint32_t i = 0; i < N_DRAWS; i++) {
        memcpy(copy, logits, sizeof copy);
        int32_t token = sampler_pick(sampler, opts, copy, no_tokens, i, i);
        assert_true(probabilities[token] > 0);
        counts[token]++;
    }
    assert_int_equal(mem_count(), n_allocations);
    double chi_square = 0, rare = 0, rare_seen = 0;
    int n_buckets = 0;
    for (int i = 0; i < N_VOCAB; i++) {
        double expected = probabilities[i] * N_DRAWS;
        if (expected < 5) {
            rare += expected;
            rare_seen += counts[i];
            continue;
        }
        chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
        n_buckets++;
    }
    if (rare >= 5) chi_square += (rare_seen - rare) * (rare_seen - rare) / rare;
    /* Seeds are fixed, so this is no gamble; six standard deviations of a chi-square of n_buckets. */
    assert_true(chi_square < n_buckets + 6 * sqrt(2.0 * n_buckets + 1));
    sampler_close(sampler);
}

static void draws_follow_the_probabilities(void **state) {
    (void)state;
    struct sampler_opts opts = sampler_defaults();
    check_frequencies(&opts, 1);
    opts.temperature = 2;
    check_frequencies(&opts, 2);
    opts.top_k = 7;
    check_frequencies(&opts, 3);
    opts.top_k = 100;
    opts.top_p = 0.6f;
    check_frequencies(&opts, 4);
    opts.top_k = 0;
    check_frequencies(&opts, 5);
    opts.min_p = 0.05f;
    check_frequencies(&opts, 6);
    opts.top_p = 1;
    check_frequencies(&opts, 7);
}

static int32_t pick(const struct sampler_opts *opts, const float *logits, const int32_t *tokens, uint32_t n,
                    uint32_t n_prompt) {
    struct sampler *sampler;
    float copy[N_VOCAB];
    memcpy(copy, logits, sizeof copy);
    assert_int_equal(sampler_open(&sampler, N_VOCAB), 0);
    int32_t token = sampler_pick(sampler, opts, copy, tokens, n, n_prompt);
    sampler_close(sampler);
    return token;
}

static void greedy_takes_the_lowest_of_equals(void **state) {
    (void)state;
    struct sampler_opts opts = {.top_p = 1, .repeat_penalty = 1};
    float logits[N_VOCAB] = {0};
    logits[17] = logits[300] = 2;
    assert_int_equal(pick(&opts, logits, NULL, 0, 0), 17);
}

static void a_draw_depends_on_seed_and_position_only(void **state) {
    (void)state;
    struct sampler_opts opts = sampler_defaults(), other = opts;
    opts.seed = 5;
    other.seed = 6;
    float logits[N_VOCAB];
    static const int32_t tokens[200];
    random_logits(logits, 9);
    int n_differ = 0;
    for (uint32_t n = 1; n < 200; n++) {
        int32_t token = pick(&opts, logits, tokens, n, n);
        assert_int_equal(token, pick(&opts, logits, tokens, n, n));
        n_differ += token != pick(&other, logits, tokens, n, n);
    }
    assert_true(n_differ > 100);
}

/* Greedy picks show the penalised logits: each formula moves the winner exactly when it should. */
static void penalties_and_biases_move_logits(void **state) {
    (void)state;
    static const int32_t tokens[] = {1, 2, 2, 3, 4, 4, 4}; /* the first three are the prompt */
    struct sampler_opts off = {.top_p = 1, .repeat_penalty = 1}, opts = off;
    float logits[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++) logits[i] = -10;
    logits[4] = 5;
    logits[2] = 4.9f;
    logits[9] = 3;
    assert_int_equal(pick(&off, logits, tokens, 7, 3), 4);
    opts.frequency_penalty = 0.03f; /* 4: 5 - 3 * 0.03 = 4.91 */
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 4);
    opts.frequency_penalty = 0.04f; /* 4: 4.88; 2 is in the prompt only */
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 2);
    opts = off;
    opts.presence_penalty = 0.09f; /* once, however often */
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 4);
    opts.presence_penalty = 0.11f;
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 2);
    opts = off;
    opts.repeat_penalty = 1.6f; /* both, also the prompt's: 3.125, 3.06 */
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 4);
    opts.repeat_penalty = 1.7f; /* 2.94, 2.88, and 9 was never seen */
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 9);
    for (int i = 0; i < N_VOCAB; i++) logits[i] = i == 4 ? -1.0f : i == 9 ? -1.5f : -10.0f;
    opts.repeat_penalty = 2; /* a negative logit is multiplied: -2 */
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 9);
    const struct logit_bias biases[] = {{77, 20}, {-5, 1}, {N_VOCAB, 1}};
    opts = off;
    opts.biases = biases;
    opts.n_biases = 3;
    assert_int_equal(pick(&opts, logits, tokens, 7, 3), 77);
}

static void numbers_that_are_not_finite_do_no_harm(void **state) {
    (void)state;
    struct sampler_opts opts = sampler_defaults();
    opts.top_k = 5;
    opts.top_p = 0.9f;
    float logits[N_VOCAB];
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int kind = 0; kind < 3; kind++)
        for (int step = 1; step < N_VOCAB; step += 83) {
            random_logits(logits, 11);
            for (int i = 0; i < N_VOCAB; i += step) logits[i] = bad[kind];
            int32_t token = pick(&opts, logits, NULL, 0, 0);
            assert_in_range(token, 0, N_VOCAB - 1);
        }
}

static void options_are_checked(void **state) {
    (void)state;
    struct sampler_opts opts = sampler_defaults();
    assert_int_equal(sampler_check(&opts), 0);
    opts.top_p = 1.5f;
    assert_int_equal(sampler_check(&opts), ERR_INVALID);
    assert_non_null(strstr(err_message(), "top-p 1.5 is outside 0 .. 1"));
    opts = sampler_defaults();
    opts.temperature = NAN;
    assert_int_equal(sampler_check(&opts), ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_only),
        cmocka_unit_test(penalties_and_biases_move_logits),
        cmocka_unit_test(numbers_that_are_not_finite_do_no_harm),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
