/* Weight matrices repacked for the matrix kernels, and the activations they meet.
 *
 * A matrix has n_rows outputs and n_cols inputs. It is cut into *panels* of PANEL_ROWS outputs; a panel is
 * one contiguous run over the inputs in groups of PANEL_GROUP, so that a kernel streams it once. Output rows
 * past n_rows are zero weights. Inside a group of a quantised panel (all little-endian, no padding between):
 *
 *   PANEL_Q4_0   f16 scale[16]                          nibbles[256]     w = scale * (code - 8)
 *   PANEL_Q4_1   f16 scale[16]      f16 minimum[16]     nibbles[256]     w = scale * code + minimum
 *   PANEL_Q4_K   f32 scale[16]      f32 minimum[16]     nibbles[256]     w = scale * code + minimum
 *   PANEL_Q8     f16 scale[16]                          codes[512]       w = scale * (code - 128)
 *   PANEL_Q6_K   f32 scale[2][16]                       codes[512]       w = scale[k / 16] * (code - 128)
 *
 *   codes:   [k / 4][row][k % 4] u8: one 64-byte line holds four inputs of all 16 rows, as VNNI's dot
 *            products want them
 *   nibbles: [j][row][k % 4] u8 with j = 0..3: the low nibble belongs to input 4j + k%4, the high nibble to
 *            input 16 + 4j + k%4
 *
 * Float panels hold [k][row] of the element type: one vector holds one input of all 16 rows.
 *
 * Quantised kernels meet int8 activations: per row and group of PANEL_GROUP inputs one f32 scale
 * (largest magnitude / 127), codes rounded to nearest even: the *coarse* plane. Groups with outliers, which
 * make most of the rounding error, have a *fine* plane too: what the coarse codes left over, in steps of
 * scale / 256 (kernel/quantize.h has the rule, docs/numerics.md what it is worth). Every kernel set forms an
 * output of a quantised panel by exactly this sequence, so that bits do not depend on how many rows are
 * computed together:
 *
 *   acc = 0
 *   for each group:
 *     for the coarse plane, and then for the fine plane if this row has one in this group:
 *       dot = sum over k of code_w * code_x              (exact, int32; offset 8 or 128 already removed)
 *       acc = fma((float)dot * plane_scale, w_scale, acc)
 *       (PANEL_Q6_K: the two halves of 16 inputs one after the other, each with its own dot and w_scale)
 *     acc = fma(x_scaled_sum, w_minimum, acc)            (only formats with a minimum)
 *
 * A plane whose scale is 0 adds exactly nothing, so a kernel may visit a fine plane that only a neighbour
 * has.
 *
 * and of a float panel by acc = fma(w[k], x[k], acc) for k = 0, 1, ... in order, in f32. */
#ifndef CABINET_KERNEL_PANEL_H
#define CABINET_KERNEL_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/weight_type.h"

enum { PANEL_ROWS = 16, PANEL_GROUP = 32 };

enum panel_format {
    PANEL_Q4_0,
    PANEL_Q4_1,
    PANEL_Q4_K,
    PANEL_Q8,
    PANEL_Q6_K,
    PANEL_F32,
    PANEL_F16,
    PANEL_BF16,
    PANEL_FORMAT_COUNT
};

struct panel_matrix {
    enum panel_format format;
    size_t n_rows, n_cols;
    size_t n_panels;
    size_t panel_bytes;
    uint8_t *data; /* n_panels * panel_bytes, starts at a cache line; owned by whoever called panel_pack */
};

/* The panel format that a weight type is repacked into (Q5_0 becomes PANEL_Q8). */
enum panel_format panel_format_of(enum weight_type type);
bool panel_is_quantised(enum panel_format format);
/* Bytes of a whole packed matrix. */
size_t panel_matrix_bytes(enum panel_format format, size_t n_rows, size_t n_cols);

/* Describes a matrix whose packed bytes will lie at `data`: panel_matrix_bytes or more, aligned to a line. */
void panel_matrix_init(struct panel_matrix *matrix, enum weight_type type, size_t n_rows, size_t n_cols,
                       void *data);
/* Repacks panels [begin, end) from the file's row-major bytes. Different ranges may run on different threads.
 * n_cols is a multiple of the type's group. */
void panel_pack(struct panel_matrix *matrix, enum weight_type type, const void *source, size_t begin,
                size_t end);

struct activation_plane {
    int8_t *codes;     /* (n_rows, n_groups * PANEL_GROUP), zero past n_cols */
    float *scale;      /* (n_rows, n_groups); in the fine plane 0 where a row has none, whatever the codes */
    int32_t *half_sum; /* (n_rows, n_groups, 2) sums of the codes of inputs 0..15 and 16..31 */
};

enum { PLANE_COARSE, PLANE_FINE, PLANE_COUNT };
/* Input rows of a matrix product: always f32, and int8 when a quantised panel will meet them. Memory
 * of the planes begins as zeros. */
struct activations {
    size_t n_rows, n_cols, n_groups; /* n_groups = ceil(n_cols / PANEL_GROUP) */
    const float *f32;                /* (n_rows, n_cols) */
    struct activation_plane planes[PLANE_COUNT];
    float *scaled_sum; /* (n_rows, n_groups) scale * sum of codes, planes added up */
};

#endif
