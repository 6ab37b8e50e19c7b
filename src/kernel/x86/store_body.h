/* How an x86 set stores rows of K and V, over the vectors of attention_<set>.c, which has defined
 *   vec_transpose(rows)   lane j of rows[i] goes to lane i of rows[j], of VEC_WIDTH rows */

#define SAME(value) (value)
#define CODEC_DEFINE(codec, element, from_f32)                                                               \
    void SET(store_v_##codec)(void *v_area, unsigned slot, unsigned n_slots, const float *rows,              \
                              size_t stride, unsigned head_dim) {                                            \
        element *v = (element *)v_area + (size_t)slot * head_dim;                                            \
        for (; n_slots > 0; n_slots--, v += head_dim, rows += stride) {                                      \
            unsigned i = 0;                                                                                  \
            for (; i + VEC_WIDTH <= head_dim; i += VEC_WIDTH) vec_narrow_##codec(v + i, vec_load(rows + i)); \
            for (; i < head_dim; i++) v[i] = from_f32(rows[i]);                                              \
        }                                                                                                    \
    }                                                                                                        \
    static void store_k_row_##codec(element *k, const float *row, unsigned head_dim) {                       \
        element narrow[VEC_WIDTH];                                                                           \
        unsigned i = 0;                                                                                      \
        for (; i + VEC_WIDTH <= head_dim; i += VEC_WIDTH) {                                                  \
            vec_narrow_##codec(narrow, vec_load(row + i));                                                   \
            for (unsigned j = 0; j < VEC_WIDTH; j++) k[(size_t)(i + j) * BLOCK_TOKENS] = narrow[j];          \
        }                                                                                                    \
        for (; i < head_dim; i++) k[(size_t)i * BLOCK_TOKENS] = from_f32(row[i]);                            \
    }                                                                                                        \
    /* A vector of slots, whose numbers of one dimension lie side by side. */                                \
    static void store_k_rows_##codec(element *k, const float *rows, size_t stride, unsigned head_dim) {      \
        unsigned i = 0;                                                                                      \
        for (; i + VEC_WIDTH <= head_dim; i += VEC_WIDTH) {                                                  \
            vec numbers[VEC_WIDTH];                                                                          \
            for (unsigned j = 0; j < VEC_WIDTH; j++) numbers[j] = vec_load(rows + j * stride + i);           \
            vec_transpose(numbers);                                                                          \
            for (unsigned j = 0; j < VEC_WIDTH; j++)                                                         \
                vec_narrow_##codec(k + (size_t)(i + j) * BLOCK_TOKENS, numbers[j]);                          \
        }                                                                                                    \
        for (; i < head_dim; i++)                                                                            \
            for (unsigned j = 0; j < VEC_WIDTH; j++)                                                         \
                k[(size_t)i * BLOCK_TOKENS + j] = from_f32(rows[j * stride + i]);                            \
    }                                                                                                        \
    void SET(store_k_##codec)(void *k_area, unsigned slot, unsigned n_slots, const float *rows,              \
                              size_t stride, unsigned head_dim) {                                            \
        element *k = (element *)k_area + slot;                                                               \
        unsigned i = 0;                                                                                      \
        for (; i + VEC_WIDTH <= n_slots; i += VEC_WIDTH)                                                     \
            store_k_rows_##codec(k + i, rows + i * stride, stride, head_dim);                                \
        for (; i < n_slots; i++) store_k_row_##codec(k + i, rows + i * stride, head_dim);                    \
    }
CODEC_DEFINE(f32, float, SAME)
CODEC_DEFINE(f16, f16_bits, f16_from_f32)
CODEC_DEFINE(bf16, bf16_bits, bf16_from_f32)

/* Bytes are written by the codec: its loops are short. */
void SET(store_k_q8)(void *k_area, unsigned slot, unsigned n_slots, const float *rows, size_t stride,
                     unsigned head_dim) {
    for (unsigned i = 0; i < n_slots; i++)
        codec_get(CODEC_q8)->encode_k(k_area, slot + i, rows + i * stride, head_dim);
}
void SET(store_v_q8)(void *v_area, unsigned slot, unsigned n_slots, const float *rows, size_t stride,
                     unsigned head_dim) {
    for (unsigned i = 0; i < n_slots; i++)
        codec_get(CODEC_q8)->encode_v(v_area, slot + i, rows + i * stride, head_dim);
}
