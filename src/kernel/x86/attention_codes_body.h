/* What products with codes need beside codes (kernel/attention_coded.h): scales, means, q as codes. For
 * attention_body.h, which includes this. */

/* The scales of an area as f32. */
INLINE void load_scales(enum codec_id codec, const uint8_t *scales, float *out) {
    for (unsigned i = 0; i < BLOCK_TOKENS; i += VEC_WIDTH)
        vec_store(out + i, codec == CODEC_q8 ? vec_load((const float *)scales + i)
                                             : vec_widen_f16((const f16_bits *)scales + i));
}

INLINE void prefetch_bytes(const void *from, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += 64) __builtin_prefetch((const char *)from + i, 0, 2);
}

/* The means of a tile's blocks as codes in lines, like q8's: the i-th column is that of block i. */
enum { MEAN_COLUMNS = 16 };
struct mean_lines {
    _Alignas(64) uint8_t codes[CODEC_MAX_DIM / 4][MEAN_COLUMNS * 4];
    _Alignas(64) float scales[MEAN_COLUMNS];
};
_Static_assert(MEAN_COLUMNS >= VEC_WIDTH && (int)VEC_WIDTH >= (int)ATTENTION_TILE_BLOCKS,
               "a vector of means");

/* What other columns hold does not matter. */
INLINE void gather_means(enum codec_id codec, const struct tile_work *work, const struct attention_tile *tile,
                         unsigned head_dim, struct mean_lines *lines) {
    for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
        const uint8_t *mean = (const uint8_t *)tile->k[block] + coded_k_mean(codec, head_dim);
        for (unsigned i = 0; i < head_dim; i += 4)
            memcpy(lines->codes[i / 4] + (size_t)block * 4, mean + i, 4);
        memcpy(&lines->scales[block], mean + head_dim, sizeof(float));
    }
}

/* Vector i of n numbers, zeros from the last on. */
INLINE vec load_part(const float *numbers, unsigned i, unsigned n) {
    if (i + VEC_WIDTH <= n) return vec_load(numbers + i);
    _Alignas(64) float part[VEC_WIDTH] = {0};
    copy(part, numbers + i, n - i);
    return vec_load(part);
}

void SET(attend_prepare)(struct attention_rows *rows) {
    const unsigned n = rows->head_dim;
    for (unsigned r = 0; r < rows->n_rows; r++) {
        const float *q = rows->q + (size_t)r * n;
        uint8_t *factors = rows->codes->codes + r * attention_code_row_bytes(n);
        int_vec largest = int_zero(), sum = int_zero();
        for (unsigned i = 0; i < n; i += VEC_WIDTH)
            largest = int_max(largest, vec_magnitude_bits(load_part(q, i, n)));
        const float inverse =
            attention_scale_of(int_max_across(largest), ATTENTION_Q_MAX, &rows->codes->scale[r]);
        for (unsigned i = 0; i < n; i += VEC_WIDTH) {
            int_vec codes =
                inverse == 0 ? int_zero() : int_round(vec_mul(load_part(q, i, n), vec_set(inverse)));
            sum = int_add(sum, codes);
            q_store(factors, attention_code_row_bytes(n) / 2, i, codes);
        }
        rows->codes->bias[r] = bias_of(int_sum_across(sum));
    }
}

/* Bytes are written by the codec: its loops are short. */
void SET(store_k_q8)(void *k_area, unsigned slot, const float *row, unsigned head_dim) {
    codec_get(CODEC_q8)->encode_k(k_area, slot, row, head_dim);
}
void SET(store_v_q8)(void *v_area, unsigned slot, const float *row, unsigned head_dim) {
    codec_get(CODEC_q8)->encode_v(v_area, slot, row, head_dim);
}
