/* RoPE of the x86 sets, over the vectors of attention_<set>.c, which has defined
 *   vec_even_twice(a), vec_odd_twice(a)   lane 2i and lane 2i + 1 have what lane 2i, or 2i + 1, of a had
 *   vec_sub_add(a, b)                     a - b in even lanes, a + b in odd ones
 *   vec_evens(a, b), vec_odds(a, b)       the even, or odd, lanes of a and then of b
 * Products are rounded before they are added, as in rope_scalar, hence the same bits. */
#include "kernel/ref/rope_scalar.h"

/* Pairs side by side, from pair i on as many as there are whole vectors; returns where that ends. */
INLINE unsigned rope_interleaved(float *heads, unsigned n_heads, unsigned head_dim, const float *table,
                                 unsigned n_pairs) {
    unsigned i = 0;
    for (; i + VEC_WIDTH / 2 <= n_pairs; i += VEC_WIDTH / 2) {
        const vec turn = vec_load(table + 2 * i), cosine = vec_even_twice(turn), sine = vec_odd_twice(turn);
        for (unsigned h = 0; h < n_heads; h++) {
            float *at = heads + (size_t)h * head_dim + 2 * i;
            const vec x = vec_load(at);
            vec_store(at, vec_sub_add(vec_mul(x, cosine), vec_mul(vec_swap(1, x), sine)));
        }
    }
    return i;
}

INLINE unsigned rope_halves(float *heads, unsigned n_heads, unsigned head_dim, const float *table,
                            unsigned n_pairs) {
    unsigned i = 0;
    for (; i + VEC_WIDTH <= n_pairs; i += VEC_WIDTH) {
        const vec low = vec_load(table + 2 * i), high = vec_load(table + 2 * i + VEC_WIDTH);
        const vec cosine = vec_evens(low, high), sine = vec_odds(low, high);
        for (unsigned h = 0; h < n_heads; h++) {
            float *at = heads + (size_t)h * head_dim + i;
            const vec a = vec_load(at), b = vec_load(at + n_pairs);
            vec_store(at, vec_sub(vec_mul(a, cosine), vec_mul(b, sine)));
            vec_store(at + n_pairs, vec_add(vec_mul(a, sine), vec_mul(b, cosine)));
        }
    }
    return i;
}

void SET(rope)(float *heads, unsigned n_heads, unsigned head_dim, const float *table, unsigned n_dims,
               bool is_interleaved) {
    const unsigned n_pairs = n_dims / 2, apart = is_interleaved ? 1 : n_pairs, step = is_interleaved ? 2 : 1;
    const unsigned done = is_interleaved ? rope_interleaved(heads, n_heads, head_dim, table, n_pairs)
                                         : rope_halves(heads, n_heads, head_dim, table, n_pairs);
    for (unsigned h = 0; h < n_heads && done < n_pairs; h++)
        for (unsigned i = done; i < n_pairs; i++) {
            float *first = heads + (size_t)h * head_dim + i * step;
            rope_turn_pair(first, first + apart, table + 2 * i);
        }
}
