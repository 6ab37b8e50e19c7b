/* How a kernel set is put together from its functions, whose names end in the set's name: so that each set is
 * one line, and a new codec or weight type reaches all of them. A set's files define KERNEL_SET as its name
 * before they include this. */
#ifndef CABINET_KERNEL_KERNEL_SET_DEFINE_H
#define CABINET_KERNEL_KERNEL_SET_DEFINE_H

#include "kernel/kernel_set.h"

#define KERNEL_SET_JOIN_NAMES(function, set) function##_##set
#define KERNEL_SET_JOIN(function, set) KERNEL_SET_JOIN_NAMES(function, set)
/* `function` with the set's name at its end */
#define KERNEL_SET_NAME(function) KERNEL_SET_JOIN(function, KERNEL_SET)
#define KERNEL_SET_STRING(set) KERNEL_SET_STRING_OF(set)
#define KERNEL_SET_STRING_OF(set) #set

#define KERNEL_SET_MATMUL_ENTRY(type, number, elements, bytes)                                               \
    [WEIGHT_##type] = KERNEL_SET_NAME(matmul_##type),
#define KERNEL_SET_CODEC_ENTRY_STORE_K(codec) [CODEC_##codec] = KERNEL_SET_NAME(store_k_##codec),
#define KERNEL_SET_CODEC_ENTRY_STORE_V(codec) [CODEC_##codec] = KERNEL_SET_NAME(store_v_##codec),

#define KERNEL_SET_DEFINE                                                                                    \
    KERNEL_SET_DEFINE_AS(KERNEL_SET, KERNEL_SET_MATMUL_ENTRY, KERNEL_SET_NAME(matmul_BF16),                  \
                         .quantised_form = FORM_INT8, .attend_tile = KERNEL_SET_NAME(attend_tile))
/* A set of another name that has KERNEL_SET's functions but for the products with quantised and BF16 weights,
 * and with the members of quantised weights' form and of tiles of attention. */
#define KERNEL_SET_DEFINE_AS(set, quantised_entry, matmul_of_bf16, ...)                                      \
    const struct kernel_set KERNEL_SET_JOIN(kernel_set, set) = {                                             \
        .name = KERNEL_SET_STRING(set),                                                                      \
        .is_supported = is_supported,                                                                        \
        .quantize_row = KERNEL_SET_NAME(quantize_row),                                                       \
        .round_row = KERNEL_SET_NAME(round_row),                                                             \
        .matmul = {WEIGHT_FLOAT_LIST(KERNEL_SET_MATMUL_ENTRY)                                                \
                       WEIGHT_QUANTISED_LIST(quantised_entry)[WEIGHT_BF16] = matmul_of_bf16},                \
        .attend_prepare = KERNEL_SET_NAME(attend_prepare),                                                   \
        .attend_merge = KERNEL_SET_NAME(attend_merge),                                                       \
        .store_k = {CODEC_ROW_LIST(KERNEL_SET_CODEC_ENTRY_STORE_K)},                                         \
        .store_v = {CODEC_ROW_LIST(KERNEL_SET_CODEC_ENTRY_STORE_V)},                                         \
        .convert_k = codec_convert_k,                                                                        \
        .convert_v = codec_convert_v,                                                                        \
        .rotate = KERNEL_SET_NAME(rotate),                                                                   \
        .rope = KERNEL_SET_NAME(rope),                                                                       \
        .rmsnorm = KERNEL_SET_NAME(rmsnorm),                                                                 \
        .silu_mul = KERNEL_SET_NAME(silu_mul),                                                               \
        .gelu_mul = KERNEL_SET_NAME(gelu_mul),                                                               \
        .softcap = KERNEL_SET_NAME(softcap),                                                                 \
        .add = KERNEL_SET_NAME(add),                                                                         \
        .largest = KERNEL_SET_NAME(largest),                                                                 \
        .soften = KERNEL_SET_NAME(soften),                                                                   \
        __VA_ARGS__}

/* A set's matmul_function for a type, as WEIGHT_QUANTISED_LIST(KERNEL_SET_DEFINE_MATMUL) makes them: they
 * call the file's inline function matmul_panels, which takes the type (a constant) as first argument. */
#define KERNEL_SET_DEFINE_MATMUL(type, number, elements, bytes)                                              \
    void KERNEL_SET_NAME(matmul_##type)(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,  \
                                        const struct activations *x, size_t row_begin, size_t row_end,       \
                                        float *out, size_t out_stride) {                                     \
        matmul_panels(WEIGHT_##type, w, panel_begin, panel_end, x, row_begin, row_end, out, out_stride);     \
    }

/* The declarations that a set's header needs for its matrix and vector functions. */
#define KERNEL_SET_DECLARE_MATMUL(type, number, elements, bytes)                                             \
    matmul_function KERNEL_SET_NAME(matmul_##type);
#define KERNEL_SET_DECLARE                                                                                   \
    WEIGHT_TYPE_LIST(KERNEL_SET_DECLARE_MATMUL)                                                              \
    void KERNEL_SET_NAME(quantize_row)(struct activations * x, size_t row);                                  \
    void KERNEL_SET_NAME(round_row)(struct activations * x, size_t row);                                     \
    void KERNEL_SET_NAME(rmsnorm)(float *out, const float *x, const float *weight, size_t n, float epsilon); \
    void KERNEL_SET_NAME(silu_mul)(float *out, const float *gate, const float *up, size_t n);                \
    void KERNEL_SET_NAME(gelu_mul)(float *out, const float *gate, const float *up, size_t n);                \
    void KERNEL_SET_NAME(softcap)(float *x, size_t n, float cap);                                            \
    void KERNEL_SET_NAME(add)(float *x, const float *y, size_t n);                                           \
    size_t KERNEL_SET_NAME(largest)(const float *x, size_t n);                                               \
    double KERNEL_SET_NAME(soften)(float *out, const float *x, size_t n, float max, float temperature)

/* Those that its attention header needs. */
#define KERNEL_SET_DECLARE_STORE(codec)                                                                      \
    store_function KERNEL_SET_NAME(store_k_##codec), KERNEL_SET_NAME(store_v_##codec);
#define KERNEL_SET_DECLARE_ATTENTION                                                                         \
    CODEC_ROW_LIST(KERNEL_SET_DECLARE_STORE)                                                                 \
    void KERNEL_SET_NAME(attend_prepare)(struct attention_rows * rows);                                      \
    void KERNEL_SET_NAME(attend_tile)(struct attention_rows * rows, const struct attention_tile *tile);      \
    void KERNEL_SET_NAME(attend_merge)(struct attention_rows * rows, const struct attention_rows *part);     \
    void KERNEL_SET_NAME(rotate)(float *x, unsigned n);                                                      \
    void KERNEL_SET_NAME(rope)(float *heads, unsigned n_heads, unsigned head_dim, const float *table,        \
                               unsigned n_dims, bool is_interleaved)

#endif
