/* What an x86 set does with rows of q, out, K and V beside tiles: q as codes, merging. Included behind
 * attention_body.h. */

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

void SET(attend_merge)(struct attention_rows *rows, const struct attention_rows *part) {
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (part->sum[r] == 0) continue;
        float max = rows->max[r] > part->max[r] ? rows->max[r] : part->max[r];
        _Alignas(64) float factors[VEC_WIDTH] = {rows->max[r] - max, part->max[r] - max};
        vec_store(factors, vec_exp(vec_load(factors)));
        const float old_factor = factors[0], part_factor = factors[1];
        rows->max[r] = max;
        rows->sum[r] = rows->sum[r] * old_factor + part->sum[r] * part_factor;
        float *out = rows->out + (size_t)r * rows->head_dim;
        const float *part_out = part->out + (size_t)r * rows->head_dim;
        for (unsigned i = 0; i < rows->head_dim; i++)
            out[i] = out[i] * old_factor + part_out[i] * part_factor;
    }
}
