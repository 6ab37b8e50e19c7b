/* From scores to weights: the softmax of a tile, for attention_body.h, which includes this. */

/* 2^t for t < 128; 0 where that is denormal, NaN of NaN. `powers` coefficients of the polynomial. */
#define VEC_POWER(t, scale, ...) vec_power(t, scale, (const float[]){__VA_ARGS__}, COUNT_OF(__VA_ARGS__))
#define COUNT_OF(...) (sizeof((float[]){__VA_ARGS__}) / sizeof(float))

/* scale * 2^t. n coefficients, constants; scale is one too. */
INLINE vec vec_power(vec t, float scale, const float *coefficients, unsigned n) {
    const vec r = vec_fraction(t);
    vec p = vec_set(scale * coefficients[0]);
    UNROLL for (unsigned i = 1; i < n; i++) p = vec_fma(p, r, vec_set(scale * coefficients[i]));
    return vec_raise(vec_fma(p, r, vec_set(scale)), t);
}

/* e^t for t <= 88, within 2^-22 + |t| * 2^-24 of it relatively; 0 for t < -87.3. e^0 = 1. */
INLINE vec vec_exp(vec t) { return VEC_POWER(vec_mul(t, vec_set(0x1.715476p+0f)), 1.0f, POWER_FINE); }

/* softcap * tanh(score / softcap) of n_vecs vectors, by tanh(x) = 1 - 2 / (e^2x + 1): within about
 * 2^-23 * softcap. A NaN stays one. */
INLINE void cap(float *scores, unsigned n_vecs, float softcap) {
    const vec factor = vec_set(2 / softcap), most = vec_set(80.0f), least = vec_set(-80.0f);
    for (unsigned i = 0; i < n_vecs; i++, scores += VEC_WIDTH) {
        vec t = vec_mul(vec_load(scores), factor);
        vec e = vec_exp(vec_min(most, vec_max(least, t)));
        vec rest = vec_div(vec_set(2 * softcap), vec_add(e, vec_set(1.0f)));
        vec_store(scores, vec_sub(vec_set(softcap), rest));
    }
}

INLINE float largest_of(const float *scores, unsigned n_vecs) {
    vec largest = vec_load(scores);
    for (unsigned i = 1; i < n_vecs; i++) largest = vec_max(largest, vec_load(scores + i * VEC_WIDTH));
    return vec_max_across(largest);
}

/* scores = exp(scores - max); returns their sum. */
INLINE float exp_of(float *scores, unsigned n_vecs, float max) {
    /* While every score is -infinity there is nothing to subtract. */
    const vec shift = vec_set(max == -INFINITY ? 0.0f : max);
    vec sum = vec_zero();
    for (unsigned i = 0; i < n_vecs; i++) {
        vec p = vec_exp(vec_sub(vec_load(scores + i * VEC_WIDTH), shift));
        vec_store(scores + i * VEC_WIDTH, p);
        sum = vec_add(sum, p);
    }
    return vec_sum_across(sum);
}

/* A row keeps its max until a score exceeds it by more than this: probabilities up to e^8 cost no precision,
 * and nearly all rescaling of out goes away. */
#define MAX_SLACK 8.0f

/* Moves a row's max up to `max` if that is far above it. Returns the logarithm of what sum and out so far are
 * to be multiplied by. */
INLINE float raise_max(struct attention_rows *rows, unsigned r, float max) {
    const float old = rows->max[r];
    if (!(max > old + MAX_SLACK)) return 0;
    rows->max[r] = max;
    return old == -INFINITY ? 0 : old - max;
}

INLINE void exp_rows(float *numbers, unsigned n_rows) {
    for (unsigned r = 0; r < n_rows; r += VEC_WIDTH) vec_store(numbers + r, vec_exp(vec_load(numbers + r)));
}

INLINE void scale_out(struct attention_rows *rows, unsigned r, float factor) {
    float *out = rows->out + (size_t)r * rows->head_dim;
    if (factor == 1) return; /* the same as multiplying by it */
    for (unsigned i = 0; i < rows->head_dim; i++) out[i] *= factor;
}

/* Turns every row's scores into exp(score - max), moving max, sum and out along. The rows' steps are side by
 * side, not row after row: a branch on a maximum that has just been found would stop the next row's work.
 * stays_awake: tiles come next. */
INLINE void soften(struct attention_rows *rows, float (*scores)[ATTENTION_TILE],
                   const struct attention_tile *tile, bool stays_awake) {
    enum { FULL = ATTENTION_TILE / VEC_WIDTH };
    _Alignas(64) float factor[ATTENTION_MAX_ROWS] = {0};
    unsigned n_vecs[ATTENTION_MAX_ROWS];
    float *seen[ATTENTION_MAX_ROWS]; /* the row's vectors with keys that it sees */
    for (unsigned r = 0; r < rows->n_rows; r++) {
        const unsigned begin = tile->begin[r], end = tile->end[r], first = begin / VEC_WIDTH * VEC_WIDTH;
        n_vecs[r] = begin == end ? 0 : (end - first + VEC_WIDTH - 1) / VEC_WIDTH;
        if (stays_awake && r % 8 == 0) STAY_AWAKE();
        if (n_vecs[r] == 0) continue;
        seen[r] = scores[r] + first;
        if (tile->softcap > 0) cap(seen[r], n_vecs[r], tile->softcap);
        for (unsigned i = first; i < begin; i++) scores[r][i] = -INFINITY;
        for (unsigned i = end; i < first + n_vecs[r] * VEC_WIDTH; i++) scores[r][i] = -INFINITY;
        float max = n_vecs[r] == FULL ? largest_of(seen[r], FULL) : largest_of(seen[r], n_vecs[r]);
        factor[r] = raise_max(rows, r, max);
    }
    exp_rows(factor, rows->n_rows);
    for (unsigned r = 0; r < rows->n_rows; r++) {
        if (stays_awake && r % 8 == 0) STAY_AWAKE();
        if (n_vecs[r] == 0) continue;
        float sum = n_vecs[r] == FULL ? exp_of(seen[r], FULL, rows->max[r])
                                      : exp_of(seen[r], n_vecs[r], rows->max[r]);
        rows->sum[r] = rows->sum[r] * factor[r] + sum;
    }
    for (unsigned r = 0; r < rows->n_rows; r++) scale_out(rows, r, factor[r]);
}

/* ---- weights as codes ----
 *
 * A key's weight is p * s, s the scale of its V. With s = m * 2^e, 1 <= m < 2, and x = score * log2(e) + e,
 * the weight is 2^x * m: the largest x of a row's tile gives a scale that no weight exceeds and the largest
 * one comes close to, before any weight is known; so weights become codes in the pass that exponentiates.
 * The sum of probabilities is that of 2^x * 2^-e. */

enum { BLOCK_VECS = COLUMNS / VEC_WIDTH };
#define WEIGHT_UNIT 16383.0f /* codes of m = 1 at the largest x: below twice that, 15 bits */

struct v_scales {
    _Alignas(64) float exponents[ATTENTION_TILE], mantissas[ATTENTION_TILE], inverses[ATTENTION_TILE];
};

/* Splits a block's scales. Those of no size become one that does not matter, since their codes are zeros. */
INLINE void split_scales(struct v_scales *scales, unsigned block, const float *numbers) {
    for (unsigned i = 0; i < COLUMNS; i += VEC_WIDTH) {
        const unsigned at = block * COLUMNS + i;
        const vec scale = vec_max(vec_set(ATTENTION_LEAST_SCALE), vec_load(numbers + i)); /* NaN: NaN */
        const int_vec bits = int_and(vec_bits(scale), int_set(0x7f800000));
        const vec inverse = bits_vec(int_sub(int_set(254 << 23), bits)), mantissa = vec_mul(scale, inverse);
        vec_store(scales->exponents + at, vec_sub(int_to_vec(int_shift_right(bits, 23)), vec_set(127.0f)));
        vec_store(scales->mantissas + at, mantissa);
        /* 0 or, where the scale is not finite, NaN comes on top, so that the sum tells of it. */
        vec_store(scales->inverses + at, vec_add(inverse, vec_sub(mantissa, mantissa)));
    }
}

/* x of the keys begin .. end of a row in place of scores, -infinity beside them in their blocks; returns the
 * largest. `is_whole` (constant): the row sees all keys. */
INLINE float find_exponents(bool is_whole, float *scores, const struct v_scales *scales, unsigned begin,
                            unsigned end) {
    const vec log2e = vec_set(0x1.715476p+0f), nothing = vec_set(-INFINITY);
    vec largest = nothing;
    const unsigned first = begin / COLUMNS * COLUMNS, last = (end + COLUMNS - 1) / COLUMNS * COLUMNS;
    for (unsigned i = is_whole ? 0 : first; i < (is_whole ? (unsigned)ATTENTION_TILE : last);
         i += VEC_WIDTH) {
        vec x = vec_fma(vec_load(scores + i), log2e, vec_load(scales->exponents + i));
        if (!is_whole) x = vec_select_keys(x, nothing, i, begin, end);
        vec_store(scores + i, x);
        largest = vec_max(largest, x);
    }
    return vec_max_across(largest);
}

/* The codes of a row; returns the sum of 2^(x - largest) * 2^-e, times WEIGHT_UNIT. */
INLINE float make_codes(bool is_whole, const float *exponents, const struct v_scales *scales, unsigned begin,
                        unsigned end, float largest, uint8_t *weights) {
    const vec shift = vec_set(largest == -INFINITY ? 0.0f : largest);
    vec sum = vec_zero();
    const unsigned first = begin / COLUMNS * COLUMNS, last = (end + COLUMNS - 1) / COLUMNS * COLUMNS;
    for (unsigned key = is_whole ? 0 : first; key < (is_whole ? (unsigned)ATTENTION_TILE : last);
         key += COLUMNS) {
        int_vec codes[BLOCK_VECS];
        UNROLL for (unsigned i = 0; i < BLOCK_VECS; i++) {
            const unsigned at = key + i * VEC_WIDTH;
            const vec p = VEC_POWER(vec_sub(vec_load(exponents + at), shift), WEIGHT_UNIT, POWER_COARSE);
            vec inverse = vec_load(scales->inverses + at),
                weight = vec_mul(p, vec_load(scales->mantissas + at));
            if (!is_whole) {
                inverse = vec_select_keys(inverse, vec_zero(), at, begin, end);
                weight = vec_select_keys(weight, vec_zero(), at, begin, end);
            }
            sum = vec_fma(p, inverse, sum);
            codes[i] = int_round(weight);
        }
        weights_store(weights, key, codes);
    }
    return vec_sum_across(sum);
}

/* As soften, for coded V: fills work->weights and work->weight_scales. Keys that a row does not see have
 * code 0. */
INLINE void soften_codes(struct attention_rows *rows, struct tile_work *work,
                         const struct attention_tile *tile) {
    struct v_scales scales;
    _Alignas(64) float factor[ATTENTION_MAX_ROWS] = {0}, now[ATTENTION_MAX_ROWS] = {0};
    float largest[ATTENTION_MAX_ROWS];
    for (unsigned block = work->begin / COLUMNS; block * COLUMNS < work->end; block++) {
        _Alignas(64) float numbers[COLUMNS];
        load_scales(tile->v_codec,
                    (const uint8_t *)tile->v[block] + coded_v_scales(tile->v_codec, rows->head_dim), numbers);
        split_scales(&scales, block, numbers);
    }
    for (unsigned r = 0; r < rows->n_rows; r++) {
        const unsigned begin = tile->begin[r], end = tile->end[r];
        float *scores = work->scores[r];
        const bool is_whole = begin == 0 && end == ATTENTION_TILE;
        if (!is_whole) memset(work->weights[r], 0, sizeof work->weights[r]);
        if (begin == end) continue;
        if (tile->softcap > 0)
            cap(scores + begin / COLUMNS * COLUMNS,
                (end - begin / COLUMNS * COLUMNS + VEC_WIDTH - 1) / VEC_WIDTH, tile->softcap);
        largest[r] = is_whole ? find_exponents(true, scores, &scales, 0, ATTENTION_TILE)
                              : find_exponents(false, scores, &scales, begin, end);
        factor[r] = raise_max(rows, r, largest[r] * 0x1.62e43p-1f);
        now[r] = largest[r] == -INFINITY ? 0 : largest[r] * 0x1.62e43p-1f - rows->max[r];
    }
    exp_rows(factor, rows->n_rows);
    exp_rows(now, rows->n_rows);
    for (unsigned r = 0; r < rows->n_rows; r++) {
        const unsigned begin = tile->begin[r], end = tile->end[r];
        const bool is_whole = begin == 0 && end == ATTENTION_TILE;
        if (begin == end) continue;
        const float sum =
            is_whole
                ? make_codes(true, work->scores[r], &scales, 0, ATTENTION_TILE, largest[r], work->weights[r])
                : make_codes(false, work->scores[r], &scales, begin, end, largest[r], work->weights[r]);
        work->weight_scales[r] = now[r] / WEIGHT_UNIT;
        rows->sum[r] = rows->sum[r] * factor[r] + sum * work->weight_scales[r];
    }
    for (unsigned r = 0; r < rows->n_rows; r++) scale_out(rows, r, factor[r]);
}
