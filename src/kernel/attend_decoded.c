#include "kernel/attend_decoded.h"

#include <math.h>

#include "base/err.h"

/* e^(score - max) where the score may be -infinity: nothing weighs 0. */
static float weight(float score, float max) { return score == -INFINITY ? 0 : expf(score - max); }

/* Gives a row's running softmax a new, larger maximum. */
static void raise_max(struct attention_rows *rows, unsigned r, float max) {
    float factor = weight(rows->max[r], max), *out = rows->out + (size_t)r * rows->head_dim;
    rows->max[r] = max;
    rows->sum[r] *= factor;
    for (unsigned i = 0; i < rows->head_dim; i++) out[i] *= factor;
}

/* Whether a row sees a key of the block. */
static bool is_seen(const struct attention_tile *tile, unsigned r, unsigned block) {
    return tile->begin[r] < (block + 1) * BLOCK_TOKENS && tile->end[r] > block * BLOCK_TOKENS &&
           tile->begin[r] < tile->end[r];
}

static bool is_seen_by_any(const struct attention_rows *rows, const struct attention_tile *tile,
                           unsigned block) {
    for (unsigned r = 0; r < rows->n_rows; r++)
        if (is_seen(tile, r, block)) return true;
    return false;
}

/* A row's scores of its keys become exp(score - max). */
static void soften_row(struct attention_rows *rows, const struct attention_tile *tile, unsigned r,
                       float *scores) {
    float max = rows->max[r];
    for (unsigned key = tile->begin[r]; key < tile->end[r]; key++) {
        if (tile->softcap > 0) scores[key] = tile->softcap * tanhf(scores[key] / tile->softcap);
        if (scores[key] > max) max = scores[key];
    }
    if (max > rows->max[r]) raise_max(rows, r, max);
    for (unsigned key = tile->begin[r]; key < tile->end[r]; key++) {
        scores[key] = weight(scores[key], max);
        rows->sum[r] += scores[key];
    }
}

void attend_decoded(enum codec_id k, enum codec_id v, struct attention_rows *rows,
                    const struct attention_tile *tile) {
    float scores[ATTENTION_MAX_ROWS][ATTENTION_TILE], line[CODEC_MAX_DIM];
    const unsigned dim = rows->head_dim;
    ASSERT(dim <= CODEC_MAX_DIM);
    for (unsigned key = 0; key < ATTENTION_TILE; key++) {
        if (!is_seen_by_any(rows, tile, key / BLOCK_TOKENS)) continue;
        codec_get(k)->decode_k(tile->k[key / BLOCK_TOKENS], key % BLOCK_TOKENS, line, dim);
        for (unsigned r = 0; r < rows->n_rows; r++) {
            float score = 0;
            for (unsigned i = 0; i < dim; i++) score += rows->q[(size_t)r * dim + i] * line[i];
            scores[r][key] = score;
        }
    }
    for (unsigned r = 0; r < rows->n_rows; r++) soften_row(rows, tile, r, scores[r]);
    for (unsigned key = 0; key < ATTENTION_TILE; key++) {
        if (!is_seen_by_any(rows, tile, key / BLOCK_TOKENS)) continue;
        codec_get(v)->decode_v(tile->v[key / BLOCK_TOKENS], key % BLOCK_TOKENS, line, dim);
        for (unsigned r = 0; r < rows->n_rows; r++) {
            float *out = rows->out + (size_t)r * dim;
            if (key < tile->begin[r] || key >= tile->end[r]) continue;
            for (unsigned i = 0; i < dim; i++) out[i] += scores[r][key] * line[i];
        }
    }
}

void attend_control(const struct kernel_set *kernels, enum codec_id k, enum codec_id v,
                    struct attention_rows *rows, const struct attention_tile *tile) {
    enum { AREA = BLOCK_TOKENS * CODEC_MAX_DIM };
    float areas[2][ATTENTION_TILE_BLOCKS * AREA], line[CODEC_MAX_DIM];
    const struct codec *f32 = codec_get(CODEC_f32);
    struct attention_tile decoded = *tile;
    ASSERT(rows->head_dim <= CODEC_MAX_DIM);
    for (unsigned block = 0; block < ATTENTION_TILE_BLOCKS; block++) {
        decoded.k[block] = areas[0] + (size_t)block * AREA;
        decoded.v[block] = areas[1] + (size_t)block * AREA;
        decoded.next_k[block] = NULL;
        for (unsigned slot = 0; slot < BLOCK_TOKENS && is_seen_by_any(rows, tile, block); slot++) {
            codec_get(k)->decode_k(tile->k[block], slot, line, rows->head_dim);
            f32->encode_k(areas[0] + (size_t)block * AREA, slot, line, rows->head_dim);
            codec_get(v)->decode_v(tile->v[block], slot, line, rows->head_dim);
            f32->encode_v(areas[1] + (size_t)block * AREA, slot, line, rows->head_dim);
        }
    }
    kernels->attend_tile[CODEC_f32](rows, &decoded);
}

/* 16 bits of a row: 127 * 257 is the largest number whose low byte, signed, leaves a signed high byte. */
static void prepare_row(struct attention_codes *codes, unsigned r, const float *q, unsigned head_dim) {
    enum { MOST = 127 * 257 };
    int8_t *high = codes->high + r * attention_code_stride(head_dim),
           *low = codes->low + r * attention_code_stride(head_dim);
    float largest = 0;
    bool is_finite = true;
    for (unsigned i = 0; i < head_dim; i++) {
        float magnitude = fabsf(q[i]);
        is_finite &= magnitude <= 3e38f;
        largest = magnitude > largest ? magnitude : largest;
    }
    float inverse = is_finite && largest > 1e-30f ? MOST / largest : 0;
    codes->scale[r] = is_finite ? largest / MOST : NAN;
    codes->high_sum[r] = codes->low_sum[r] = 0;
    for (unsigned i = 0; i < attention_code_stride(head_dim); i++) {
        int code = i < head_dim && inverse > 0 ? (int)rintf(q[i] * inverse) : 0;
        int code_high = (code + 128) >> 8, code_low = code - code_high * 256;
        high[i] = (int8_t)code_high;
        low[i] = (int8_t)code_low;
        codes->high_sum[r] += code_high;
        codes->low_sum[r] += code_low;
    }
}

void attention_prepare(struct attention_rows *rows) {
    for (unsigned r = 0; r < rows->n_rows; r++)
        prepare_row(rows->codes, r, rows->q + (size_t)r * rows->head_dim, rows->head_dim);
}

void store_k_q8(void *k_area, unsigned slot, const float *row, unsigned head_dim) {
    codec_get(CODEC_q8)->encode_k(k_area, slot, row, head_dim);
}
void store_v_q8(void *v_area, unsigned slot, const float *row, unsigned head_dim) {
    codec_get(CODEC_q8)->encode_v(v_area, slot, row, head_dim);
}
