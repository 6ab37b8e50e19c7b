/* What happens to rows of q, K and V beside attention: RoPE, and storing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/float16.h"
#include "base/rng.h"
#include "codec/codec.h"
#include "kernel/kernel_set.h"

#define FOR_EACH_SET(set)                                                                                    \
    for (const struct kernel_set *const *set = kernel_set_all(); *set != NULL; set++)                        \
        if ((*set)->is_supported())

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { MAX_DIM = 256, MAX_STRIDE = MAX_DIM + 7 };

/* Uniform in [-1, 1). */
static float random_number(uint64_t seed, uint64_t i) { return (float)(2 * rng_uniform(seed, i) - 1); }

/* ---- storing ---- */

/* Rows of the kinds that rounding treats apart, some with numbers that are not finite. */
static void fill_row(float *row, unsigned slot, unsigned dim) {
    static const float specials[] = {
        0,      -0.0f,          INFINITY,    -INFINITY,   NAN,           65504,   65520,
        1e-40f, -1e-41f,        6.1e-5f,     5.9e-8f,     3e-8f,         2.9e-8f, 3.4e38f,
        -3e38f, 1.00048828125f, 1.00390625f, 1.01171875f, 1.00146484375f};
    for (unsigned d = 0; d < dim; d++) {
        uint64_t random = rng_u64(slot, d);
        row[d] = random % 4 == 0   ? specials[(random >> 8) % COUNT(specials)]
                 : random % 4 == 1 ? float_of_bits((uint32_t)(random >> 8))
                                   : random_number(slot, d);
        if (slot % 2 == 1 && !isfinite(row[d])) row[d] = -0.25f;
        if (slot % 4 == 3) row[d] = random_number(slot, d);
        if (slot % 8 == 7) row[d] *= 1e-40f;
    }
}

/* Rows stored together, by one codec, into slots slot .. slot + n - 1 of an area with guard bytes. */
static void check_stored(const struct kernel_set *kernels, enum codec_id id, unsigned slot, unsigned n,
                         unsigned dim, size_t stride) {
    enum { BYTES = MAX_DIM * BLOCK_TOKENS * 4, GUARD = 64 };
    static uint8_t area[GUARD + BYTES + GUARD], expected[GUARD + BYTES + GUARD];
    static float rows[BLOCK_TOKENS * MAX_STRIDE];
    const struct codec *codec = codec_get(id);
    for (unsigned i = 0; i < n; i++) fill_row(rows + i * stride, slot + i, dim);
    for (int is_v = 0; is_v < 2; is_v++) {
        memset(area, 0xa5, sizeof area);
        memset(expected, 0xa5, sizeof expected);
        for (unsigned i = 0; i < n; i++)
            (is_v ? codec->encode_v : codec->encode_k)(expected + GUARD, slot + i, rows + i * stride, dim);
        (is_v ? kernels->store_v : kernels->store_k)[id](area + GUARD, slot, n, rows, stride, dim);
        if (memcmp(area, expected, sizeof area) != 0)
            fail_msg("%s: %u rows of %u into slot %u of %s differ", kernels->name, n, dim, slot, codec->name);
    }
}

static void stored_rows_are_the_codecs(void **state) {
    (void)state;
    static const unsigned dims[] = {4, 8, 16, 20, 32, 64, 80, 96, 128, MAX_DIM};
    FOR_EACH_SET(set)
    for (int codec = 0; codec < CODEC_COUNT; codec++)
        for (size_t i = 0; i < COUNT(dims) && codec_get(codec)->is_row; i++) {
            const unsigned dim = dims[i] == 20 && codec != CODEC_q8 ? 22 : dims[i];
            for (unsigned slot = 0; slot < BLOCK_TOKENS; slot++) {
                check_stored(*set, codec, slot, 1, dim, dim);
                const unsigned n = 1 + (unsigned)(rng_u64(slot, i) % (BLOCK_TOKENS - slot));
                check_stored(*set, codec, slot, n, dim, dim + slot % 8);
                check_stored(*set, codec, slot, BLOCK_TOKENS - slot, dim, dim + 7);
            }
        }
}

/* ---- RoPE ---- */

/* Pairs are turned one by one by what this program computes, in the operations that the header names. */
static void rope_turns_pairs(void **state) {
    (void)state;
    enum { MAX_HEADS = 5 };
    static const unsigned dims[] = {2, 6, 16, 30, 32, 34, 48, 64, 80, 96, 128, MAX_DIM};
    FOR_EACH_SET(set)
    for (size_t i = 0; i < 2 * COUNT(dims) * (MAX_HEADS + 1); i++) {
        const bool is_interleaved = i % 2;
        const unsigned n_heads = (unsigned)(i / 2 % (MAX_HEADS + 1)), n_dims = dims[i / 2 / (MAX_HEADS + 1)],
                       head_dim = n_dims + 2 * (unsigned)(i % 3);
        float heads[MAX_HEADS * (MAX_DIM + 4) + 1], expected[COUNT(heads)], table[MAX_DIM];
        for (unsigned n = 0; n < COUNT(heads); n++) heads[n] = expected[n] = random_number(i, n);
        for (unsigned n = 0; n < n_dims; n++) table[n] = random_number(1000 + i, n);
        if (n_heads > 2) heads[n_dims - 1] = expected[n_dims - 1] = 3e38f * (i % 4 < 2 ? 1 : -1);
        for (unsigned h = 0; h < n_heads; h++)
            for (unsigned pair = 0; pair < n_dims / 2; pair++) {
                const unsigned first = is_interleaved ? 2 * pair : pair,
                               second = is_interleaved ? first + 1 : pair + n_dims / 2;
                const float a = heads[h * head_dim + first], b = heads[h * head_dim + second];
                const float ac = a * table[2 * pair], bs = b * table[2 * pair + 1],
                            as = a * table[2 * pair + 1], bc = b * table[2 * pair];
                expected[h * head_dim + first] = ac - bs;
                expected[h * head_dim + second] = as + bc;
            }
        (*set)->rope(heads, n_heads, head_dim, table, n_dims, is_interleaved);
        assert_memory_equal(heads, expected, sizeof heads);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_rows_are_the_codecs),
        cmocka_unit_test(rope_turns_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
