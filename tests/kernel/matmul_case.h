/* Random weights and activations for the tests and the benchmark of the matrix kernels. */
#ifndef CABINET_TESTS_MATMUL_CASE_H
#define CABINET_TESTS_MATMUL_CASE_H

#include "kernel/matmul.h"

extern const enum weight_type case_types[];
extern const size_t n_case_types;

/* A matrix of one type: as in a file, packed, and (if wanted) as numbers. */
struct case_matrix {
    enum weight_type type;
    struct panel_matrix packed;
    uint8_t *source;
    float *numbers; /* (n_rows, n_cols) */
};
struct case_matrix case_matrix_new(enum weight_type type, size_t n_rows, size_t n_cols, uint64_t seed);
void case_matrix_free(struct case_matrix *matrix);
/* A quantised weight as sets of FORM_RAISED multiply it, by the formula of kernel/panel.h, and its s. */
double case_matrix_bf16_weight(const struct case_matrix *m, size_t output, size_t k);
int case_matrix_exponent(const struct case_matrix *m);

/* What kind of numbers the input rows hold. */
enum case_input {
    INPUT_NORMAL,
    INPUT_OUTLIER,
    INPUT_ZERO,
    INPUT_DENORMAL,
    INPUT_TINY, /* normal numbers, whose products with weights are not */
    INPUT_HUGE,
    INPUT_COUNT
};
struct activations case_activations_new(size_t n_rows, size_t n_cols, enum case_input kind, uint64_t seed);
void case_activations_free(struct activations *x);
/* A copy whose forms are yet to be prepared and share nothing with x's; the f32 rows are shared. */
struct activations case_activations_like(const struct activations *x);
/* Prepares all rows, in the set's form for quantised weights too. */
void case_activations_prepare(const struct kernel_set *set, struct activations *x);

/* Arguments: threads (default: cores), then a kernel set or "model" to leave the rest out. */
int bench_matmul(int argc, char **argv);

#endif
