#include "matmul_case.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/float16.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernel/weight_run.h"

const enum weight_type case_types[] = {
#define X(name, number, elements, bytes) WEIGHT_##name,
    WEIGHT_TYPE_LIST(X)
#undef X
};
const size_t n_case_types = sizeof case_types / sizeof *case_types;

static float uniform(uint64_t seed, uint64_t i) { return (float)(2 * rng_uniform(seed, i) - 1); }

static void put_f16(uint8_t *at, float value) {
    f16_bits bits = f16_from_f32(value);
    memcpy(at, &bits, sizeof bits);
}

/* Any bits are codes; only the scales must be sensible numbers. */
static void random_groups(enum weight_type type, uint8_t *bytes, size_t n_elements, uint64_t seed) {
    const struct weight_format *format = weight_format_get(type);
    size_t n_bytes = weight_bytes(format, n_elements);
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)rng_u64(seed, i);
    for (size_t i = 0; i < n_elements / format->group_elements; i++) {
        uint8_t *group = bytes + i * format->group_bytes;
        float scale = 0.01f * uniform(seed + 1, 2 * i), minimum = 0.1f * uniform(seed + 1, 2 * i + 1);
        bf16_bits bf16 = bf16_from_f32(10 * scale);
        switch (type) {
        case WEIGHT_F32:
            scale *= 10;
            memcpy(group, &scale, sizeof scale);
            break;
        case WEIGHT_F16: put_f16(group, 10 * scale); break;
        case WEIGHT_BF16: memcpy(group, &bf16, sizeof bf16); break;
        case WEIGHT_MXFP4: group[0] = (uint8_t)(i % 16 < 3 ? i % 16 : 118 + i % 8); break;
        case WEIGHT_Q2_K:
            put_f16(group + 80, scale);
            put_f16(group + 82, minimum * 0.1f);
            break;
        case WEIGHT_Q3_K: put_f16(group + 108, scale * 0.1f); break;
        case WEIGHT_Q6_K: put_f16(group + 208, scale * 0.01f); break;
        case WEIGHT_IQ4_XS: put_f16(group, scale * 0.01f); break;
        case WEIGHT_Q4_K:
        case WEIGHT_Q5_K: scale *= 0.03f, minimum *= 0.03f; /* fall through */
        case WEIGHT_Q4_1:
        case WEIGHT_Q5_1: put_f16(group + 2, minimum); /* fall through */
        default: put_f16(group, scale);
        }
    }
}

struct case_matrix case_matrix_new(enum weight_type type, size_t n_rows, size_t n_cols, uint64_t seed) {
    struct case_matrix matrix = {.type = type};
    const struct weight_format *format = weight_format_get(type);
    size_t bytes = panel_matrix_bytes(type, n_rows, n_cols);
    matrix.source = mem_alloc(weight_bytes(format, n_rows * n_cols), 1);
    matrix.numbers = mem_alloc(n_rows * n_cols, sizeof *matrix.numbers);
    void *packed = mem_alloc_aligned(bytes, 1);
    ASSERT(matrix.source != NULL && matrix.numbers != NULL && packed != NULL);
    random_groups(type, matrix.source, n_rows * n_cols, seed);
    weight_dequantize(type, matrix.source, matrix.numbers, n_rows * n_cols);
    memset(packed, 0xee, bytes); /* packing must write every byte */
    panel_matrix_init(&matrix.packed, type, n_rows, n_cols, packed);
    panel_pack(&matrix.packed, matrix.source, 0, matrix.packed.n_panels);
    panel_matrix_measure(&matrix.packed);
    return matrix;
}

void case_matrix_free(struct case_matrix *matrix) {
    mem_free(matrix->source);
    mem_free(matrix->numbers);
    mem_free(matrix->packed.data);
}

/* ---- quantised weights as BF16, the formula of kernel/panel.h number by number ---- */

int case_matrix_exponent(const struct case_matrix *m) {
    const int most = weight_traits_of(m->type).scale == SCALE_F16 ? 15 : 60;
    const int exponent = 14 - ilogb((double)m->packed.largest);
    return exponent < most ? exponent : most;
}

static float f16_of(double value) { return f16_to_f32(f16_from_f32((float)value)); }

double case_matrix_bf16_weight(const struct case_matrix *m, size_t output, size_t k) {
    const struct weight_traits traits = weight_traits_of(m->type);
    const size_t n_cols = m->packed.n_cols, row_bytes = weight_bytes(weight_format_get(m->type), n_cols);
    const size_t share = traits.n_shares == 2 ? k % 32 / 16 : 0;
    const int exponent = case_matrix_exponent(m);
    struct weight_run run;
    weight_unpack_run(m->type, &run, m->source + output * row_bytes, k / 32);
    const bool has_factors = traits.scale == SCALE_FACTORS || traits.scale == SCALE_NIBBLE_FACTORS;
    double scale = traits.scale == SCALE_E8M0 ? ldexp(1, run.scale - 128) : (double)f16_to_f32(run.scale),
           minimum = 0;
    if (traits.has_minimum) minimum = (double)f16_to_f32(run.minimum);
    if (has_factors) {
        scale *= run.scale_factor[share];
        minimum *= traits.has_minimum ? run.minimum_factor[share] : 0;
    }
    const double number = weight_number(traits, run.code[k % 32]);
    const float scaled =
        f16_of(number * (double)f16_of(ldexp(scale, exponent)) + (double)f16_of(ldexp(minimum, exponent)));
    if (fabsf(scaled) < 0x1p-14f) return 0;
    /* eight significant bits, ties away from zero */
    int binade;
    const double significand = frexp((double)scaled, &binade);
    return ldexp(round(significand * 256), binade - 8 - exponent);
}

static float random_input(enum case_input kind, uint64_t seed, uint64_t i) {
    float value = uniform(seed, i);
    switch (kind) {
    case INPUT_NORMAL: return value;
    case INPUT_OUTLIER: return rng_u64(seed + 1, i) % 40 == 0 ? 1000 * value : value;
    case INPUT_ZERO: return i % 2 == 0 ? 0.0f : -0.0f;
    case INPUT_DENORMAL: return i / 32 % 2 == 0 ? value * 0x1p-130f : value * 0x1p-99f;
    case INPUT_TINY: return value * 0x1p-122f;
    default: return value * 0x1p98f;
    }
}

struct activations case_activations_like(const struct activations *x) {
    struct activations y = *x;
    size_t n = x->n_rows * x->n_groups;
    for (int p = 0; p < PLANE_COUNT; p++) {
        struct activation_plane *plane = &y.planes[p];
        plane->codes = mem_alloc_aligned(n, PANEL_GROUP);
        plane->scale = mem_alloc_aligned(n, sizeof *plane->scale);
        plane->half_sum = mem_alloc_aligned(n, 2 * sizeof *plane->half_sum);
        ASSERT(plane->codes != NULL && plane->scale != NULL && plane->half_sum != NULL);
    }
    y.scaled_sum = mem_alloc_aligned(n, sizeof *y.scaled_sum);
    y.bf16 = mem_alloc_aligned(n, PANEL_GROUP * sizeof *y.bf16);
    y.raised = mem_alloc_aligned(panel_raised_rows(x->n_rows) * x->n_groups, PANEL_GROUP * sizeof *y.raised);
    ASSERT(y.scaled_sum != NULL && y.bf16 != NULL && y.raised != NULL);
    return y;
}

struct activations case_activations_new(size_t n_rows, size_t n_cols, enum case_input kind, uint64_t seed) {
    float *numbers = mem_alloc_aligned(n_rows * n_cols, sizeof *numbers);
    ASSERT(numbers != NULL);
    for (size_t i = 0; i < n_rows * n_cols; i++) numbers[i] = random_input(kind, seed, i);
    struct activations x = {.n_rows = n_rows,
                            .n_cols = n_cols,
                            .n_groups = (n_cols + PANEL_GROUP - 1) / PANEL_GROUP,
                            .forms = FORM_INT8 | FORM_BF16,
                            .f32 = numbers};
    return case_activations_like(&x);
}

void case_activations_prepare(const struct kernel_set *set, struct activations *x) {
    x->forms |= set->quantised_form;
    for (size_t r = 0; r < x->n_rows; r++) activations_prepare_row(set, x, r);
}

void case_activations_free(struct activations *x) {
    mem_free((void *)x->f32);
    for (int p = 0; p < PLANE_COUNT; p++) {
        mem_free(x->planes[p].codes);
        mem_free(x->planes[p].scale);
        mem_free(x->planes[p].half_sum);
    }
    mem_free(x->scaled_sum);
    mem_free(x->bf16);
    mem_free(x->raised);
}
