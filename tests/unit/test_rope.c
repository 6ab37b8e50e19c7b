/* Rotary embedding against the formulas of the papers, in double precision and one number at a time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/rope.h"

enum { MAX_DIM = 128, N_HEADS = 3 };

static const double pi = 3.14159265358979323846;

static struct rope_description plain(uint32_t n_dims, bool is_interleaved, float base) {
    return (struct rope_description){
        .n_dims = n_dims, .is_interleaved = is_interleaved, .base = base, .factor = 1, .attention_factor = 1};
}

static void random_heads(float *heads, size_t n, uint64_t stream) {
    for (size_t i = 0; i < n; i++) heads[i] = (float)(2 * rng_uniform(stream, i) - 1);
}

/* Which two numbers of a head make pair i. */
static void members(const struct rope_description *d, unsigned i, unsigned *a, unsigned *b) {
    *a = d->is_interleaved ? 2 * i : i;
    *b = d->is_interleaved ? 2 * i + 1 : i + d->n_dims / 2;
}

/* Every pair turned by position * frequency[i] and stretched by `magnitude`, against what rope_apply does. */
static void check_turns(const struct rope_description *d, const float *factors, unsigned head_dim,
                        uint32_t position, const double *frequency, double magnitude) {
    struct rope rope;
    assert_int_equal(rope_open(&rope, d, factors), 0);
    float before[N_HEADS * MAX_DIM], after[N_HEADS * MAX_DIM], table[MAX_DIM];
    random_heads(before, N_HEADS * head_dim, position);
    memcpy(after, before, sizeof before);
    rope_table(&rope, position, table);
    rope_apply(&rope, kernel_set_get(NULL), table, after, N_HEADS, head_dim);
    for (unsigned h = 0; h < N_HEADS; h++) {
        const float *from = before + h * head_dim, *to = after + h * head_dim;
        for (unsigned i = 0; i < d->n_dims / 2; i++) {
            unsigned a, b;
            members(d, i, &a, &b);
            double angle = position * frequency[i];
            double x = magnitude * (from[a] * cos(angle) - from[b] * sin(angle));
            double y = magnitude * (from[a] * sin(angle) + from[b] * cos(angle));
            /* the angle is a float: it is off by its own last bits, frequency and product once each */
            double tolerance = 2e-6 + angle * 0x1p-22;
            if (fabs(to[a] - x) > tolerance || fabs(to[b] - y) > tolerance)
                fail_msg("position %u, pair %u: (%g, %g), should be (%g, %g)", position, i, (double)to[a],
                         (double)to[b], x, y);
        }
        for (unsigned i = d->n_dims; i < head_dim; i++) assert_true(to[i] == from[i]);
    }
    rope_close(&rope);
}

static void plain_frequencies(const struct rope_description *d, double *frequency) {
    for (unsigned i = 0; i < d->n_dims / 2; i++) frequency[i] = 1 / pow((double)d->base, 2.0 * i / d->n_dims);
}

static const uint32_t positions[] = {0, 1, 2, 31, 32, 1000, 8191, 131071};
enum { N_POSITIONS = sizeof positions / sizeof *positions };

static void pairs_turn_by_their_frequency(void **state) {
    (void)state;
    static const struct {
        unsigned n_dims, head_dim;
        float base;
    } shapes[] = {{64, 64, 10000}, {32, 64, 10000}, {128, 128, 1e6f}, {2, 8, 500000}, {24, 24, 1e6f}};
    double frequency[MAX_DIM / 2];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int is_interleaved = 0; is_interleaved <= 1; is_interleaved++)
            for (int p = 0; p < N_POSITIONS; p++) {
                struct rope_description d = plain(shapes[s].n_dims, is_interleaved, shapes[s].base);
                plain_frequencies(&d, frequency);
                check_turns(&d, NULL, shapes[s].head_dim, positions[p], frequency, 1);
            }
}

static void linear_scaling_divides_positions(void **state) {
    (void)state;
    double frequency[MAX_DIM / 2];
    struct rope_description d = plain(64, true, 10000);
    plain_frequencies(&d, frequency);
    for (int i = 0; i < 32; i++) frequency[i] /= 4;
    d.scaling = ROPE_SCALING_LINEAR;
    d.factor = 4;
    for (int p = 0; p < N_POSITIONS; p++) check_turns(&d, NULL, 64, positions[p], frequency, 1);
    /* position 4 p is then what position p was */
    struct rope scaled, unscaled;
    struct rope_description u = plain(64, true, 10000);
    assert_int_equal(rope_open(&scaled, &d, NULL), 0);
    assert_int_equal(rope_open(&unscaled, &u, NULL), 0);
    float a[64], b[64];
    rope_table(&scaled, 4 * 37, a);
    rope_table(&unscaled, 37, b);
    assert_memory_equal(a, b, sizeof a);
    rope_close(&scaled);
    rope_close(&unscaled);
}

static void factors_of_the_file_divide_frequencies(void **state) {
    (void)state;
    double frequency[MAX_DIM / 2];
    float factors[32];
    struct rope_description d = plain(64, true, 500000);
    plain_frequencies(&d, frequency);
    for (int i = 0; i < 32; i++) {
        factors[i] = i < 10 ? 1 : i > 20 ? 8 : 1 + (float)(i - 10) * 0.5f;
        frequency[i] /= (double)factors[i];
    }
    for (int p = 0; p < N_POSITIONS; p++) check_turns(&d, factors, 64, positions[p], frequency, 1);
}

/* Turns that a pair, of real-valued index x, makes over the original context: L / wavelength. */
static double turns(const struct rope_description *d, double x) {
    return d->original_context / (2 * pi * pow((double)d->base, 2 * x / d->n_dims));
}

/* The index at which a pair makes n turns, found by halving: turns fall as the index grows. */
static double index_of_turns(const struct rope_description *d, double n) {
    double low = -1000, high = 1000;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (turns(d, middle) > n)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Peng et al. 2023: pairs that turn more than beta_fast times over the original context keep their frequency,
 * those that turn less than beta_slow times are interpolated, and between them, as in the authors' code, the
 * share falls linearly with the index, from the whole index at or below the first bound to the one at or
 * above the second. */
static void check_yarn(float factor, float attention_factor, uint32_t context, float fast, float slow,
                       unsigned n_dims, float base, bool is_interleaved) {
    struct rope_description d = plain(n_dims, is_interleaved, base);
    double frequency[MAX_DIM / 2];
    plain_frequencies(&d, frequency);
    d.scaling = ROPE_SCALING_YARN;
    d.factor = factor;
    d.attention_factor = attention_factor;
    d.original_context = context;
    d.beta_fast = fast;
    d.beta_slow = slow;
    double low = fmax(floor(index_of_turns(&d, (double)fast)), 0);
    double high = fmin(ceil(index_of_turns(&d, (double)slow)), n_dims - 1);
    unsigned n_kept = 0, n_interpolated = 0;
    for (unsigned i = 0; i < n_dims / 2; i++) {
        double original = frequency[i], share = 1 - (i - low) / fmax(high - low, 0.001);
        share = fmin(fmax(share, 0), 1);
        frequency[i] = share * original + (1 - share) * original / (double)factor;
        if (turns(&d, i) > (double)fast) n_kept += frequency[i] == original;
        if (turns(&d, i) < (double)slow)
            n_interpolated += frequency[i] <= original / (double)factor * 1.0000001;
    }
    for (unsigned i = 0; i < n_dims / 2; i++) { /* the bounds are where the paper has them */
        n_kept -= turns(&d, i) > (double)fast;
        n_interpolated -= turns(&d, i) < (double)slow && i >= high;
    }
    assert_int_equal(n_kept, 0);
    assert_true((int)n_interpolated >= 0);
    double magnitude = factor > 1 ? (double)attention_factor * (0.1 * log((double)factor) + 1) : 1;
    for (int p = 0; p < N_POSITIONS; p++) check_turns(&d, NULL, n_dims, positions[p], frequency, magnitude);
}

static void yarn_blends_by_wavelength(void **state) {
    (void)state;
    check_yarn(4, 1, 4096, 32, 1, 128, 10000, true);
    check_yarn(4, 1, 32768, 32, 1, 128, 1e6f, false); /* as Qwen extends its context */
    check_yarn(8, 0.5f, 2048, 16, 2, 64, 10000, false);
    check_yarn(4, 1, 64, 32, 1, 32, 10000, true); /* the fast bound lies before the first pair */
    check_yarn(1, 1, 4096, 32, 1, 64, 10000, true);
    check_yarn(40, 1, 4096, 32, 1, 64, 10000, true);
}

static void position_zero_changes_nothing(void **state) {
    (void)state;
    for (int is_interleaved = 0; is_interleaved <= 1; is_interleaved++) {
        struct rope_description d = plain(64, is_interleaved, 10000);
        struct rope rope;
        assert_int_equal(rope_open(&rope, &d, NULL), 0);
        float before[64], after[64], table[64];
        random_heads(before, 64, 1);
        memcpy(after, before, sizeof after);
        rope_table(&rope, 0, table);
        rope_apply(&rope, kernel_set_get(NULL), table, after, 1, 64);
        for (int i = 0; i < 64; i++) assert_true(after[i] == before[i]);
        rope_close(&rope);
    }
}

/* Lengths stay, and a product of two heads depends on their distance alone: what the method is for. */
static void lengths_and_distances_are_kept(void **state) {
    (void)state;
    struct rope_description d = plain(64, true, 10000);
    struct rope rope;
    assert_int_equal(rope_open(&rope, &d, NULL), 0);
    double first_product = 0;
    for (uint32_t shift = 0; shift < 2000; shift += 97) {
        float q[64], k[64], table[64];
        random_heads(q, 64, 2);
        random_heads(k, 64, 3);
        double length = 0, turned = 0, product = 0;
        for (int i = 0; i < 64; i++) length += (double)q[i] * (double)q[i];
        rope_table(&rope, 13 + shift, table);
        rope_apply(&rope, kernel_set_get(NULL), table, q, 1, 64);
        rope_table(&rope, 5 + shift, table);
        rope_apply(&rope, kernel_set_get(NULL), table, k, 1, 64);
        for (int i = 0; i < 64; i++) {
            turned += (double)q[i] * (double)q[i];
            product += (double)q[i] * (double)k[i];
        }
        if (shift == 0) first_product = product;
        assert_true(fabs(turned - length) < 1e-5 * length);
        assert_true(fabs(product - first_product) < 2e-3);
    }
    rope_close(&rope);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_turn_by_their_frequency),
        cmocka_unit_test(linear_scaling_divides_positions),
        cmocka_unit_test(factors_of_the_file_divide_frequencies),
        cmocka_unit_test(yarn_blends_by_wavelength),
        cmocka_unit_test(position_zero_changes_nothing),
        cmocka_unit_test(lengths_and_distances_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
