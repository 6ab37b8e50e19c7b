/* Products with float weights: f32 arithmetic, one input after the other, or BF16 with two inputs at once;
 * tiles of up to 12 rows x 2 panels, and for one row alone four panels, because memory is the limit and more
 * streams hide more of its latency. */
#include "kernel/x86/matmul_avx512.h"
#include "kernel/x86/panel_avx512.h"

enum { TILE_ROWS = 12, STREAM_PANELS = 4, PREFETCH_BYTES = 1024 };

PANEL_INLINE __m512 load_weights(enum weight_type type, const uint8_t *weights) {
    switch (type) {
    case WEIGHT_F32: return _mm512_loadu_ps(weights);
    case WEIGHT_F16: return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)weights));
    default: return _mm512_loadu_ps(weights); /* pairs */
    }
}

/* The inputs of a row in steps of 32 bits: one f32, or two BF16; so is a lane of the weights' lines. */
struct inputs {
    const float *from;
    size_t n_steps, stride, line_bytes;
};

PANEL_INLINE struct inputs inputs_of(enum weight_type type, const struct activations *x, size_t row) {
    if (type != WEIGHT_BF16) {
        size_t line_bytes = PANEL_ROWS * panel_element_bytes(type);
        return (struct inputs){x->f32 + row * x->n_cols, x->n_cols, x->n_cols, line_bytes};
    }
    const size_t n = x->n_groups * PANEL_PAIRS;
    return (struct inputs){(const float *)(const void *)x->bf16 + row * n, n, n,
                           PANEL_ROWS * PANEL_PAIR_BYTES};
}

PANEL_INLINE __m512 multiply_add(enum weight_type type, __m512 weights, __m512 input, __m512 acc) {
    if (type == WEIGHT_BF16) return _mm512_dpbf16_ps(acc, (__m512bh)weights, (__m512bh)input);
    return _mm512_fmadd_ps(weights, input, acc);
}

PANEL_INLINE void tile(enum weight_type type, unsigned n_rows, const uint8_t *a, const uint8_t *b,
                       const struct activations *x, size_t row, __m512 acc[TILE_ROWS][2]) {
    const struct inputs in = inputs_of(type, x, row);
#pragma GCC unroll 12
    for (unsigned r = 0; r < n_rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < in.n_steps; k++, a += in.line_bytes, b += in.line_bytes) {
        _mm_prefetch((const char *)a + PREFETCH_BYTES, _MM_HINT_T0);
        _mm_prefetch((const char *)b + PREFETCH_BYTES, _MM_HINT_T0);
        __m512 weights_a = load_weights(type, a), weights_b = load_weights(type, b);
#pragma GCC unroll 12
        for (unsigned r = 0; r < n_rows; r++) {
            __m512 input = _mm512_set1_ps(in.from[r * in.stride + k]);
            acc[r][0] = multiply_add(type, weights_a, input, acc[r][0]);
            acc[r][1] = multiply_add(type, weights_b, input, acc[r][1]);
        }
    }
}

PANEL_INLINE void tile_pair(enum weight_type type, unsigned n_rows, const struct panel_matrix *w,
                            size_t panel, bool has_other, const struct activations *x, size_t row, float *out,
                            size_t out_stride) {
    const uint8_t *a = w->data + panel * w->panel_bytes;
    __m512 acc[TILE_ROWS][2];
    tile(type, n_rows, a, has_other ? a + w->panel_bytes : a, x, row, acc);
#pragma GCC unroll 12
    for (unsigned r = 0; r < n_rows; r++) {
        float *to = out + (row + r) * out_stride + panel * PANEL_ROWS;
        _mm512_mask_storeu_ps(to, panel_lanes(w, panel), acc[r][0]);
        if (has_other) _mm512_mask_storeu_ps(to + PANEL_ROWS, panel_lanes(w, panel + 1), acc[r][1]);
    }
}

/* One row and STREAM_PANELS panels, which all exist. */
PANEL_INLINE void stream_panels(enum weight_type type, const struct panel_matrix *w, size_t panel,
                                const struct activations *x, size_t row, float *out) {
    const struct inputs in = inputs_of(type, x, row);
    const uint8_t *weights = w->data + panel * w->panel_bytes;
    __m512 acc[STREAM_PANELS];
#pragma GCC unroll 4
    for (size_t i = 0; i < STREAM_PANELS; i++) acc[i] = _mm512_setzero_ps();
    for (size_t k = 0; k < in.n_steps; k++, weights += in.line_bytes) {
        __m512 input = _mm512_set1_ps(in.from[k]);
        /* past a panel's end: the beginning of the panel that its place in the loop takes next */
        bool is_near_end = (k + 1) * in.line_bytes + PREFETCH_BYTES > w->panel_bytes;
        size_t ahead = PREFETCH_BYTES + (is_near_end ? (STREAM_PANELS - 1) * w->panel_bytes : 0);
#pragma GCC unroll 4
        for (size_t i = 0; i < STREAM_PANELS; i++) {
            const uint8_t *of_panel = weights + i * w->panel_bytes;
            _mm_prefetch((const char *)of_panel + ahead, _MM_HINT_T0);
            acc[i] = multiply_add(type, load_weights(type, of_panel), input, acc[i]);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < STREAM_PANELS; i++)
        _mm512_mask_storeu_ps(out + (panel + i) * PANEL_ROWS, panel_lanes(w, panel + i), acc[i]);
}

PANEL_INLINE void matmul_panels(enum weight_type type, const struct panel_matrix *w, size_t begin, size_t end,
                                const struct activations *x, size_t row_begin, size_t row_end, float *out,
                                size_t out_stride) {
    const size_t n_rows = row_end - row_begin, n_tiles = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    for (; n_rows == 1 && begin + STREAM_PANELS <= end; begin += STREAM_PANELS)
        stream_panels(type, w, begin, x, row_begin, out + row_begin * out_stride);
    for (size_t p = begin; p < end; p += 2)
        for (size_t t = 0; t < n_tiles; t++) {
            size_t row = row_begin + n_rows * t / n_tiles, row_after = row_begin + n_rows * (t + 1) / n_tiles;
            /* clang-format off */
            switch (row_after - row) {
#define X(n) case n: tile_pair(type, n, w, p, p + 1 < end, x, row, out, out_stride); break;
                X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#undef X
            default: __builtin_unreachable();
            }
            /* clang-format on */
        }
}

WEIGHT_FLOAT_LIST(KERNEL_SET_DEFINE_MATMUL)
WEIGHT_BF16_LIST(KERNEL_SET_DEFINE_MATMUL)
