/* The sampler against a naive one: everything in double, everything sorted, no shortcuts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/sampler.h"

enum { MAX_VOCAB = 3000 };

static uint64_t n_drawn;
static double uniform(void) { return rng_uniform(99, n_drawn++); }
static uint32_t below(uint32_t n) { return (uint32_t)(uniform() * n); }

/* ---- the naive sampler ---- */

struct ranked {
    double logit, p;
    int32_t token;
};

static int by_rank(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    if (a->logit != b->logit) return a->logit < b->logit ? 1 : -1;
    return a->token - b->token;
}

/* p[token] (n_vocab): the distribution to draw from. False if a bound is so near that rounding decides. */
static bool naive_distribution(const struct sampler_opts *opts, const float *logits, uint32_t n_vocab,
                               double *p) {
    static struct ranked all[MAX_VOCAB];
    for (uint32_t i = 0; i < n_vocab; i++) all[i] = (struct ranked){(double)logits[i], 0, (int32_t)i};
    qsort(all, n_vocab, sizeof *all, by_rank);
    double sum = 0, reached = 0;
    size_t n = opts->top_k == 0 || opts->top_k > n_vocab ? n_vocab : opts->top_k, n_top_p = n, n_min_p = 0;
    for (size_t i = 0; i < n; i++)
        sum += all[i].p = exp((all[i].logit - all[0].logit) / (double)opts->temperature);
    bool is_clear = true;
    for (size_t i = 0; i < n && n_top_p == n && opts->top_p < 1; i++) {
        reached += all[i].p / sum;
        if (fabs(reached - (double)opts->top_p) < 1e-6) is_clear = false;
        if (reached >= (double)opts->top_p) n_top_p = i + 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (opts->min_p > 0 && fabs(all[i].p / (double)opts->min_p - 1) < 1e-5 && i > 0 && opts->min_p < 1)
            is_clear = false;
        n_min_p += all[i].p >= (double)opts->min_p;
    }
    n = n_top_p < n_min_p ? n_top_p : n_min_p;
    for (uint32_t i = 0; i < n_vocab; i++) p[i] = 0;
    sum = 0;
    for (size_t i = 0; i < n; i++) sum += all[i].p;
    for (size_t i = 0; i < n; i++) p[all[i].token] = all[i].p / sum;
    return is_clear;
}

/* Whether `token` is where the distribution's inverse has `u`, by order of ids. */
static bool is_at(const double *p, uint32_t n_vocab, double u, int32_t token) {
    double begin = 0;
    for (int32_t i = 0; i < token; i++) begin += p[i];
    assert_true(token >= 0 && (uint32_t)token < n_vocab);
    return p[token] > 0 && u > begin - 1e-5 && u < begin + p[token] + 1e-5;
}

/* ---- tests ---- */

static struct sampler *open_sampler(uint32_t n_vocab) {
    struct sampler *sampler;
    assert_int_equal(sampler_open(&sampler, kernel_set_get(NULL), n_vocab), 0);
    return sampler;
}

/* Half of them on a coarse grid, so that there are ties. */
static void random_logits(float *logits, uint32_t n) {
    bool is_coarse = below(2) == 0;
    double width = 0.2 + 8 * uniform();
    for (uint32_t i = 0; i < n; i++) {
        double value = width * (uniform() + uniform() + uniform() - 1.5);
        logits[i] = (float)(is_coarse ? round(value * 4) / 4 : value);
    }
}

static void greedy_takes_the_best_and_the_lower_of_equals(void **state) {
    (void)state;
    struct sampler *sampler = open_sampler(6);
    struct sampler_opts opts = sampler_defaults();
    opts.temperature = 0;
    float logits[] = {1, 3, -5, 3, 2.9999f, 3};
    assert_int_equal(sampler_pick(sampler, &opts, logits, NULL, 0, 0), 1);
    logits[4] = 3.0001f;
    assert_int_equal(sampler_pick(sampler, &opts, logits, NULL, 0, 0), 4);
    float equal[6] = {-7, -7, -7, -7, -7, -7};
    assert_int_equal(sampler_pick(sampler, &opts, equal, NULL, 0, 0), 0);
    /* one candidate is left: the same, at any temperature */
    opts.temperature = 5;
    struct sampler_opts only[3] = {opts, opts, opts};
    only[0].top_k = 1;
    only[1].top_p = 0;
    only[2].min_p = 1;
    for (int i = 0; i < 3; i++)
        for (only[i].seed = 0; only[i].seed < 100; only[i].seed++) {
            float some[] = {1, 3, -5, i < 2 ? 3.f : 2.f, 2, 1};
            assert_int_equal(sampler_pick(sampler, &only[i], some, NULL, 0, 0), 1);
        }
    sampler_close(sampler);
}

static void draws_are_those_of_the_naive_sampler(void **state) {
    (void)state;
    static float logits[MAX_VOCAB], changed[MAX_VOCAB];
    static double p[MAX_VOCAB];
    static const uint32_t sizes[] = {1, 2, 17, 100, 300, MAX_VOCAB};
    unsigned n_checked = 0, n_unclear = 0;
    for (int round = 0; round < 3000; round++) {
        uint32_t n_vocab = sizes[below(6)];
        struct sampler *sampler = open_sampler(n_vocab);
        struct sampler_opts opts = sampler_defaults();
        opts.temperature = (float)(0.05 + 2 * uniform());
        if (below(2)) opts.top_k = below(4) ? 1 + below(80) : 1 + below(2 * n_vocab);
        if (below(2)) opts.top_p = (float)(below(5) ? uniform() : 1 - uniform() / 1000);
        if (below(2)) opts.min_p = (float)(below(2) ? uniform() : uniform() / 50);
        random_logits(logits, n_vocab);
        bool is_clear = naive_distribution(&opts, logits, n_vocab, p);
        n_unclear += !is_clear;
        for (uint32_t position = 0; position < 10 && is_clear; position++, n_checked++) {
            opts.seed = (uint64_t)round;
            memcpy(changed, logits, n_vocab * sizeof *logits);
            int32_t token = sampler_pick(sampler, &opts, changed, NULL, position, 0);
            if (is_at(p, n_vocab, rng_uniform(opts.seed, position), token)) continue;
            fail_msg("round %d, position %u: token %d of %u; temperature %g, top-k %u, top-p %g, min-p %g",
                     round, position, token, n_vocab, (double)opts.temperature, opts.top_k,
                     (double)opts.top_p, (double)opts.min_p);
        }
        sampler_close(sampler);
    }
    assert_true(n_checked > 25000 && n_unclear < 100);
}

static void frequencies_are_the_probabilities(void **state) {
    (void)state;
    enum { N_VOCAB = 20, N_DRAWS = 200000 };
    struct sampler *sampler = open_sampler(N_VOCAB);
    struct sampler_opts opts = sampler_defaults();
    opts.temperature = 0.8f;
    float logits[N_VOCAB], changed[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++) logits[i] = (float)(i * 7 % N_VOCAB) / 6;
    double p[N_VOCAB];
    assert_true(naive_distribution(&opts, logits, N_VOCAB, p));
    for (int by_seed = 0; by_seed <= 1;
         by_seed++) { /* many positions of one seed; one position of many seeds */
        unsigned counts[N_VOCAB] = {0};
        for (uint32_t i = 0; i < N_DRAWS; i++) {
            memcpy(changed, logits, sizeof logits);
            opts.seed = by_seed ? i : 4711;
            counts[sampler_pick(sampler, &opts, changed, NULL, by_seed ? 100 : i, 0)]++;
        }
        double chi_square = 0;
        for (int i = 0; i < N_VOCAB; i++) {
            double expected = p[i] * N_DRAWS;
            assert_true(expected > 100);
            chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        assert_true(chi_square < 53); /* 19 degrees of freedom: one in 20,000 right samplers is above */
    }
    sampler_close(sampler);
}

static void penalties_follow_their_formulas(void **state) {
    (void)state;
    enum { N_VOCAB = 50, MAX_TOKENS = 120 };
    struct sampler *sampler = open_sampler(N_VOCAB);
    for (int round = 0; round < 2000; round++) {
        struct sampler_opts opts = sampler_defaults();
        opts.temperature = 0;
        if (below(2)) opts.repeat_penalty = (float)(0.5 + 2 * uniform());
        if (below(2)) opts.presence_penalty = (float)(4 * uniform() - 2);
        if (below(2)) opts.frequency_penalty = (float)(2 * uniform() - 1);
        struct logit_bias biases[] = {
            {(int32_t)below(N_VOCAB), 2.5f}, {(int32_t)below(N_VOCAB), -3}, {-1, 1000}, {N_VOCAB, 1000}};
        opts.biases = biases;
        opts.n_biases = below(5);
        int32_t tokens[MAX_TOKENS];
        uint32_t n_tokens = below(MAX_TOKENS + 1), n_prompt = below(n_tokens + 1);
        for (uint32_t i = 0; i < n_tokens; i++) tokens[i] = (int32_t)below(N_VOCAB / 2);
        float logits[N_VOCAB], expected[N_VOCAB];
        random_logits(logits, N_VOCAB);
        int32_t best = 0;
        for (int32_t v = 0; v < N_VOCAB; v++) {
            unsigned n_seen = 0, n_output = 0;
            for (uint32_t i = 0; i < n_tokens; i++) {
                n_seen += tokens[i] == v;
                n_output += i >= n_prompt && tokens[i] == v;
            }
            double logit = (double)logits[v];
            if (n_seen > 0)
                logit = logit > 0 ? logit / (double)opts.repeat_penalty : logit * (double)opts.repeat_penalty;
            logit -=
                n_output * (double)opts.frequency_penalty + (n_output > 0) * (double)opts.presence_penalty;
            for (size_t i = 0; i < opts.n_biases; i++)
                if (biases[i].token == v) logit += (double)biases[i].bias;
            expected[v] = (float)logit;
            if (expected[v] > expected[best]) best = v;
        }
        int32_t token = sampler_pick(sampler, &opts, logits, tokens, n_tokens, n_prompt);
        for (int v = 0; v < N_VOCAB; v++) assert_true(fabsf(logits[v] - expected[v]) < 1e-4f);
        assert_true(expected[token] >= expected[best] - 1e-4f);
    }
    sampler_close(sampler);
}

static void a_draw_depends_on_seed_and_position_alone(void **state) {
    (void)state;
    enum { N_VOCAB = 300, N_POSITIONS = 50 };
    struct sampler *sampler = open_sampler(N_VOCAB), *other = open_sampler(N_VOCAB);
    static float logits[N_POSITIONS][N_VOCAB], changed[N_VOCAB];
    int32_t tokens[N_POSITIONS], first[N_POSITIONS];
    struct sampler_opts opts = sampler_defaults(), noise = sampler_defaults();
    opts.top_p = 0.95f;
    opts.presence_penalty = 0.5f;
    opts.seed = 5;
    for (uint32_t i = 0; i < N_POSITIONS; i++) {
        random_logits(logits[i], N_VOCAB);
        tokens[i] = (int32_t)below(N_VOCAB);
        memcpy(changed, logits[i], sizeof changed);
        first[i] = sampler_pick(sampler, &opts, changed, tokens, i, i / 2);
    }
    unsigned n_different = 0;
    for (uint32_t i = N_POSITIONS; i-- > 0;) { /* the other way round, with others between them */
        random_logits(changed, N_VOCAB);
        noise.seed = i;
        noise.frequency_penalty = 1;
        (void)sampler_pick(i % 2 ? sampler : other, &noise, changed, tokens, N_POSITIONS, 3);
        memcpy(changed, logits[i], sizeof changed);
        assert_int_equal(sampler_pick(i % 3 ? sampler : other, &opts, changed, tokens, i, i / 2), first[i]);
        struct sampler_opts reseeded = opts;
        reseeded.seed = 6;
        memcpy(changed, logits[i], sizeof changed);
        n_different += sampler_pick(sampler, &reseeded, changed, tokens, i, i / 2) != first[i];
    }
    assert_true(n_different > N_POSITIONS / 4);
    sampler_close(sampler);
    sampler_close(other);
}

/* What a broken model gives must not break the engine; what is impossible is not drawn. */
static void strange_logits_give_some_token(void **state) {
    (void)state;
    enum { N_VOCAB = 200 };
    struct sampler *sampler = open_sampler(N_VOCAB);
    uint64_t n_allocations = mem_count();
    static const float strange[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f};
    const int n_strange = sizeof strange / sizeof *strange;
    float logits[N_VOCAB];
    for (int round = 0; round < 20000; round++) {
        struct sampler_opts opts = sampler_defaults();
        opts.temperature = below(4) ? (float)uniform() : below(2) ? 0 : 1e-45f;
        if (below(2)) opts.top_k = 1 + below(300);
        if (below(2)) opts.top_p = (float)uniform();
        if (below(2)) opts.min_p = (float)uniform();
        if (below(2)) opts.repeat_penalty = 2;
        opts.seed = (uint64_t)round;
        float all = strange[round % n_strange];
        uint32_t share = below(5);
        random_logits(logits, N_VOCAB);
        for (int i = 0; i < N_VOCAB; i++)
            if (share == 0 || below(4) < share)
                logits[i] = below(3) ? all : strange[below((uint32_t)n_strange)];
        const int32_t tokens[] = {0, 7, 7, N_VOCAB - 1};
        int32_t token = sampler_pick(sampler, &opts, logits, tokens, 4, 1);
        assert_true(token >= 0 && token < N_VOCAB);
    }
    for (int only = 0; only < N_VOCAB; only += 11) {
        for (int i = 0; i < N_VOCAB; i++) logits[i] = i == only ? -80.0f : -INFINITY;
        struct sampler_opts opts = sampler_defaults();
        opts.seed = (uint64_t)only;
        if (only % 2) opts.top_p = 0.9f;
        assert_int_equal(sampler_pick(sampler, &opts, logits, NULL, 0, 0), only);
    }
    assert_int_equal(mem_count(), n_allocations);
    sampler_close(sampler);
}

static void options_out_of_range_are_named(void **state) {
    (void)state;
    struct sampler_opts opts = sampler_defaults();
    assert_int_equal(sampler_check(&opts), 0);
    static const struct {
        size_t offset;
        const char *name;
        float low, high;
    } ranges[] = {
        {offsetof(struct sampler_opts, temperature), "temperature", 0, 100},
        {offsetof(struct sampler_opts, top_p), "top-p", 0, 1},
        {offsetof(struct sampler_opts, min_p), "min-p", 0, 1},
        {offsetof(struct sampler_opts, repeat_penalty), "repeat-penalty", 0.01f, 100},
        {offsetof(struct sampler_opts, presence_penalty), "presence-penalty", -100, 100},
        {offsetof(struct sampler_opts, frequency_penalty), "frequency-penalty", -100, 100},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const float good[] = {ranges[i].low, ranges[i].high};
        const float bad[] = {ranges[i].low - 0.01f, ranges[i].high * 1.01f, NAN, INFINITY, -INFINITY};
        for (int j = 0; j < 2 + 5; j++) {
            opts = sampler_defaults();
            memcpy((char *)&opts + ranges[i].offset, j < 2 ? &good[j] : &bad[j - 2], sizeof(float));
            assert_int_equal(sampler_check(&opts), j < 2 ? 0 : ERR_INVALID);
            if (j >= 2) assert_non_null(strstr(err_message(), ranges[i].name));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_best_and_the_lower_of_equals),
        cmocka_unit_test(draws_are_those_of_the_naive_sampler),
        cmocka_unit_test(frequencies_are_the_probabilities),
        cmocka_unit_test(penalties_follow_their_formulas),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_alone),
        cmocka_unit_test(strange_logits_give_some_token),
        cmocka_unit_test(options_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
