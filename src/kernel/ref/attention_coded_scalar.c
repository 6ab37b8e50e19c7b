/* Attention over coded K and V: integer dot products of codes, the reference of the other sets. Those get the
 * same integers, and do the same with them. */
#include <math.h>
#include <string.h>

#include "codec/coded.h"
#include "kernel/attention_coded.h"
#include "kernel/ref/attention_scalar.h"

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

void attend_prepare_scalar(struct attention_rows *rows) {
    for (unsigned r = 0; r < rows->n_rows; r++) {
        const float *q = rows->q + (size_t)r * rows->head_dim;
        int16_t *codes = (int16_t *)(rows->codes->codes + r * attention_code_row_bytes(rows->head_dim));
        uint32_t largest = 0;
        for (unsigned i = 0; i < rows->head_dim; i++)
            largest = larger(largest, bits_of_float(q[i]) & 0x7fffffffu);
        const float inverse = attention_scale_of(largest, ATTENTION_Q_MAX, &rows->codes->scale[r]);
        rows->codes->bias[r] = 0;
        for (unsigned i = 0; i < rows->head_dim; i++)
            codes[i] = inverse == 0 ? 0 : (int16_t)lrintf(q[i] * inverse);
    }
}

/* Mean code of each dimension of a K area, and their scale; 0 of codecs without. */
static float mean_of(enum codec_id codec, const uint8_t *area, unsigned head_dim, const int8_t **mean) {
    float scale;
    *mean = (const int8_t *)area + coded_k_mean(codec, head_dim);
    if (codec == CODEC_q8) return 0;
    memcpy(&scale, *mean + head_dim, sizeof scale);
    return scale;
}

void score_coded_scalar(const struct attention_rows *rows, const struct attention_tile *tile, unsigned begin,
                        unsigned end, score_rows scores) {
    const unsigned head_dim = rows->head_dim;
    const enum codec_id codec = tile->k_codec;
    for (unsigned key = begin; key < end; key++) {
        const uint8_t *area = tile->k[key / BLOCK_TOKENS];
        const unsigned slot = key % BLOCK_TOKENS;
        const float scale = coded_scale(codec, area + coded_k_scales(codec, head_dim), slot);
        const int8_t *mean;
        const float mean_scale = mean_of(codec, area, head_dim, &mean);
        int line[CODEC_MAX_DIM];
        for (unsigned i = 0; i < head_dim; i++)
            line[i] = coded_value(
                codec, coded_index(codec, area, head_dim / 4, BLOCK_TOKENS, i / 4, slot * 4 + i % 4));
        for (unsigned r = 0; r < rows->n_rows; r++) {
            const int16_t *q = (const int16_t *)(rows->codes->codes + r * attention_code_row_bytes(head_dim));
            const float q_scale = rows->codes->scale[r];
            int32_t sum = 0, mean_sum = 0;
            for (unsigned i = 0; i < head_dim; i++) sum += q[i] * line[i];
            scores[r][key] = (float)sum * scale * q_scale;
            if (codec == CODEC_q8) continue;
            for (unsigned i = 0; i < head_dim; i++) mean_sum += q[i] * mean[i];
            scores[r][key] += (float)mean_sum * (q_scale * mean_scale);
        }
    }
}

/* A row's probabilities times the scales of V, as codes; returns their scale. */
static float weights_of(enum codec_id codec, const struct attention_rows *rows,
                        const struct attention_tile *tile, unsigned r, float *weights, int32_t *codes) {
    uint32_t largest = 0;
    for (unsigned key = tile->begin[r]; key < tile->end[r]; key++) {
        const uint8_t *area = tile->v[key / BLOCK_TOKENS];
        weights[key] *= coded_scale(codec, area + coded_v_scales(codec, rows->head_dim), key % BLOCK_TOKENS);
        largest = larger(largest, bits_of_float(weights[key]) & 0x7fffffffu);
    }
    float scale;
    const float inverse = attention_scale_of(largest, ATTENTION_WEIGHT_MAX, &scale);
    for (unsigned key = tile->begin[r]; key < tile->end[r]; key++)
        codes[key] = inverse == 0 ? 0 : (int32_t)lrintf(weights[key] * inverse);
    return scale;
}

void weigh_coded_scalar(struct attention_rows *rows, const struct attention_tile *tile, unsigned begin,
                        unsigned end, score_rows scores) {
    const unsigned head_dim = rows->head_dim;
    const enum codec_id codec = tile->v_codec;
    int32_t codes[ATTENTION_MAX_ROWS][ATTENTION_TILE];
    float scales[ATTENTION_MAX_ROWS];
    int8_t values[ATTENTION_TILE];
    for (unsigned r = 0; r < rows->n_rows; r++)
        scales[r] = weights_of(codec, rows, tile, r, scores[r], codes[r]);
    for (unsigned d = 0; d < head_dim; d++) {
        for (unsigned key = begin; key < end; key++) {
            const unsigned slot = key % BLOCK_TOKENS;
            uint8_t index = coded_index(codec, tile->v[key / BLOCK_TOKENS], CODED_V_QUADS,
                                        coded_v_columns(head_dim), slot / 4, d * 4 + slot % 4);
            values[key] = (int8_t)coded_value(codec, index);
        }
        for (unsigned r = 0; r < rows->n_rows; r++) {
            int32_t sum = 0;
            if (tile->begin[r] == tile->end[r]) continue;
            for (unsigned key = tile->begin[r]; key < tile->end[r]; key++) sum += codes[r][key] * values[key];
            rows->out[(size_t)r * head_dim + d] += (float)sum * scales[r];
        }
    }
}
