/* Weight matrices repacked for the matrix kernels, and how activations (kernel/activations.h) meet them.
 *
 * A matrix has n_rows outputs and n_cols inputs. It is cut into *panels* of PANEL_ROWS outputs; a panel is
 * one contiguous run over the inputs in groups of PANEL_GROUP, so that a kernel streams it once. Output rows
 * past n_rows are zero weights. Each type has a panel of its own, about as large as the type is in a file;
 * panel_layout.h has the picture. Panels of F32 and F16 hold [k][row] of the element type: one vector holds
 * one input of all 16 rows. BF16 panels hold [k / 2][row][k % 2], zeros from n_cols to the end of its group.
 *
 * Quantised kernels meet int8 activations: per row and group of PANEL_GROUP inputs one f32 scale
 * (largest magnitude / 127), codes rounded to nearest even: the *coarse* plane. Groups with outliers, which
 * make most of the rounding error, have a *fine* plane too: what the coarse codes left over, in steps of
 * scale / 256 (kernel/quantize.h has the rule, docs/numerics.md what it is worth). Every kernel set forms an
 * output of a quantised panel by exactly this sequence, so that bits do not depend on how many rows are
 * computed together (scale, number, offset, minimum and their shares are those of weight_traits.h):
 *
 *   acc = 0
 *   for each group:
 *     for the coarse plane, and then for the fine plane if this row has one in this group:
 *       for each share:
 *         dot = sum over k of (number_w - offset) * code_x           (exact, int32)
 *         acc = fma((float)dot * plane_scale, w_scale[share], acc)
 *     for each share, if the type has minima:
 *       acc = fma(x_sum[share], w_minimum[share], acc)
 *
 * where w_scale and w_minimum are in f32 (factors are multiplied before they are used), and x_sum is
 * scaled_sum below for one share; for two it is coarse_scale * (float)half_sum[share] of the coarse plane, to
 * which, if this row has a fine plane in this group, the same of the fine plane is added.
 *
 * A plane whose scale is 0 adds exactly nothing, so a kernel may visit a fine plane that only a neighbour
 * has.
 *
 * That is the sequence of all sets but amx, whose tiles multiply BF16 numbers: there a group of a quantised
 * panel becomes BF16 weights, which meet BF16 inputs in tdpbf16ps' order (below). Inputs are *raised*, times
 * 2^PANEL_RAISE, because weights come low: w * 2^s is formed in f16 arithmetic, s being chosen by the
 * matrix's largest weight, and the bits of that, moved to BF16's places, mean 2^-112 of it. So
 *
 *   weight = bf16(fma_f16(number - offset, f16(scale * 2^s), f16(minimum * 2^s)))
 *   output = acc * 2^(112 - s - PANEL_RAISE)
 *
 * with acc as of a BF16 panel whose inputs are in panel_raised_place's order. bf16() rounds ties away from
 * zero and makes f16's denormal numbers zeros: those are less than 2^-29 of the bound on the largest weight.
 *
 * An output of an F32 or F16 panel is formed by acc = fma(w[k], x[k], acc) for k = 0, 1, ... in order, in
 * f32.
 *
 * BF16 panels meet activations rounded to BF16, because processors multiply such pairs faster than f32.
 * Products are exact, sums f32. How they are summed is up to the set, but never to the number of rows:
 *
 *   scalar, avx2: acc = fma(w[k + 1], x[k + 1], acc), then acc = fma(w[k], x[k], acc), for k = 0, 2, 4, ...
 *   avx512:       vdpbf16ps, which Intel defines as the same with denormal numbers taken as 0
 *   amx:          tdpbf16ps: of each group the even inputs and the odd ones are summed apart, in order, each
 *                 beginning with 0; then acc = acc + (even + odd); denormal numbers are taken as 0 */
#ifndef CABINET_KERNEL_PANEL_H
#define CABINET_KERNEL_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/float16.h"
#include "kernel/weight_type.h"

enum { PANEL_ROWS = 16, PANEL_GROUP = 32 };

struct panel_matrix {
    enum weight_type type;
    size_t n_rows, n_cols;
    size_t n_panels;
    size_t panel_bytes;
    float largest; /* of panel_matrix_measure */
    uint8_t *data; /* n_panels * panel_bytes, starts at a cache line; owned by whoever called panel_pack */
};

/* Bytes of a whole packed matrix. */
size_t panel_matrix_bytes(enum weight_type type, size_t n_rows, size_t n_cols);

/* Describes a matrix whose packed bytes will lie at `data`: panel_matrix_bytes or more, aligned to a line.
 * n_cols is a multiple of the type's group. */
void panel_matrix_init(struct panel_matrix *matrix, enum weight_type type, size_t n_rows, size_t n_cols,
                       void *data);
/* Repacks panels [begin, end) from the file's row-major bytes. Different ranges may run on different threads.
 */
void panel_pack(struct panel_matrix *matrix, const void *source, size_t begin, size_t end);
/* What panel_pack makes of one panel, to `panel` (panel_bytes of zeros or of another panel of this matrix).
 */
void panel_pack_one(const struct panel_matrix *matrix, const void *source, size_t index, uint8_t *panel);

/* Sets `largest` of a packed matrix: a bound on the magnitude of its weights, infinite or NaN if one of them
 * may be; 0 of a float type, which nobody needs. Reads all panels' scales. */
void panel_matrix_measure(struct panel_matrix *matrix);

#endif
