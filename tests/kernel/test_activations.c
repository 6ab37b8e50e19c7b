/* The forms that rows of activations are brought to. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/float16.h"
#include "matmul_case.h"

static void check_sums(const int8_t *codes, const int32_t half_sum[2]) {
    int32_t sums[2] = {0, 0};
    for (size_t k = 0; k < PANEL_GROUP; k++) sums[k / 16] += codes[k];
    assert_int_equal(half_sum[0], sums[0]);
    assert_int_equal(half_sum[1], sums[1]);
}

/* Group `at` of x, whose numbers are `source`; n of them exist. */
static void check_group(const struct activations *x, size_t at, const float *source, size_t n) {
    const struct activation_plane *coarse = &x->planes[PLANE_COARSE], *fine = &x->planes[PLANE_FINE];
    const int8_t *codes = coarse->codes + at * PANEL_GROUP, *rest = fine->codes + at * PANEL_GROUP;
    const int32_t *sums = coarse->half_sum + 2 * at, *rest_sums = fine->half_sum + 2 * at;
    float largest = 0, scale = coarse->scale[at], fine_scale = fine->scale[at];
    for (size_t k = 0; k < n; k++) largest = fmaxf(largest, fabsf(source[k]));
    assert_true(fabsf(scale - largest / 127) <= scale * 0x1p-21f || largest < 0x1p-100f);
    assert_int_equal(bits_of_float(scale) & 3, 0);
    for (size_t k = 0; k < PANEL_GROUP; k++) {
        double value = k < n ? (double)source[k] : 0;
        assert_true(fabs(value - (double)scale * codes[k]) <= 0.5001 * (double)scale || largest < 0x1p-100f);
        assert_true(codes[k] >= -127);
        if (fine_scale == 0) continue;
        /* Half a step, or one where the code at the end of the range was out of reach. */
        double left = value - (double)scale * codes[k] - (double)fine_scale * rest[k];
        assert_true(fabs(left) <= (abs(rest[k]) == 127 ? 1.01 : 0.5001) * (double)fine_scale);
        assert_true(rest[k] >= -127);
    }
    check_sums(codes, sums);
    float scaled_sum = scale * (float)(sums[0] + sums[1]);
    if (fine_scale != 0) {
        assert_true(fine_scale == scale / 256);
        check_sums(rest, rest_sums);
        scaled_sum += fine_scale * (float)(rest_sums[0] + rest_sums[1]);
    }
    assert_true(x->scaled_sum[at] == scaled_sum);
}

/* Exactly the groups whose squared scale is above twice the row's mean have a fine plane. */
static void check_fine_choice(const float *scale, const float *fine_scale, size_t n_groups) {
    double mean = 0;
    for (size_t g = 0; g < n_groups; g++) mean += (double)scale[g] * (double)scale[g] / (double)n_groups;
    for (size_t g = 0; g < n_groups; g++) {
        double ratio = (double)scale[g] * (double)scale[g] / mean;
        if (fabs(ratio - 2) > 1e-5) assert_true((fine_scale[g] != 0) == (ratio > 2));
    }
}

static void quantised_rows_are_the_same_in_every_set(void **state) {
    (void)state;
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++) {
        if (!(*set)->is_supported()) continue;
        for (size_t n_cols = 1; n_cols <= 1200; n_cols += n_cols < 80 ? 1 : 111)
            for (int kind = 0; kind < INPUT_COUNT; kind++) {
                struct activations x = case_activations_new(2, n_cols, (enum case_input)kind, n_cols);
                struct activations expected = case_activations_like(&x);
                memset(x.planes[PLANE_COARSE].codes, 0x55, 2 * x.n_groups * PANEL_GROUP);
                case_activations_prepare(&kernel_set_scalar, &expected);
                case_activations_prepare(*set, &x);
                size_t n = 2 * x.n_groups;
                for (int p = 0; p < PLANE_COUNT; p++) {
                    const struct activation_plane *one = &x.planes[p], *other = &expected.planes[p];
                    assert_memory_equal(one->codes, other->codes, n * PANEL_GROUP);
                    assert_memory_equal(one->scale, other->scale, n * sizeof *one->scale);
                    assert_memory_equal(one->half_sum, other->half_sum, 2 * n * sizeof *one->half_sum);
                }
                assert_memory_equal(x.scaled_sum, expected.scaled_sum, n * sizeof *x.scaled_sum);
                for (size_t row = 0; row < 2; row++)
                    check_fine_choice(x.planes[PLANE_COARSE].scale + row * x.n_groups,
                                      x.planes[PLANE_FINE].scale + row * x.n_groups, x.n_groups);
                for (size_t i = 0; i < n; i++) {
                    size_t first = i % x.n_groups * PANEL_GROUP, left = n_cols - first;
                    check_group(&x, i, x.f32 + i / x.n_groups * n_cols + first,
                                left < PANEL_GROUP ? left : PANEL_GROUP);
                }
                expected.f32 = NULL;
                case_activations_free(&expected);
                case_activations_free(&x);
            }
    }
}

/* The nearest BF16 number as base/float16.h has it, but zeros for denormal numbers and past the last column.
 */
static void check_rounded(const struct activations *x, size_t row) {
    const size_t stride = x->n_groups * PANEL_GROUP;
    for (size_t k = 0; k < stride; k++) {
        float value = k < x->n_cols ? x->f32[row * x->n_cols + k] : 0;
        bf16_bits expected = bf16_from_f32(fabsf(value) < 0x1p-126f ? copysignf(0, value) : value);
        assert_int_equal(x->bf16[row * stride + k], expected);
    }
}

static void check_raised(const struct activations *x, size_t row) {
    for (size_t k = 0; k < x->n_groups * PANEL_GROUP; k++) {
        float value = k < x->n_cols ? x->f32[row * x->n_cols + k] * 0x1p29f : 0;
        bf16_bits expected = bf16_from_f32(fabsf(value) < 0x1p-126f ? copysignf(0, value) : value);
        const bf16_bits *group = x->raised + panel_raised_at(x->n_groups, row, k / PANEL_GROUP);
        assert_int_equal(group[panel_raised_place(k % PANEL_GROUP)], expected);
    }
}

static void rows_are_rounded_to_the_nearest_bf16(void **state) {
    (void)state;
    static const float special[] = {0x1.01p0f,        0x1.03p0f,  -0x1.010002p0f,  0x1.00fffep0f,
                                    0x1.fffffep-127f, -0x1p-149f, 0x1.fffffep127f, -INFINITY,
                                    INFINITY,         NAN};
    const uint32_t small_nan = 0xff800001u; /* whose payload is cut off */
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)
        for (size_t n_cols = 1; n_cols <= 1200 && (*set)->is_supported(); n_cols += n_cols < 80 ? 1 : 111)
            for (int kind = 0; kind < INPUT_COUNT; kind++) {
                struct activations x = case_activations_new(2, n_cols, (enum case_input)kind, n_cols);
                for (size_t i = 0; n_cols >= 40 && i < sizeof special / sizeof *special; i++)
                    ((float *)x.f32)[3 * i] = special[i];
                ((float *)x.f32)[n_cols - 1] = float_of_bits(small_nan);
                memset(x.bf16, 0x55, 2 * x.n_groups * PANEL_GROUP * sizeof *x.bf16);
                for (size_t row = 0; row < 2; row++) {
                    (*set)->round_row(&x, row);
                    check_rounded(&x, row);
                    if ((*set)->raise_row == NULL) continue;
                    (*set)->raise_row(&x, row);
                    check_raised(&x, row);
                }
                case_activations_free(&x);
            }
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--only") == 0) cmocka_set_test_filter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantised_rows_are_the_same_in_every_set),
        cmocka_unit_test(rows_are_rounded_to_the_nearest_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
