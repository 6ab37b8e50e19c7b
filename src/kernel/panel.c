#include "kernel/panel.h"

#include <string.h>

#include "base/err.h"
#include "kernel/panel_layout.h"
#include "kernel/weight_run.h"

enum panel_format panel_format_of(enum weight_type type) {
    switch (type) {
    case WEIGHT_Q4_0: return PANEL_Q4_0;
    case WEIGHT_Q4_1: return PANEL_Q4_1;
    case WEIGHT_Q4_K: return PANEL_Q4_K;
    case WEIGHT_Q5_0:
    case WEIGHT_Q8_0: return PANEL_Q8;
    case WEIGHT_Q6_K: return PANEL_Q6_K;
    case WEIGHT_F32: return PANEL_F32;
    case WEIGHT_F16: return PANEL_F16;
    case WEIGHT_BF16: return PANEL_BF16;
    }
    UNREACHABLE("a weight type that runs here");
}

bool panel_is_quantised(enum panel_format format) { return format < PANEL_F32; }

static size_t bytes_of_panel(enum panel_format format, size_t n_cols) {
    return panel_is_quantised(format) ? n_cols / PANEL_GROUP * panel_group_bytes(format)
                                      : n_cols * PANEL_ROWS * panel_element_bytes(format);
}

static size_t count_panels(size_t n_rows) { return (n_rows + PANEL_ROWS - 1) / PANEL_ROWS; }

size_t panel_matrix_bytes(enum panel_format format, size_t n_rows, size_t n_cols) {
    return count_panels(n_rows) * bytes_of_panel(format, n_cols);
}

void panel_matrix_init(struct panel_matrix *matrix, enum weight_type type, size_t n_rows, size_t n_cols,
                       void *data) {
    enum panel_format format = panel_format_of(type);
    ASSERT(n_cols % weight_format_get(type)->group_elements == 0);
    *matrix = (struct panel_matrix){
        .format = format,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .n_panels = count_panels(n_rows),
        .panel_bytes = bytes_of_panel(format, n_cols),
        .data = data,
    };
}

/* Writes a run's codes as output `row` of a group's codes or nibbles. */
WEIGHT_INLINE void pack_codes(enum panel_format format, uint8_t *codes, size_t row,
                              const uint8_t code[WEIGHT_RUN], int offset_change) {
    uint8_t packed[WEIGHT_RUN];
    size_t n = WEIGHT_RUN;
    if (panel_has_nibbles(format)) {
        n = WEIGHT_RUN / 2;
        for (size_t i = 0; i < n; i++) packed[i] = (uint8_t)(code[i] | code[i + n] << 4);
    } else {
        for (size_t i = 0; i < n; i++) packed[i] = (uint8_t)(code[i] + offset_change);
    }
    for (size_t i = 0; i < n / 4; i++) memcpy(codes + (i * PANEL_ROWS + row) * 4, packed + i * 4, 4);
}

WEIGHT_INLINE void pack_scales(enum panel_format format, uint8_t *group, size_t row,
                               const struct weight_run *run) {
    size_t bytes = panel_scale_bytes(format);
    if (panel_has_f16_scales(format)) {
        memcpy(group + row * 2, &run->scale, 2);
        if (panel_has_minimum(format)) memcpy(group + bytes + row * 2, &run->minimum, 2);
        return;
    }
    for (size_t i = 0; i < panel_n_scales(format); i++) {
        float scale = f16_to_f32(run->scale) * (float)run->scale_factor[i];
        memcpy(group + i * bytes + row * 4, &scale, 4);
    }
    if (panel_has_minimum(format)) {
        float minimum = f16_to_f32(run->minimum) * (float)run->minimum_factor;
        memcpy(group + bytes + row * 4, &minimum, 4);
    }
}

/* One panel of a quantised type, from its first output's bytes; n_rows of its outputs exist. */
WEIGHT_INLINE void pack_quantised(enum weight_type type, uint8_t *panel, const uint8_t *source, size_t n_rows,
                                  size_t n_cols) {
    const enum panel_format format = type == WEIGHT_Q4_0   ? PANEL_Q4_0
                                     : type == WEIGHT_Q4_1 ? PANEL_Q4_1
                                     : type == WEIGHT_Q4_K ? PANEL_Q4_K
                                     : type == WEIGHT_Q6_K ? PANEL_Q6_K
                                                           : PANEL_Q8;
    size_t row_bytes = weight_bytes(weight_format_get(type), n_cols);
    for (size_t g = 0; g < n_cols / PANEL_GROUP; g++, panel += panel_group_bytes(format)) {
        if (n_rows < PANEL_ROWS) memset(panel, 0, panel_group_bytes(format));
        for (size_t row = 0; row < n_rows; row++) {
            struct weight_run run;
            weight_unpack_run(type, &run, source + row * row_bytes, g);
            pack_scales(format, panel, row, &run);
            pack_codes(format, panel + panel_codes_at(format), row, run.code,
                       panel_offset(format) - weight_run_offset(type));
        }
    }
}

WEIGHT_INLINE void pack_float(size_t element, uint8_t *panel, const uint8_t *source, size_t n_rows,
                              size_t n_cols) {
    if (n_rows < PANEL_ROWS) memset(panel, 0, n_cols * PANEL_ROWS * element);
    for (size_t k = 0; k < n_cols; k++)
        for (size_t row = 0; row < n_rows; row++)
            memcpy(panel + (k * PANEL_ROWS + row) * element, source + (row * n_cols + k) * element, element);
}

void panel_pack(struct panel_matrix *matrix, enum weight_type type, const void *source, size_t begin,
                size_t end) {
    size_t n_cols = matrix->n_cols, row_bytes = weight_bytes(weight_format_get(type), n_cols);
    ASSERT(panel_format_of(type) == matrix->format && end <= matrix->n_panels);
    for (size_t i = begin; i < end; i++) {
        uint8_t *panel = matrix->data + i * matrix->panel_bytes;
        size_t first = i * PANEL_ROWS, left = matrix->n_rows - first;
        size_t n_rows = left < PANEL_ROWS ? left : PANEL_ROWS;
        const uint8_t *rows = (const uint8_t *)source + first * row_bytes;
        switch (type) {
        case WEIGHT_Q4_0: pack_quantised(WEIGHT_Q4_0, panel, rows, n_rows, n_cols); break;
        case WEIGHT_Q4_1: pack_quantised(WEIGHT_Q4_1, panel, rows, n_rows, n_cols); break;
        case WEIGHT_Q5_0: pack_quantised(WEIGHT_Q5_0, panel, rows, n_rows, n_cols); break;
        case WEIGHT_Q8_0: pack_quantised(WEIGHT_Q8_0, panel, rows, n_rows, n_cols); break;
        case WEIGHT_Q4_K: pack_quantised(WEIGHT_Q4_K, panel, rows, n_rows, n_cols); break;
        case WEIGHT_Q6_K: pack_quantised(WEIGHT_Q6_K, panel, rows, n_rows, n_cols); break;
        case WEIGHT_F32: pack_float(4, panel, rows, n_rows, n_cols); break;
        case WEIGHT_F16:
        case WEIGHT_BF16: pack_float(2, panel, rows, n_rows, n_cols); break;
        }
    }
}
