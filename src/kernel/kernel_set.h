/* A kernel set: the inner loops for one instruction set, over raw pointers, single-threaded, without memory
 * of their own. kernel/matmul.h and kernel/attention.h spread them over a team.
 *
 * Within one set a row's result never depends on which rows are computed beside it. Sets may differ in how
 * they round, as kernel/panel.h says, never in integer results: tests/kernel holds all against scalar's. */
#ifndef CABINET_KERNEL_KERNEL_SET_H
#define CABINET_KERNEL_KERNEL_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/activations.h"
#include "kernel/attention_tile.h"

/* out[r][o] for o in panels [panel_begin, panel_end) and r in rows [row_begin, row_end) of x.
 * out is (x->n_rows, out_stride) f32; writes only o < n_rows of the matrix. */
typedef void matmul_function(const struct panel_matrix *w, size_t panel_begin, size_t panel_end,
                             const struct activations *x, size_t row_begin, size_t row_end, float *out,
                             size_t out_stride);
typedef void store_function(void *area, unsigned slot, unsigned n_slots, const float *rows, size_t stride,
                            unsigned head_dim);
typedef void convert_function(const struct codec *to, void *to_area, const struct codec *from,
                              const void *from_area, unsigned head_dim);

struct kernel_set {
    const char *name;
    bool (*is_supported)(void); /* by this processor */

    /* Quantises one row of n_cols numbers into row `row` of x (both planes and scaled_sum). */
    void (*quantize_row)(struct activations *x, size_t row);
    /* Rounds one row of n_cols numbers into row `row` of x->bf16 (kernel/quantize.h). */
    void (*round_row)(struct activations *x, size_t row);
    /* The form that quantised weights meet: FORM_INT8 or FORM_RAISED; for the latter what fills x->raised as
     * round_row does x->bf16, otherwise NULL. */
    unsigned quantised_form;
    void (*raise_row)(struct activations *x, size_t row);
    matmul_function *matmul[WEIGHT_TYPE_END]; /* of every type that runs */

    /* Where not NULL, what a thread calls before and after its tiles, all of that head size. */
    void (*attend_begin)(unsigned head_dim);
    void (*attend_end)(void);
    /* Fills rows->codes from rows->q. */
    void (*attend_prepare)(struct attention_rows *rows);
    /* Adds a tile to the rows' running softmax. Rows that see no key of it are left as they are, bit for bit.
     * Slots outside of smallest begin to largest end may hold anything: whole blocks outside are not touched
     * (their addresses may be NULL), V rows not multiplied, K lanes dropped. */
    void (*attend_tile)(struct attention_rows *rows, const struct attention_tile *tile);
    /* Adds the partial result `part` (of later keys) to `rows`: log-sum-exp merge. Rows with part->sum == 0
     * are left as they are, bit for bit. */
    void (*attend_merge)(struct attention_rows *rows, const struct attention_rows *part);

    /* As the codec's encode_k and encode_v, bit for bit, of rows (n_slots, head_dim), `stride` numbers from
     * one to the next, into slots slot .. slot + n_slots - 1; NULL of block codecs. */
    store_function *store_k[CODEC_COUNT], *store_v[CODEC_COUNT];
    /* Stores a head's area of a block that is full in another form (codec_convert_k, codec_convert_v). */
    convert_function *convert_k, *convert_v;

    /* Walsh-Hadamard transform of x[n], of orthonormal blocks of the largest power of two that divides n, at
     * most 512: its own inverse. The same bits in every set. */
    void (*rotate)(float *x, unsigned n);

    /* RoPE of n_heads heads of head_dim numbers each, in place: of a head's leading n_dims numbers pair i,
     * 2i and 2i + 1 where is_interleaved, else i and i + n_dims / 2, goes from (a, b) to (a c - b s,
     * a s + b c) with c = table[2i], s = table[2i + 1]. The same bits in every set. */
    void (*rope)(float *heads, unsigned n_heads, unsigned head_dim, const float *table, unsigned n_dims,
                 bool is_interleaved);

    /* out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]; out may be x. */
    void (*rmsnorm)(float *out, const float *x, const float *weight, size_t n, float epsilon);
    /* out[i] = silu(gate[i]) * up[i]; out may be gate. */
    void (*silu_mul)(float *out, const float *gate, const float *up, size_t n);
    /* The same with the tanh form of GELU (Hendrycks and Gimpel 2016):
     * gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
    void (*gelu_mul)(float *out, const float *gate, const float *up, size_t n);
    /* x[i] = cap * tanh(x[i] / cap) */
    void (*softcap)(float *x, size_t n, float cap);
    /* x[i] += y[i] */
    void (*add)(float *x, const float *y, size_t n);
    /* Where the largest of x[n] is, the first of equal ones; NaN is below all numbers. n is at least 1. */
    size_t (*largest)(const float *x, size_t n);
    /* out[i] = e^t with t = (x[i] - max) / temperature, 0 where t is below -87 or NaN; returns the sum. No
     * x[i] is above max. out may be x. */
    double (*soften)(float *out, const float *x, size_t n, float max, float temperature);
};

extern const struct kernel_set kernel_set_scalar;
#if defined(__x86_64__)
extern const struct kernel_set kernel_set_avx2, kernel_set_avx512, kernel_set_amx;
#elif defined(__aarch64__)
extern const struct kernel_set kernel_set_neon;
#endif

/* The best set of this processor, or the one named ("scalar", "avx2", "avx512", "amx", "neon"); NULL with the
 * error set if it does not exist or cannot run here. `name` may be NULL. */
const struct kernel_set *kernel_set_get(const char *name);
/* The sets in this binary, best first; NULL-terminated. Some may not be supported by the processor. */
const struct kernel_set *const *kernel_set_all(void);

#endif
