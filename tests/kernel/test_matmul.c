#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/float16.h"
#include "base/mem.h"
#include "base/rng.h"
#include "matmul_case.h"

enum { GUARD = 24 };
static const uint32_t GUARD_BITS = 0x7fa5a5a5;

/* An output matrix whose rows have guard numbers before, between and after them. */
struct guarded {
    float *memory, *out;
    size_t n_rows, n_cols, stride;
};

static struct guarded guarded_new(size_t n_rows, size_t n_cols) {
    struct guarded g = {.n_rows = n_rows, .n_cols = n_cols, .stride = n_cols + GUARD};
    size_t n = n_rows * g.stride + GUARD;
    g.memory = mem_alloc_aligned(n, sizeof *g.memory);
    assert_non_null(g.memory);
    for (size_t i = 0; i < n; i++) g.memory[i] = float_of_bits(GUARD_BITS);
    g.out = g.memory + GUARD;
    return g;
}

/* Every guard is whole, and every number was written. */
static void guarded_check(const struct guarded *g) {
    for (size_t i = 0; i < GUARD; i++) assert_int_equal(bits_of_float(g->memory[i]), GUARD_BITS);
    for (size_t r = 0; r < g->n_rows; r++)
        for (size_t c = 0; c < g->stride; c++)
            assert_true((bits_of_float(g->out[r * g->stride + c]) == GUARD_BITS) == (c >= g->n_cols));
}

static void assert_same_bits(const struct guarded *a, size_t row_a, const struct guarded *b, size_t row_b) {
    for (size_t c = 0; c < a->n_cols; c++) {
        float left = a->out[row_a * a->stride + c], right = b->out[row_b * b->stride + c];
        if (bits_of_float(left) != bits_of_float(right))
            fail_msg("output %zu of row %zu: %a, expected %a", c, row_a, (double)left, (double)right);
    }
}

/* Calls `check` for every type and every set that runs here, but only once for a function that two sets
 * share. */
static void for_functions(void (*check)(const struct kernel_set *set, enum weight_type type)) {
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)
        for (size_t t = 0; t < n_case_types && (*set)->is_supported(); t++) {
            bool comes_again = false;
            for (const struct kernel_set *const *next = set + 1; *next != NULL; next++)
                comes_again |= (*next)->matmul[case_types[t]] == (*set)->matmul[case_types[t]];
            if (!comes_again) check(*set, case_types[t]);
        }
}

/* Column counts that the type can have, odd numbers of groups among them. */
static size_t columns_of(enum weight_type type, size_t i) {
    static const size_t of_floats[] = {1, 31, 100, 577}, of_runs[] = {32, 96, 576, 736},
                        of_k[] = {256, 512, 768, 1280};
    size_t group = weight_format_get(type)->group_elements;
    return group == 1 ? of_floats[i] : group == 32 ? of_runs[i] : of_k[i];
}
static const size_t output_counts[] = {1, 16, 33, 70};
static const size_t row_counts[] = {1, 2, 3, 5, 8, 9, 12, 13, 17, 24, 33, 49, 65};
enum { N_SHAPES = 4, N_ROW_COUNTS = sizeof row_counts / sizeof *row_counts };

/* An input as its codes say it. */
static double coded_input(const struct activations *x, size_t row, size_t k) {
    size_t g = row * x->n_groups + k / PANEL_GROUP, at = g * PANEL_GROUP + k % PANEL_GROUP;
    double value = 0;
    for (int p = 0; p < PLANE_COUNT; p++) {
        const struct activation_plane *plane = &x->planes[p];
        if (plane->scale[g] != 0) value += (double)plane->scale[g] * plane->codes[at];
    }
    return value;
}

static double raised_input(const struct activations *x, size_t row, size_t k) {
    const bf16_bits *group = x->raised + panel_raised_at(x->n_groups, row, k / PANEL_GROUP);
    return ldexp((double)bf16_to_f32(group[panel_raised_place(k % PANEL_GROUP)]), -PANEL_RAISE);
}

/* An input as weights of the type meet it in a set. */
static double input_of(const struct kernel_set *set, enum weight_type type, const struct activations *x,
                       size_t row, size_t k) {
    if (weight_is_quantised(type))
        return set->quantised_form == FORM_RAISED ? raised_input(x, row, k) : coded_input(x, row, k);
    if (type == WEIGHT_BF16) return (double)bf16_to_f32(x->bf16[row * x->n_groups * PANEL_GROUP + k]);
    return (double)x->f32[row * x->n_cols + k];
}

/* What a set makes of the weights, (n_rows, n_cols). */
static double *weights_in(const struct kernel_set *set, const struct case_matrix *m) {
    const size_t n_cols = m->packed.n_cols, n = m->packed.n_rows * n_cols;
    const bool is_raised = weight_is_quantised(m->packed.type) && set->quantised_form == FORM_RAISED;
    double *weights = mem_alloc(n, sizeof *weights);
    assert_non_null(weights);
    for (size_t i = 0; i < n; i++)
        weights[i] = is_raised ? case_matrix_bf16_weight(m, i / n_cols, i % n_cols) : (double)m->numbers[i];
    return weights;
}

/* A set's results against weights as numbers and double precision.
 *
 * Stated bound: of the exact sum over k of w[k] * x[k], with x as its codes say it, the result is off by at
 * most (5 * groups + 5) half-ulps of the sum of magnitudes, where a group's magnitude is |x| * 3 * max|w|: a
 * code's and a minimum's share of a weight may be larger than their sum. Of float weights: n_cols + 1 of
 * them. Each term may fall below what f32 holds, or, of BF16, below the normal numbers. */
static void check_row_against_double(const struct kernel_set *set, const struct case_matrix *m,
                                     const double *weights, const struct activations *x, size_t row,
                                     const struct guarded *y) {
    size_t n = x->n_cols;
    const enum weight_type type = m->packed.type;
    const bool is_raised = weight_is_quantised(type) && set->quantised_form == FORM_RAISED;
    const bool is_float = !weight_is_quantised(type) || is_raised;
    double lost = type == WEIGHT_BF16 ? 0x1p-126 : 0x1p-149;
    if (is_raised) lost = ldexp(0x1p-126, 112 - PANEL_RAISE - case_matrix_exponent(m));
    for (size_t o = 0; o < m->packed.n_rows; o++) {
        double sum = 0, magnitude = 0, largest = 0,
               steps = is_float ? (double)n + 1 : 5 * (double)x->n_groups + 5;
        for (size_t k = 0; k < n; k++) {
            double w = weights[o * n + k];
            double input = input_of(set, type, x, row, k);
            sum += w * input;
            magnitude += is_float ? fabs(w * input) : fabs(input);
            largest = fmax(largest, fabs(w));
        }
        if (!is_float) magnitude *= 3 * largest;
        double error = fabs((double)y->out[row * y->stride + o] - sum);
        assert_true(error <= steps * 0x1p-24 * magnitude + (double)n * lost);
    }
}

static void scalar_agrees_with_double_precision(void **state) {
    (void)state;
    const struct kernel_set *set = &kernel_set_scalar;
    for (size_t t = 0; t < n_case_types; t++)
        for (size_t shape = 0; shape < N_SHAPES; shape++)
            for (int kind = 0; kind < INPUT_COUNT; kind++) {
                struct case_matrix m = case_matrix_new(case_types[t], output_counts[shape],
                                                       columns_of(case_types[t], shape), 7 * shape + t);
                struct activations x =
                    case_activations_new(3, m.packed.n_cols, (enum case_input)kind, shape + 50);
                struct guarded y = guarded_new(x.n_rows, m.packed.n_rows);
                case_activations_prepare(set, &x);
                set->matmul[m.packed.type](&m.packed, 0, m.packed.n_panels, &x, 0, x.n_rows, y.out, y.stride);
                guarded_check(&y);
                double *weights = weights_in(set, &m);
                for (size_t r = 0; r < x.n_rows; r++) check_row_against_double(set, &m, weights, &x, r, &y);
                mem_free(weights);
                mem_free(y.memory);
                case_activations_free(&x);
                case_matrix_free(&m);
            }
}

/* Every step of a product is defined to the bit, so the other sets must give the scalar set's bits, for any
 * number of rows together; but for BF16 weights, and quantised ones that become such, whose sums are the
 * processor's where it has an instruction for them: those are held to the bound and to the bits of the set's
 * own single rows. */
static void check_set(const struct kernel_set *set, enum weight_type type, size_t shape,
                      enum case_input kind) {
    size_t most = row_counts[N_ROW_COUNTS - 1];
    struct case_matrix m =
        case_matrix_new(type, output_counts[shape], columns_of(type, shape), shape * 31 + type);
    struct activations x = case_activations_new(most, m.packed.n_cols, kind, shape + 99);
    struct guarded expected = guarded_new(most, m.packed.n_rows);
    bool is_own = type == WEIGHT_BF16 && set != &kernel_set_scalar && strcmp(set->name, "avx2") != 0;
    is_own |= weight_is_quantised(type) && set->quantised_form == FORM_RAISED;
    case_activations_prepare(is_own ? set : &kernel_set_scalar, &x);
    const struct kernel_set *reference = is_own ? set : &kernel_set_scalar;
    for (size_t r = 0; r < most; r++)
        reference->matmul[type](&m.packed, 0, m.packed.n_panels, &x, r, r + 1, expected.out, expected.stride);
    double *weights = weights_in(set, &m);
    for (size_t r = 0; is_own && r < most; r++) check_row_against_double(set, &m, weights, &x, r, &expected);
    mem_free(weights);
    for (size_t i = 0; i < N_ROW_COUNTS; i++) {
        size_t n_rows = row_counts[i];
        struct guarded y = guarded_new(n_rows, m.packed.n_rows);
        set->matmul[m.packed.type](&m.packed, 0, m.packed.n_panels, &x, 0, n_rows, y.out, y.stride);
        guarded_check(&y);
        for (size_t r = 0; r < n_rows; r++) assert_same_bits(&y, r, &expected, r);
        mem_free(y.memory);
    }
    mem_free(expected.memory);
    case_activations_free(&x);
    case_matrix_free(&m);
}

static void check_shapes(const struct kernel_set *set, enum weight_type type) {
    for (size_t shape = 0; shape < N_SHAPES; shape++)
        for (int kind = 0; kind < INPUT_COUNT; kind++) check_set(set, type, shape, (enum case_input)kind);
}

static void sets_agree_with_scalar_bit_for_bit(void **state) {
    (void)state;
    for_functions(check_shapes);
}

/* Outputs past n_rows are zero weights, and packing writes every byte. */
static void missing_outputs_are_zero_weights(void **state) {
    (void)state;
    for (size_t t = 0; t < n_case_types; t++) {
        struct case_matrix m = case_matrix_new(case_types[t], 19, columns_of(case_types[t], 2), t);
        struct activations x = case_activations_new(1, m.packed.n_cols, INPUT_NORMAL, 3);
        struct guarded y = guarded_new(1, 32);
        struct panel_matrix whole = m.packed;
        whole.n_rows = 32;
        case_activations_prepare(&kernel_set_scalar, &x);
        kernel_set_scalar.matmul[whole.type](&whole, 0, 2, &x, 0, 1, y.out, y.stride);
        for (size_t o = 19; o < 32; o++) assert_true(y.out[o] == 0);
        size_t bytes = whole.n_panels * whole.panel_bytes;
        uint8_t *copy = mem_alloc(bytes, 1);
        assert_non_null(copy);
        memcpy(copy, whole.data, bytes);
        memset(whole.data, 0x11, bytes);
        panel_pack(&m.packed, m.source, 1, 2);
        panel_pack(&m.packed, m.source, 0, 1);
        assert_memory_equal(whole.data, copy, bytes);
        mem_free(copy);
        mem_free(y.memory);
        case_activations_free(&x);
        case_matrix_free(&m);
    }
}

/* What decode reads is about what the file holds. */
static void panels_are_about_as_large_as_the_file(void **state) {
    (void)state;
    for (size_t t = 0; t < n_case_types; t++) {
        size_t of_file = weight_bytes(weight_format_get(case_types[t]), 64 * 768);
        size_t of_panels = panel_matrix_bytes(case_types[t], 64, 768);
        assert_true(of_panels >= of_file && of_panels * 100 <= of_file * 104);
    }
}

static void check_neighbours(const struct kernel_set *set, enum weight_type type) {
    enum { N_ROWS = 40, N_OUTPUTS = 50 };
    struct case_matrix m = case_matrix_new(type, N_OUTPUTS, columns_of(type, 2), type);
    struct activations x = case_activations_new(N_ROWS, m.packed.n_cols, INPUT_NORMAL, 5);
    matmul_function *function = set->matmul[type];
    struct guarded alone = guarded_new(N_ROWS, N_OUTPUTS);
    case_activations_prepare(set, &x);
    for (size_t r = 0; r < N_ROWS; r++)
        for (size_t p = 0; p < m.packed.n_panels; p++)
            function(&m.packed, p, p + 1, &x, r, r + 1, alone.out, alone.stride);
    guarded_check(&alone);
    for (size_t n = 1; n <= N_ROWS; n++) {
        struct guarded y = guarded_new(N_ROWS, N_OUTPUTS);
        for (size_t r = 0; r < N_ROWS; r += n)
            function(&m.packed, 0, m.packed.n_panels, &x, r, r + n < N_ROWS ? r + n : N_ROWS, y.out,
                     y.stride);
        guarded_check(&y);
        for (size_t r = 0; r < N_ROWS; r++) assert_same_bits(&y, r, &alone, r);
        mem_free(y.memory);
    }
    mem_free(alone.memory);
    case_activations_free(&x);
    case_matrix_free(&m);
}

/* A row alone, and as any row of any run of rows and panels: the same bits. */
static void rows_do_not_depend_on_their_neighbours(void **state) {
    (void)state;
    for_functions(check_neighbours);
}

static void check_team(const struct kernel_set *set, struct team *team, size_t n_rows, size_t n_cols) {
    enum { N_MATRICES = 4 };
    static const enum weight_type types[N_MATRICES] = {WEIGHT_Q4_1, WEIGHT_Q8_0, WEIGHT_F16, WEIGHT_BF16};
    static const size_t outputs[N_MATRICES] = {576, 200, 33, 100};
    struct case_matrix m[N_MATRICES];
    struct guarded y[N_MATRICES], expected[N_MATRICES];
    struct matmul_output job[N_MATRICES];
    struct activations x = case_activations_new(n_rows, n_cols, INPUT_NORMAL, n_rows);
    struct activations alone = case_activations_like(&x);
    case_activations_prepare(set, &alone);
    x.forms = alone.forms;
    activations_prepare(set, team, &x);
    size_t n_groups = n_rows * x.n_groups;
    for (int p = 0; p < PLANE_COUNT; p++) {
        assert_memory_equal(x.planes[p].codes, alone.planes[p].codes, n_groups * PANEL_GROUP);
        assert_memory_equal(x.planes[p].scale, alone.planes[p].scale, n_groups * sizeof(float));
    }
    assert_memory_equal(x.bf16, alone.bf16, n_groups * PANEL_GROUP * sizeof *x.bf16);
    if (set->quantised_form == FORM_RAISED)
        for (size_t r = 0; r < n_rows; r++)
            for (size_t k = 0; k < n_cols; k++)
                assert_true(raised_input(&x, r, k) == raised_input(&alone, r, k));
    for (size_t i = 0; i < N_MATRICES; i++) {
        m[i] = case_matrix_new(types[i], outputs[i], n_cols, i);
        y[i] = guarded_new(n_rows, outputs[i]);
        expected[i] = guarded_new(n_rows, outputs[i]);
        job[i] = (struct matmul_output){&m[i].packed, y[i].out, y[i].stride};
        set->matmul[m[i].packed.type](&m[i].packed, 0, m[i].packed.n_panels, &x, 0, n_rows, expected[i].out,
                                      expected[i].stride);
    }
    matmul(set, team, &x, job, N_MATRICES);
    for (size_t i = 0; i < N_MATRICES; i++) {
        guarded_check(&y[i]);
        for (size_t r = 0; r < n_rows; r++) assert_same_bits(&y[i], r, &expected[i], r);
        mem_free(y[i].memory);
        mem_free(expected[i].memory);
        case_matrix_free(&m[i]);
    }
    alone.f32 = NULL;
    case_activations_free(&alone);
    case_activations_free(&x);
}

static void teams_of_any_size_agree(void **state) {
    (void)state;
    const struct kernel_set *set = kernel_set_get(NULL);
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct team *team;
        assert_int_equal(team_open(&team, n_threads), 0);
        check_team(set, team, 1, 32);
        check_team(set, team, 1, 576);
        check_team(set, team, 7, 576);
        check_team(set, team, 301, 576); /* several blocks of rows, because of the float matrix */
        team_close(team);
    }
}

/* A fault upstream must show in the result and stay in its group's row. */
static void numbers_that_are_not_finite_give_nan(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 0x1p101f};
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++) {
        if (!(*set)->is_supported()) continue;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            for (size_t n_rows = 1; n_rows <= 13; n_rows += 6) {
                struct case_matrix m = case_matrix_new(WEIGHT_Q8_0, 32, 96, 1);
                struct activations x = case_activations_new(n_rows, 96, INPUT_NORMAL, 2);
                struct guarded y = guarded_new(n_rows, 32);
                ((float *)x.f32)[40] = bad[i];
                case_activations_prepare(*set, &x);
                assert_true(isnan(x.planes[PLANE_COARSE].scale[1]) && isnan(x.scaled_sum[1]));
                for (size_t k = 32; k < 64; k++) assert_int_equal(x.planes[PLANE_COARSE].codes[k], 0);
                (*set)->matmul[WEIGHT_Q8_0](&m.packed, 0, 2, &x, 0, n_rows, y.out, y.stride);
                for (size_t r = 0; r < n_rows; r++)
                    for (size_t o = 0; o < 32; o++)
                        assert_true(isfinite(y.out[r * y.stride + o]) == (r != 0));
                mem_free(y.memory);
                case_activations_free(&x);
                case_matrix_free(&m);
            }
    }
}

/* A bound that is none, or far above the largest weight, would cost BF16 weights their bits. */
static void matrices_are_measured(void **state) {
    (void)state;
    for (size_t t = 0; t < n_case_types; t++) {
        if (!weight_is_quantised(case_types[t])) continue;
        struct case_matrix m = case_matrix_new(case_types[t], 40, columns_of(case_types[t], 3), t);
        float largest = 0;
        for (size_t i = 0; i < 40 * m.packed.n_cols; i++) largest = fmaxf(largest, fabsf(m.numbers[i]));
        assert_true(m.packed.largest >= largest && m.packed.largest <= 64 * largest);
        case_matrix_free(&m);
    }
}

/* An infinite scale shows in the outputs of every set. */
static void infinite_scales_show(void **state) {
    (void)state;
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)
        for (size_t n_rows = 1; n_rows <= 41 && (*set)->is_supported(); n_rows += 20) {
            struct case_matrix m = case_matrix_new(WEIGHT_Q4_1, 32, 64, 1);
            struct activations x = case_activations_new(n_rows, 64, INPUT_NORMAL, 2);
            struct guarded y = guarded_new(n_rows, 32);
            memcpy(m.source, &(f16_bits){0x7c00}, sizeof(f16_bits));
            panel_pack(&m.packed, m.source, 0, 2);
            panel_matrix_measure(&m.packed);
            case_activations_prepare(*set, &x);
            (*set)->matmul[WEIGHT_Q4_1](&m.packed, 0, 2, &x, 0, n_rows, y.out, y.stride);
            for (size_t r = 0; r < n_rows; r++) assert_false(isfinite(y.out[r * y.stride]));
            mem_free(y.memory);
            case_activations_free(&x);
            case_matrix_free(&m);
        }
}

/* ---- vectors ---- */

static void assert_near(float value, double expected, double bound) {
    if (!(fabs((double)value - expected) <= bound)) fail_msg("%a, expected %a", (double)value, expected);
}

static void check_vectors(const struct kernel_set *set, size_t n, float size) {
    struct guarded x = guarded_new(1, n), y = guarded_new(1, n), out = guarded_new(1, n);
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        x.out[i] = size * (float)(rng_uniform(n, i) - 0.5);
        y.out[i] = (float)rng_uniform(n + 1, i);
        squares += (double)x.out[i] * (double)x.out[i];
    }
    set->rmsnorm(out.out, x.out, y.out, n, 1e-5f);
    guarded_check(&out);
    for (size_t i = 0; i < n; i++) {
        double expected = (double)x.out[i] / sqrt(squares / (double)n + 1e-5) * (double)y.out[i];
        assert_near(out.out[i], expected, fabs(expected) * 0x1p-24 * (double)(n + 8) + 0x1p-149);
    }
    set->silu_mul(out.out, x.out, y.out, n);
    for (size_t i = 0; i < n; i++) {
        double gate = (double)x.out[i], expected = gate / (1 + exp(-gate)) * (double)y.out[i];
        assert_near(out.out[i], expected, fabs(expected) * 1e-6 + 1e-34);
    }
    set->gelu_mul(out.out, x.out, y.out, n);
    guarded_check(&out);
    for (size_t i = 0; i < n; i++) {
        double gate = (double)x.out[i];
        double t = tanh(sqrt(2 / 3.14159265358979) * (gate + 0.044715 * gate * gate * gate));
        double expected = gate / 2 * (1 + t) * (double)y.out[i];
        assert_near(out.out[i], expected, fabs(gate) * 2e-7 + fabs(expected) * 2e-6 + 1e-34);
    }
    memcpy(out.out, x.out, n * sizeof(float));
    set->softcap(out.out, n, 30);
    guarded_check(&out);
    for (size_t i = 0; i < n; i++) assert_near(out.out[i], 30 * tanh((double)x.out[i] / 30), 30 * 0x1p-21);
    set->silu_mul(out.out, x.out, y.out, n);
    set->silu_mul(x.out, x.out, y.out, n); /* in place */
    for (size_t i = 0; i < n; i++) assert_true(x.out[i] == out.out[i]);
    set->add(out.out, y.out, n);
    guarded_check(&out);
    for (size_t i = 0; i < n; i++) assert_true(out.out[i] == x.out[i] + y.out[i]);
    set->rmsnorm(out.out, x.out, y.out, n, 1e-5f);
    set->rmsnorm(x.out, x.out, y.out, n, 1e-5f); /* in place */
    guarded_check(&x);
    for (size_t i = 0; i < n; i++) assert_true(x.out[i] == out.out[i]);
    mem_free(x.memory);
    mem_free(y.memory);
    mem_free(out.memory);
}

static void bf16_sums_of_what_is_not_finite_are_not_either(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad && (*set)->is_supported(); i++)
            for (size_t n_rows = 1; n_rows <= 31; n_rows += 6) {
                struct case_matrix m = case_matrix_new(WEIGHT_BF16, 40, 100, 1);
                struct activations x = case_activations_new(n_rows, 100, INPUT_NORMAL, 2);
                struct guarded y = guarded_new(n_rows, 40);
                ((float *)x.f32)[40] = bad[i];
                case_activations_prepare(*set, &x);
                (*set)->matmul[WEIGHT_BF16](&m.packed, 0, m.packed.n_panels, &x, 0, n_rows, y.out, y.stride);
                for (size_t r = 0; r < n_rows; r++)
                    for (size_t o = 0; o < 40; o++) assert_true(isfinite(y.out[r * y.stride + o]) == (r > 0));
                mem_free(y.memory);
                case_activations_free(&x);
                case_matrix_free(&m);
            }
}

static void vectors_are_near_double_precision(void **state) {
    (void)state;
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++) {
        if (!(*set)->is_supported()) continue;
        for (size_t n = 1; n <= 100; n++) {
            check_vectors(*set, n, 10);
            check_vectors(*set, n, 300);
            check_vectors(*set, n, 1e-12f);
        }
    }
}

static void sets_are_found_by_name(void **state) {
    (void)state;
    assert_ptr_equal(kernel_set_get("scalar"), &kernel_set_scalar);
    assert_non_null(kernel_set_get(NULL));
    assert_true(kernel_set_get(NULL)->is_supported());
    assert_null(kernel_set_get("sse1"));
    assert_non_null(strstr(err_message(), "scalar"));
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench_matmul(argc - 2, argv + 2);
    if (argc > 2 && strcmp(argv[1], "--only") == 0) cmocka_set_test_filter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_found_by_name),
        cmocka_unit_test(scalar_agrees_with_double_precision),
        cmocka_unit_test(sets_agree_with_scalar_bit_for_bit),
        cmocka_unit_test(missing_outputs_are_zero_weights),
        cmocka_unit_test(panels_are_about_as_large_as_the_file),
        cmocka_unit_test(rows_do_not_depend_on_their_neighbours),
        cmocka_unit_test(teams_of_any_size_agree),
        cmocka_unit_test(matrices_are_measured),
        cmocka_unit_test(infinite_scales_show),
        cmocka_unit_test(numbers_that_are_not_finite_give_nan),
        cmocka_unit_test(bf16_sums_of_what_is_not_finite_are_not_either),
        cmocka_unit_test(vectors_are_near_double_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
