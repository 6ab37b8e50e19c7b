/* RoPE against a rotation in double precision, and the scalings against their papers' formulas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/rope.h"

enum { HEAD_DIM = 48, N_DIMS = 32, N_HEADS = 3 };

static const struct rope_description plain = {
    .n_dims = N_DIMS, .base = 10000, .factor = 1, .attention_factor = 1, .original_context = 64, .beta_fast = 32,
    .beta_slow = 1};

static double plain_frequency(unsigned i) { return pow(10000, -2.0 * i / N_DIMS); }

/* YaRN, section 3.2 and 3.4: blend by how often pair i turns over the original context. */
static double yarn_frequency(unsigned i, double factor, double context) {
    const double pi = acos(-1);
    double low = floor(N_DIMS * log(context / (32 * 2 * pi)) / (2 * log(10000)));
    double high = ceil(N_DIMS * log(context / (1 * 2 * pi)) / (2 * log(10000)));
    if (low < 0) low = 0;
    double gamma = fmin(1, fmax(0, (i - low) / (high - low)));
    return plain_frequency(i) * ((1 - gamma) + gamma / factor);
}

static void fill(float *heads) {
    for (unsigned i = 0; i < N_HEADS * HEAD_DIM; i++) heads[i] = (float)(rng_uniform(5, i) * 2 - 1);
}

static void check(const struct rope_description *description, const float *factors, double (*frequency)(unsigned),
                  double magnitude) {
    struct rope rope;
    assert_int_equal(rope_open(&rope, description, factors), 0);
    for (uint32_t position = 0; position < 3000; position += position < 4 ? 1 : 499) {
        float heads[N_HEADS * HEAD_DIM], before[N_HEADS * HEAD_DIM], table[N_DIMS];
        fill(heads);
        memcpy(before, heads, sizeof heads);
        rope_table(&rope, position, table);
        rope_apply(&rope, table, heads, N_HEADS, HEAD_DIM);
        for (unsigned h = 0; h < N_HEADS; h++) {
            const float *from = before + h * HEAD_DIM, *to = heads + h * HEAD_DIM;
            for (unsigned i = 0; i < N_DIMS / 2; i++) {
                unsigned a = description->is_interleaved ? 2 * i : i;
                unsigned b = description->is_interleaved ? 2 * i + 1 : i + N_DIMS / 2;
                double angle = (double)position * frequency(i), x = (double)from[a], y = (double)from[b];
                double bound = 1e-6 + 3e-7 * position; /* the angle is a product in f32 */
                assert_true(fabs((x * cos(angle) - y * sin(angle)) * magnitude - (double)to[a]) < bound);
                assert_true(fabs((x * sin(angle) + y * cos(angle)) * magnitude - (double)to[b]) < bound);
            }
            for (unsigned i = N_DIMS; i < HEAD_DIM; i++) assert_true(to[i] == from[i]);
        }
    }
    rope_close(&rope);
}

static void pairs_turn_by_their_frequency(void **state) {
    (void)state;
    struct rope_description description = plain;
    check(&description, NULL, plain_frequency, 1);
    description.is_interleaved = true;
    check(&description, NULL, plain_frequency, 1);
}

static double linear_frequency(unsigned i) { return plain_frequency(i) / 4; }
static double factor_frequency(unsigned i) { return plain_frequency(i) / (1 + 0.5 * i); }
static double yarn_of_this_test(unsigned i) { return yarn_frequency(i, 8, 512); }

static void scalings_follow_their_formulas(void **state) {
    (void)state;
    struct rope_description description = plain;
    description.scaling = ROPE_SCALING_LINEAR;
    description.factor = 4;
    check(&description, NULL, linear_frequency, 1);

    description = plain;
    float factors[N_DIMS / 2];
    for (unsigned i = 0; i < N_DIMS / 2; i++) factors[i] = 1 + 0.5f * (float)i;
    check(&description, factors, factor_frequency, 1);

    description.scaling = ROPE_SCALING_YARN;
    description.factor = 8;
    description.original_context = 512;
    check(&description, NULL, yarn_of_this_test, 1 + 0.1 * log(8));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_turn_by_their_frequency),
        cmocka_unit_test(scalings_follow_their_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
