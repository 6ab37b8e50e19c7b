/* How a kernel set is put together from its functions, whose names end in the set's name: so that each set is
 * one line, and a new codec or panel format reaches all of them. Only the kernel_set_<set>.c files need this.
 */
#ifndef CABINET_KERNEL_KERNEL_SET_DEFINE_H
#define CABINET_KERNEL_KERNEL_SET_DEFINE_H

#include "kernel/kernel_set.h"

#define KERNEL_SET_DEFINE(set)                                                                               \
    const struct kernel_set kernel_set_##set = {                                                             \
        .name = #set,                                                                                        \
        .is_supported = is_supported,                                                                        \
        .quantize_row = quantize_row_##set,                                                                  \
        .matmul = {[PANEL_Q4_0] = matmul_q4_0_##set,                                                         \
                   [PANEL_Q4_1] = matmul_q4_1_##set,                                                         \
                   [PANEL_Q4_K] = matmul_q4_k_##set,                                                         \
                   [PANEL_Q8] = matmul_q8_##set,                                                             \
                   [PANEL_Q6_K] = matmul_q6_k_##set,                                                         \
                   [PANEL_F32] = matmul_f32_##set,                                                           \
                   [PANEL_F16] = matmul_f16_##set,                                                           \
                   [PANEL_BF16] = matmul_bf16_##set},                                                        \
        .attend_tile = {[CODEC_f32] = attend_tile_f32_##set,                                                 \
                        [CODEC_f16] = attend_tile_f16_##set,                                                 \
                        [CODEC_bf16] = attend_tile_bf16_##set},                                              \
        .attend_merge = attend_merge_##set,                                                                  \
        .store_k = {[CODEC_f32] = store_k_f32_##set,                                                         \
                    [CODEC_f16] = store_k_f16_##set,                                                         \
                    [CODEC_bf16] = store_k_bf16_##set},                                                      \
        .store_v = {[CODEC_f32] = store_v_f32_##set,                                                         \
                    [CODEC_f16] = store_v_f16_##set,                                                         \
                    [CODEC_bf16] = store_v_bf16_##set},                                                      \
        .rmsnorm = rmsnorm_##set,                                                                            \
        .silu_mul = silu_mul_##set,                                                                          \
        .gelu_mul = gelu_mul_##set,                                                                          \
        .softcap = softcap_##set,                                                                            \
        .add = add_##set,                                                                                    \
    }

/* The functions of a set, from one inline function that takes the format (a constant) as first argument. */
#define KERNEL_SET_DEFINE_MATMUL_QUANTISED(set, function)                                                    \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_q4_0_##set, function, PANEL_Q4_0)                                 \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_q4_1_##set, function, PANEL_Q4_1)                                 \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_q4_k_##set, function, PANEL_Q4_K)                                 \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_q8_##set, function, PANEL_Q8)                                     \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_q6_k_##set, function, PANEL_Q6_K)
#define KERNEL_SET_DEFINE_MATMUL_FLOAT(set, function)                                                        \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_f32_##set, function, PANEL_F32)                                   \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_f16_##set, function, PANEL_F16)                                   \
    KERNEL_SET_DEFINE_MATMUL_FORMAT(matmul_bf16_##set, function, PANEL_BF16)
#define KERNEL_SET_DEFINE_MATMUL_FORMAT(name, function, format)                                              \
    void name(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,                            \
              const struct activations *x, size_t row_begin, size_t row_end, float *out,                     \
              size_t out_stride) {                                                                           \
        function(format, w, panel_begin, panel_end, x, row_begin, row_end, out, out_stride);                 \
    }

/* The declarations that a set's header needs for its matrix and vector functions. */
#define KERNEL_SET_DECLARE_MATMUL(set)                                                                       \
    matmul_function matmul_q4_0_##set, matmul_q4_1_##set, matmul_q4_k_##set, matmul_q8_##set,                \
        matmul_q6_k_##set, matmul_f32_##set, matmul_f16_##set, matmul_bf16_##set
#define KERNEL_SET_DECLARE_VECTOR(set)                                                                       \
    void quantize_row_##set(struct activations *x, size_t row);                                              \
    void rmsnorm_##set(float *out, const float *x, const float *weight, size_t n, float epsilon);            \
    void silu_mul_##set(float *out, const float *gate, const float *up, size_t n);                           \
    void gelu_mul_##set(float *out, const float *gate, const float *up, size_t n);                           \
    void softcap_##set(float *x, size_t n, float cap);                                                       \
    void add_##set(float *x, const float *y, size_t n)

#endif
