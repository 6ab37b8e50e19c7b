/* The Walsh-Hadamard transform of the x86 sets, over the vectors of attention_<set>.c, which has defined
 *   vec_swap(half, a)   lane i has what lane i ^ half had, for half = 1, 2 .. VEC_WIDTH / 2
 * Each number goes through the additions of rotate_scalar in the same order, hence the same bits. */
#include "kernel/ref/rotate_scalar.h"

/* One stage within a vector: lane pairs (a, b) become (a + b, a - b). */
#define ROTATE_STAGE(a, half)                                                                                \
    vec_fma(a, vec_load(rotate_signs[__builtin_ctz(half)]), vec_swap(half, a)) /* the product is exact */

/* Of stage log2(half): -1 in lanes whose bit `half` is set. */
static const _Alignas(64) float rotate_signs[4][16] = {
    {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
    {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
    {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
    {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1}};

void SET(rotate)(float *x, unsigned n) {
    if (n % VEC_WIDTH != 0) {
        rotate_scalar(x, n);
        return;
    }
    const unsigned block = n & -n;
    for (unsigned i = 0; i < n; i += VEC_WIDTH) {
        vec a = vec_load(x + i);
        a = ROTATE_STAGE(a, 1);
        a = ROTATE_STAGE(a, 2);
        a = ROTATE_STAGE(a, 4);
#if VEC_WIDTH == 16
        a = ROTATE_STAGE(a, 8);
#endif
        vec_store(x + i, a);
    }
    for (unsigned half = VEC_WIDTH; half < block; half *= 2)
        for (unsigned first = 0; first < n; first += 2 * half)
            for (unsigned i = first; i < first + half; i += VEC_WIDTH) {
                const vec a = vec_load(x + i), b = vec_load(x + i + half);
                vec_store(x + i, vec_add(a, b));
                vec_store(x + i + half, vec_sub(a, b));
            }
    const vec factor = vec_set(rotate_factor(block));
    for (unsigned i = 0; i < n; i += VEC_WIDTH) vec_store(x + i, vec_mul(vec_load(x + i), factor));
}
