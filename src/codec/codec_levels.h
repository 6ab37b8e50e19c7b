/* The one body of the block codecs q4 and q3, which differ in their table of levels and in how an index is
 * packed: centre, quantise to levels with one least-squares scale a row (code_layout.h). A codec file
 * defines, before it includes this:
 *
 *   CODEC_LEVELS, N_LEVELS, CODES_PER_SIGMA   the table, and the codes that a standard deviation is long
 *   K_CHUNK, V_CHUNK                          bytes of a chunk
 *   pack(chunk, element, index), unpack(chunk, element)   set (over zeros) and get an element's index
 *
 * K's rows first lose the block's mean of each dimension, which keys often have in common and which costs
 * precision where it is large against the rest: 8 bits a dimension restore it. */
#include <math.h>
#include <string.h>

#include "codec/code_layout.h"

static size_t k_bytes(unsigned head_dim) {
    return code_align((size_t)code_k_chunks(head_dim) * K_CHUNK + BLOCK_TOKENS * sizeof(f16_bits) + head_dim +
                      sizeof(float));
}

static size_t v_bytes(unsigned head_dim) {
    return code_align((size_t)code_v_chunks(head_dim) * V_CHUNK + BLOCK_TOKENS * sizeof(f16_bits));
}

/* The indices of the levels nearest to row / scale, scale being the number of code 1. */
static void nearest_levels(const float *row, unsigned head_dim, float scale, uint8_t *indices) {
    float borders[N_LEVELS - 1], inverse = 1 / scale;
    for (unsigned j = 0; j + 1 < N_LEVELS; j++)
        borders[j] = 0.5f * (float)(CODEC_LEVELS[j] + CODEC_LEVELS[j + 1]);
    for (unsigned i = 0; i < head_dim; i++) {
        float x = row[i] * inverse;
        unsigned index = 0;
        for (unsigned j = 0; j + 1 < N_LEVELS; j++) index += x > borders[j];
        indices[i] = (uint8_t)index;
    }
}

/* A row's indices and its scale (of code CODE_MAX). The scale that fits best to given levels is <x, level> /
 * <level, level>; levels and scale are improved in turns. */
static f16_bits encode_row(const float *row, unsigned head_dim, uint8_t *indices) {
    enum { N_TURNS = 3 };
    float square = 0;
    for (unsigned i = 0; i < head_dim; i++) square += row[i] * row[i];
    float scale = sqrtf(square / (float)head_dim) / CODES_PER_SIGMA;
    if (!(scale > 1e-30f && scale < 1e30f)) { /* nothing there, or not finite */
        memset(indices, 0, head_dim);
        return f16_from_f32(square == 0 || scale <= 1e-30f ? 0.0f : NAN);
    }
    for (int turn = 0; turn < N_TURNS; turn++) {
        nearest_levels(row, head_dim, scale, indices);
        float dot = 0, norm = 0;
        for (unsigned i = 0; i < head_dim; i++) {
            float level = (float)CODEC_LEVELS[indices[i]];
            dot += row[i] * level;
            norm += level * level;
        }
        scale = dot / norm;
    }
    float largest = scale * CODE_MAX;
    return f16_from_f32(largest < 65504.0f ? largest : 65504.0f);
}

/* Takes the mean of each dimension from the rows, as it is then stored. */
static void centre(float *rows, int8_t *mean, unsigned head_dim) {
    float means[CODEC_MAX_DIM], largest = 0;
    for (unsigned i = 0; i < head_dim; i++) means[i] = 0;
    for (unsigned t = 0; t < BLOCK_TOKENS; t++)
        for (unsigned i = 0; i < head_dim; i++) means[i] += rows[t * head_dim + i];
    for (unsigned i = 0; i < head_dim; i++) {
        means[i] *= 1.0f / BLOCK_TOKENS;
        if (fabsf(means[i]) > largest) largest = fabsf(means[i]);
    }
    float inverse = largest > 1e-30f && largest < 1e30f ? CODE_MAX / largest : 0;
    if (inverse == 0) largest = 0; /* the rows keep what is not finite */
    for (unsigned i = 0; i < head_dim; i++) {
        int code = inverse > 0 ? (int)rintf(means[i] * inverse) : 0;
        mean[i] = (int8_t)code;
        means[i] = (float)code * (largest / CODE_MAX);
    }
    memcpy(mean + head_dim, &largest, sizeof largest);
    for (unsigned t = 0; t < BLOCK_TOKENS; t++)
        for (unsigned i = 0; i < head_dim; i++) rows[t * head_dim + i] -= means[i];
}

static void encode_k_block(void *k_area, const float *rows, unsigned head_dim) {
    float centred[BLOCK_TOKENS * CODEC_MAX_DIM];
    uint8_t indices[CODEC_MAX_DIM], *chunks = k_area;
    unsigned n_chunks = code_k_chunks(head_dim);
    memset(k_area, 0, k_bytes(head_dim));
    memcpy(centred, rows, (size_t)BLOCK_TOKENS * head_dim * sizeof *rows);
    centre(centred, code_mean(k_area, n_chunks, K_CHUNK), head_dim);
    for (unsigned t = 0; t < BLOCK_TOKENS; t++) {
        code_scales(k_area, n_chunks, K_CHUNK)[t] = encode_row(centred + t * head_dim, head_dim, indices);
        for (unsigned i = 0; i < head_dim; i++) {
            struct code_place at = code_k_place(t, i);
            pack(chunks + at.chunk * K_CHUNK, at.element, indices[i], CODE_CHUNK);
        }
    }
}

static void encode_v_block(void *v_area, const float *rows, unsigned head_dim) {
    uint8_t indices[CODEC_MAX_DIM], *chunks = v_area;
    memset(v_area, 0, v_bytes(head_dim));
    for (unsigned t = 0; t < BLOCK_TOKENS; t++) {
        code_scales(v_area, code_v_chunks(head_dim), V_CHUNK)[t] =
            encode_row(rows + t * head_dim, head_dim, indices);
        for (unsigned i = 0; i < head_dim; i++) {
            struct code_place at = code_v_place(t, i, head_dim);
            pack(chunks + at.chunk * V_CHUNK, at.element, indices[i], 128);
        }
    }
}

static void decode_k(const void *k_area, unsigned slot, float *row, unsigned head_dim) {
    const uint8_t *chunks = k_area;
    unsigned n_chunks = code_k_chunks(head_dim);
    const int8_t *mean = code_mean(k_area, n_chunks, K_CHUNK);
    float mean_scale = code_mean_scale(mean, head_dim) / CODE_MAX;
    float scale = f16_to_f32(code_scales(k_area, n_chunks, K_CHUNK)[slot]) / CODE_MAX;
    for (unsigned i = 0; i < head_dim; i++) {
        struct code_place at = code_k_place(slot, i);
        float level = (float)CODEC_LEVELS[unpack(chunks + at.chunk * K_CHUNK, at.element, CODE_CHUNK)];
        row[i] = level * scale + (float)mean[i] * mean_scale;
    }
}

static void decode_v(const void *v_area, unsigned slot, float *row, unsigned head_dim) {
    const uint8_t *chunks = v_area;
    float scale = f16_to_f32(code_scales(v_area, code_v_chunks(head_dim), V_CHUNK)[slot]) / CODE_MAX;
    for (unsigned i = 0; i < head_dim; i++) {
        struct code_place at = code_v_place(slot, i, head_dim);
        row[i] = (float)CODEC_LEVELS[unpack(chunks + at.chunk * V_CHUNK, at.element, 128)] * scale;
    }
}

#define CODEC_LEVELS_DEFINE(codec_name)                                                                      \
    const struct codec codec_##codec_name = {                                                                \
        .name = #codec_name,                                                                                 \
        .wants_rotation = true,                                                                              \
        .dim_multiple = 4,                                                                                   \
        .k_bytes = k_bytes,                                                                                  \
        .v_bytes = v_bytes,                                                                                  \
        .encode_k_block = encode_k_block,                                                                    \
        .encode_v_block = encode_v_block,                                                                    \
        .decode_k = decode_k,                                                                                \
        .decode_v = decode_v,                                                                                \
    }
