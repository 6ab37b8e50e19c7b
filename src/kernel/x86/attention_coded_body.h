void score_coded_scalar(const struct attention_rows *rows, const struct attention_tile *tile, unsigned begin, unsigned end, float (*scores)[128]);void weigh_coded_scalar(struct attention_rows *rows, const struct attention_tile *tile, unsigned begin, unsigned end, float (*scores)[128]);void attend_prepare_scalar(struct attention_rows *);void rotate_scalar(float*,unsigned);
#define X(codec)                                                                                             \
    static void score_##codec(struct tile_work *work, const struct attention_rows *rows,                     \
                              const struct attention_tile *tile) {                                           \
        score_coded_scalar(rows, tile, work->begin, work->end, work->scores);                                \
    }                                                                                                        \
    static void weigh_##codec(struct tile_work *work, struct attention_rows *rows,                           \
                              const struct attention_tile *tile) {                                           \
        weigh_coded_scalar(rows, tile, work->begin, work->end, work->scores);                                \
    }
X(q8)
X(q4)
X(q3)
#undef X
    void SET(attend_prepare)(struct attention_rows *rows) {
    attend_prepare_scalar(rows);
}
void SET(rotate)(float *x, unsigned n) { rotate_scalar(x, n); }
void SET(store_v_q8)(void *v_area, unsigned slot, const float *row, unsigned head_dim) {
    codec_get(CODEC_q8)->encode_v(v_area, slot, row, head_dim);
}
void SET(store_k_q8)(void *v_area, unsigned slot, const float *row, unsigned head_dim) {
    codec_get(CODEC_q8)->encode_k(v_area, slot, row, head_dim);
}
