/* q8: 8 bits for a number of a rotated row, and one scale for the row (code_layout.h). Unrotated, a few large
 * dimensions of K make the scale coarse for all others: three times the loss. */
#include <math.h>

#include "codec/code_layout.h"

static size_t k_bytes(unsigned head_dim) {
    return code_align((size_t)code_k_chunks(head_dim) * CODE_Q8_CHUNK + BLOCK_TOKENS * sizeof(f16_bits));
}

static size_t v_bytes(unsigned head_dim) {
    return code_align((size_t)code_v_chunks(head_dim) * 128 + BLOCK_TOKENS * sizeof(f16_bits));
}

/* The scale of a row: its largest number, or NaN if that is not finite. */
static f16_bits scale_of(const float *row, unsigned head_dim) {
    float largest = 0;
    for (unsigned i = 0; i < head_dim; i++) {
        float magnitude = fabsf(row[i]);
        if (!(magnitude <= 3e38f)) return f16_from_f32(NAN);
        largest = magnitude > largest ? magnitude : largest;
    }
    return f16_from_f32(largest < 65504.0f ? largest : 65504.0f);
}

static int code_of(float number, float scale) {
    if (!(scale > 0)) return 0; /* zero, or NaN */
    float code = rintf(number / scale * CODE_MAX);
    return code > CODE_MAX ? CODE_MAX : code < -CODE_MAX ? -CODE_MAX : (int)code;
}

static void encode_k(void *k_area, unsigned slot, const float *row, unsigned head_dim) {
    uint8_t *codes = k_area;
    f16_bits bits = scale_of(row, head_dim);
    float scale = f16_to_f32(bits);
    code_scales(k_area, code_k_chunks(head_dim), CODE_Q8_CHUNK)[slot] = bits;
    for (unsigned i = 0; i < head_dim; i++) {
        struct code_place at = code_k_place(slot, i);
        codes[at.chunk * CODE_Q8_CHUNK + at.element] = (uint8_t)(code_of(row[i], scale) + CODE_BIAS);
    }
}

static void encode_v(void *v_area, unsigned slot, const float *row, unsigned head_dim) {
    int8_t *codes = v_area;
    f16_bits bits = scale_of(row, head_dim);
    float scale = f16_to_f32(bits);
    code_scales(v_area, code_v_chunks(head_dim), 128)[slot] = bits;
    for (unsigned i = 0; i < head_dim; i++) {
        struct code_place at = code_v_place(slot, i, head_dim);
        codes[at.chunk * 128 + at.element] = (int8_t)code_of(row[i], scale);
    }
}

static void decode_k(const void *k_area, unsigned slot, float *row, unsigned head_dim) {
    const uint8_t *codes = k_area;
    float scale = f16_to_f32(code_scales(k_area, code_k_chunks(head_dim), CODE_Q8_CHUNK)[slot]) / CODE_MAX;
    for (unsigned i = 0; i < head_dim; i++) {
        struct code_place at = code_k_place(slot, i);
        row[i] = (float)(codes[at.chunk * CODE_Q8_CHUNK + at.element] - CODE_BIAS) * scale;
    }
}

static void decode_v(const void *v_area, unsigned slot, float *row, unsigned head_dim) {
    const int8_t *codes = v_area;
    float scale = f16_to_f32(code_scales(v_area, code_v_chunks(head_dim), 128)[slot]) / CODE_MAX;
    for (unsigned i = 0; i < head_dim; i++) {
        struct code_place at = code_v_place(slot, i, head_dim);
        row[i] = (float)codes[at.chunk * 128 + at.element] * scale;
    }
}

const struct codec codec_q8 = {
    .name = "q8",
    .is_row = true,
    .wants_rotation = true,
    .dim_multiple = 4,
    .k_bytes = k_bytes,
    .v_bytes = v_bytes,
    .encode_k = encode_k,
    .encode_v = encode_v,
    .decode_k = decode_k,
    .decode_v = decode_v,
};
