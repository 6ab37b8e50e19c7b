#include "kernel/panel.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "kernel/panel_layout.h"
#include "kernel/weight_run.h"

static size_t bytes_of_panel(enum weight_type type, size_t n_cols) {
    if (type == WEIGHT_BF16)
        return (n_cols + PANEL_GROUP - 1) / PANEL_GROUP * PANEL_PAIRS * PANEL_ROWS * PANEL_PAIR_BYTES;
    if (!weight_is_quantised(type)) return n_cols * PANEL_ROWS * panel_element_bytes(type);
    size_t n_groups = n_cols / PANEL_GROUP;
    return n_groups * panel_group_bytes(type) + n_groups / PANEL_FACTOR_GROUPS * panel_common_bytes(type);
}

static size_t count_panels(size_t n_rows) { return (n_rows + PANEL_ROWS - 1) / PANEL_ROWS; }

size_t panel_matrix_bytes(enum weight_type type, size_t n_rows, size_t n_cols) {
    return count_panels(n_rows) * bytes_of_panel(type, n_cols);
}

void panel_matrix_init(struct panel_matrix *matrix, enum weight_type type, size_t n_rows, size_t n_cols,
                       void *data) {
    ASSERT(n_cols % weight_format_get(type)->group_elements == 0);
    *matrix = (struct panel_matrix){
        .type = type,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .n_panels = count_panels(n_rows),
        .panel_bytes = bytes_of_panel(type, n_cols),
        .data = data,
    };
}

/* Writes `bits` of a run's codes, from bit `from` on, as one row's part of a plane. */
PANEL_INLINE void pack_plane(uint8_t *plane, size_t row, const uint8_t code[WEIGHT_RUN], unsigned from,
                             unsigned bits) {
    /* four bytes at a time, one for each input of a code line */
    const uint32_t mask = 0x01010101u * ((1u << bits) - 1);
    uint32_t packed[PANEL_LINES] = {0};
    for (unsigned i = 0; i < PANEL_LINES; i++) {
        uint32_t line;
        memcpy(&line, code + 4 * i, sizeof line);
        packed[i % bits] |= (line >> from & mask) << i / bits * bits;
    }
    for (size_t i = 0; i < bits; i++) memcpy(plane + (i * PANEL_ROWS + row) * 4, &packed[i], 4);
}

PANEL_INLINE void pack_scales(enum weight_type type, uint8_t *group, size_t row,
                              const struct weight_run *run) {
    const struct weight_traits traits = weight_traits_of(type);
    uint8_t *minima = group + panel_minima_at(type);
    if (traits.scale == SCALE_F16) {
        memcpy(group + row * 2, &run->scale, 2);
        if (traits.has_minimum) memcpy(minima + row * 2, &run->minimum, 2);
        return;
    }
    for (size_t i = 0; i < traits.n_shares; i++) {
        uint8_t *scale = group + i * PANEL_ROWS + row;
        if (traits.scale == SCALE_E8M0)
            *scale = (uint8_t)run->scale;
        else if (traits.scale == SCALE_NIBBLE_FACTORS)
            *scale = (uint8_t)(run->scale_factor[i] | run->minimum_factor[i] << 4);
        else
            *scale = (uint8_t)run->scale_factor[i];
        if (traits.has_minimum && traits.scale == SCALE_FACTORS)
            minima[i * PANEL_ROWS + row] = (uint8_t)run->minimum_factor[i];
    }
}

PANEL_INLINE void pack_common(enum weight_type type, uint8_t *common, size_t row,
                              const struct weight_run *run) {
    memcpy(common + row * 2, &run->scale, 2);
    if (weight_traits_of(type).has_minimum) memcpy(common + (PANEL_ROWS + row) * 2, &run->minimum, 2);
}

/* One panel of a quantised type, from its first output's bytes; n_rows of its outputs exist. */
PANEL_INLINE void pack_quantised(enum weight_type type, uint8_t *panel, const uint8_t *source, size_t n_rows,
                                 size_t n_cols) {
    const struct weight_traits traits = weight_traits_of(type);
    const size_t row_bytes = weight_bytes(weight_format_get(type), n_cols);
    if (n_rows < PANEL_ROWS) memset(panel, 0, bytes_of_panel(type, n_cols));
    for (size_t g = 0; g < n_cols / PANEL_GROUP; g++)
        for (size_t row = 0; row < n_rows; row++) {
            uint8_t *group = panel + panel_group_at(type, g);
            struct weight_run run;
            weight_unpack_run(type, &run, source + row * row_bytes, g);
            if (panel_has_factors(type)) pack_common(type, panel + panel_common_at(type, g), row, &run);
            pack_scales(type, group, row, &run);
            pack_plane(group + panel_low_at(type), row, run.code, 0, traits.low_bits);
            if (traits.high_bits != 0)
                pack_plane(group + panel_high_at(type), row, run.code, traits.low_bits, traits.high_bits);
        }
}

PANEL_INLINE void pack_float(size_t element, uint8_t *panel, const uint8_t *source, size_t n_rows,
                             size_t n_cols) {
    if (n_rows < PANEL_ROWS) memset(panel, 0, n_cols * PANEL_ROWS * element);
    for (size_t k = 0; k < n_cols; k++)
        for (size_t row = 0; row < n_rows; row++)
            memcpy(panel + (k * PANEL_ROWS + row) * element, source + (row * n_cols + k) * element, element);
}

static void pack_bf16(uint8_t *panel, const uint8_t *source, size_t n_rows, size_t n_cols) {
    if (n_rows < PANEL_ROWS || n_cols % PANEL_GROUP != 0)
        memset(panel, 0, bytes_of_panel(WEIGHT_BF16, n_cols));
    for (size_t k = 0; k < n_cols; k += 2)
        for (size_t row = 0; row < n_rows; row++)
            memcpy(panel + (k / 2 * PANEL_ROWS + row) * PANEL_PAIR_BYTES,
                   source + (row * n_cols + k) * sizeof(bf16_bits),
                   k + 1 < n_cols ? PANEL_PAIR_BYTES : sizeof(bf16_bits));
}

/* Packs one panel of any type. */
static void pack_panel(enum weight_type type, uint8_t *panel, const uint8_t *rows, size_t n_rows,
                       size_t n_cols) {
    switch (type) {
#define X(name, number, elements, bytes)                                                                     \
    case WEIGHT_##name: pack_quantised(WEIGHT_##name, panel, rows, n_rows, n_cols); break;
        WEIGHT_QUANTISED_LIST(X)
#undef X
    case WEIGHT_F32: pack_float(4, panel, rows, n_rows, n_cols); break;
    case WEIGHT_BF16: pack_bf16(panel, rows, n_rows, n_cols); break;
    default: pack_float(2, panel, rows, n_rows, n_cols);
    }
}

void panel_pack_one(const struct panel_matrix *matrix, const void *source, size_t index, uint8_t *panel) {
    size_t row_bytes = weight_bytes(weight_format_get(matrix->type), matrix->n_cols);
    size_t first = index * PANEL_ROWS, left = matrix->n_rows - first;
    ASSERT(index < matrix->n_panels);
    pack_panel(matrix->type, panel, (const uint8_t *)source + first * row_bytes,
               left < PANEL_ROWS ? left : PANEL_ROWS, matrix->n_cols);
}

void panel_pack(struct panel_matrix *matrix, const void *source, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++)
        panel_pack_one(matrix, source, i, matrix->data + i * matrix->panel_bytes);
}

/* ---- the largest weight ---- */

/* The largest of n f16 magnitudes, as bits. */
static unsigned largest_f16(const uint8_t *numbers, size_t n, unsigned largest) {
    for (size_t i = 0; i < n; i++) {
        f16_bits bits;
        memcpy(&bits, numbers + i * sizeof bits, sizeof bits);
        unsigned magnitude = bits & 0x7fffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

/* A bound on one panel's weights: the largest scale with the largest factor and number, and the largest
 * minimum. */
PANEL_INLINE float panel_bound(enum weight_type type, const uint8_t *panel, size_t n_groups) {
    enum { MOST_FACTOR = 128, MOST_NIBBLE = 15 };
    const struct weight_traits traits = weight_traits_of(type);
    unsigned scale = 0, minimum = 0, exponent = 0;
    for (size_t g = 0; g < n_groups; g++) {
        const uint8_t *group = panel + panel_group_at(type, g), *common = panel + panel_common_at(type, g);
        if (traits.scale == SCALE_E8M0) {
            for (size_t row = 0; row < PANEL_ROWS; row++)
                exponent = group[row] > exponent ? group[row] : exponent;
        } else if (traits.scale == SCALE_F16) {
            scale = largest_f16(group, PANEL_ROWS, scale);
            if (traits.has_minimum) minimum = largest_f16(group + panel_minima_at(type), PANEL_ROWS, minimum);
        } else if (g % PANEL_FACTOR_GROUPS == 0) {
            scale = largest_f16(common, PANEL_ROWS, scale);
            if (traits.has_minimum) minimum = largest_f16(common + 2 * PANEL_ROWS, PANEL_ROWS, minimum);
        }
    }
    const float factor = !panel_has_factors(type)        ? 1
                         : traits.scale == SCALE_FACTORS ? MOST_FACTOR
                                                         : MOST_NIBBLE;
    const int above = traits.largest - traits.offset;
    const float number = (float)(above > traits.offset ? above : traits.offset);
    const float of_scale =
        traits.scale == SCALE_E8M0 ? weight_e8m0_to_f32((uint8_t)exponent) : f16_to_f32((f16_bits)scale);
    return factor * (of_scale * number + f16_to_f32((f16_bits)minimum));
}

void panel_matrix_measure(struct panel_matrix *matrix) {
    const size_t n_groups = matrix->n_cols / PANEL_GROUP;
    matrix->largest = 0;
    for (size_t i = 0; i < matrix->n_panels; i++) {
        const uint8_t *panel = matrix->data + i * matrix->panel_bytes;
        float bound = 0;
        switch (matrix->type) {
#define X(name, number, elements, bytes)                                                                     \
    case WEIGHT_##name: bound = panel_bound(WEIGHT_##name, panel, n_groups); break;
            WEIGHT_QUANTISED_LIST(X)
#undef X
        default: return;
        }
        if (!(bound <= matrix->largest)) matrix->largest = bound;
        if (isnan(bound)) return;
    }
}
