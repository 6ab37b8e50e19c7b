/* The coded codecs (q8, q4, q3) against their drawings, read one number at a time, and against what rounding
 * to so many levels must cost. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/float16.h"
#include "base/rng.h"
#include "codec/codec.h"

enum { SLOTS = 32, MAX_DIM = 512, GUARD = 64, MAX_BYTES = SLOTS * MAX_DIM * 2 };
_Static_assert(BLOCK_TOKENS == SLOTS, "the drawings are of blocks of 32");

static const int levels_q4[16] = {-127, -96, -75, -58, -44, -31, -18, -6, 6, 18, 31, 44, 58, 75, 96, 127};
static const int levels_q3[8] = {-127, -79, -45, -14, 14, 45, 79, 127};

struct area {
    uint8_t before[GUARD], bytes[MAX_BYTES], after[GUARD];
};

static float rows[SLOTS][MAX_DIM];

static size_t bytes_of(enum codec_id codec, bool is_v, unsigned dim) {
    return is_v ? codec_get(codec)->v_bytes(dim) : codec_get(codec)->k_bytes(dim);
}

/* Gaussian numbers, whose channels have means if that is not 0. */
static void fill_rows(unsigned dim, uint64_t stream, float size, float mean) {
    for (unsigned i = 0; i < SLOTS * dim; i++) {
        double radius = sqrt(-2 * log(1 - rng_uniform(stream, 2 * i)));
        double angle = 6.283185307179586 * rng_uniform(stream, 2 * i + 1);
        rows[i / dim][i % dim] = size * (float)(radius * cos(angle)) + mean * (float)(i % dim % 7);
    }
}

/* The area of rows[][0 .. dim). */
static void encode(enum codec_id id, bool is_v, unsigned dim, struct area *area) {
    const struct codec *codec = codec_get(id);
    static float packed[SLOTS * MAX_DIM];
    for (unsigned slot = 0; slot < SLOTS; slot++)
        memcpy(packed + slot * dim, rows[slot], dim * sizeof(float));
    memset(area, 0xa5, sizeof *area);
    for (unsigned slot = 0; slot < SLOTS && codec->is_row; slot++)
        (is_v ? codec->encode_v : codec->encode_k)(area->bytes, slot, rows[slot], dim);
    if (!codec->is_row) (is_v ? codec->encode_v_block : codec->encode_k_block)(area->bytes, packed, dim);
    for (unsigned i = 0; i < GUARD; i++) assert_int_equal(area->before[i], 0xa5);
    for (size_t i = bytes_of(id, is_v, dim); i < sizeof area->bytes; i++)
        assert_int_equal(area->bytes[i], 0xa5);
}

static void decode(enum codec_id id, bool is_v, unsigned dim, const struct area *area, unsigned slot,
                   float *row) {
    (is_v ? codec_get(id)->decode_v : codec_get(id)->decode_k)(area->bytes, slot, row, dim);
}

/* ---- the drawings ---- */

/* The integer of number i of a slot: `quad` is its line and `at` its place there, of lines of `line` bytes.
 */
static int drawn_integer(enum codec_id id, const uint8_t *bytes, unsigned n_quads, unsigned line,
                         unsigned quad, unsigned at) {
    if (id == CODEC_q8) return (int8_t)bytes[quad * line + at];
    if (id == CODEC_q4) {
        uint8_t both = bytes[(quad / 2) * line + at];
        return levels_q4[quad % 2 == 0 ? both % 16 : both / 16];
    }
    unsigned low = bytes[(quad / 4) * line + at], high = bytes[(n_quads / 4 + quad / 8) * line + at];
    for (unsigned i = 0; i < quad % 4; i++) low /= 4;
    for (unsigned i = 0; i < quad % 8; i++) high /= 2;
    return levels_q3[low % 4 + 4 * (high % 2)];
}

static float drawn_number(enum codec_id id, bool is_v, unsigned dim, const uint8_t *bytes, unsigned slot,
                          unsigned i) {
    const unsigned columns = is_v ? (dim + 15) / 16 * 16 : SLOTS, n_quads = is_v ? SLOTS / 4 : dim / 4;
    const unsigned line = columns * 4, bits = id == CODEC_q8 ? 8 : id == CODEC_q4 ? 4 : 3;
    const int value = is_v ? drawn_integer(id, bytes, n_quads, line, slot / 4, i * 4 + slot % 4)
                           : drawn_integer(id, bytes, n_quads, line, i / 4, slot * 4 + i % 4);
    const uint8_t *scales = bytes + (size_t)n_quads * line * bits / 8;
    float scale, mean_scale;
    f16_bits half;
    memcpy(&scale, scales + slot * 4, 4);
    memcpy(&half, scales + slot * 2, 2);
    if (id != CODEC_q8) scale = f16_to_f32(half);
    if (id == CODEC_q8 || is_v) return (float)value * scale;
    const uint8_t *mean = scales + SLOTS * 2;
    memcpy(&mean_scale, mean + dim, 4);
    return (float)value * scale + (float)(int8_t)mean[i] * mean_scale;
}

static void areas_are_as_drawn(void **state) {
    (void)state;
    static struct area area;
    for (int id = CODEC_q8; id < CODEC_COUNT; id++)
        for (unsigned dim = codec_get(id)->dim_multiple; dim <= MAX_DIM;
             dim += codec_get(id)->dim_multiple * (dim < 100 ? 1 : 3))
            for (int is_v = 0; is_v < 2; is_v++) {
                fill_rows(dim, dim, 1, is_v ? 0 : 2);
                encode(id, is_v, dim, &area);
                for (unsigned slot = 0; slot < SLOTS; slot++) {
                    float row[MAX_DIM + 1];
                    row[dim] = 4711;
                    decode(id, is_v, dim, &area, slot, row);
                    for (unsigned i = 0; i < dim; i++)
                        assert_true(row[i] == drawn_number(id, is_v, dim, area.bytes, slot, i));
                    assert_true(row[dim] == 4711);
                }
            }
}

static void heads_of_64_take_few_bytes(void **state) {
    (void)state;
    const struct {
        enum codec_id id;
        size_t k, v;
    } expected[] = {{CODEC_q8, 2176, 2176}, {CODEC_q4, 1216, 1088}, {CODEC_q3, 960, 832}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(codec_get(expected[i].id)->k_bytes(64), expected[i].k);
        assert_int_equal(codec_get(expected[i].id)->v_bytes(64), expected[i].v);
        for (unsigned dim = 32; dim <= MAX_DIM; dim += 32) {
            assert_int_equal(codec_get(expected[i].id)->k_bytes(dim) % 64, 0);
            assert_int_equal(codec_get(expected[i].id)->v_bytes(dim) % 64, 0);
        }
    }
}

/* ---- what they cost ---- */

static void q8_is_within_half_a_step(void **state) {
    (void)state;
    static struct area area;
    for (unsigned dim = 4; dim <= MAX_DIM; dim *= 2)
        for (int is_v = 0; is_v < 2; is_v++) {
            fill_rows(dim, 7 + dim, dim % 8 == 0 ? 1e5f : 1e-5f, 0);
            encode(CODEC_q8, is_v, dim, &area);
            for (unsigned slot = 0; slot < SLOTS; slot++) {
                float row[MAX_DIM], largest = 0;
                decode(CODEC_q8, is_v, dim, &area, slot, row);
                for (unsigned i = 0; i < dim; i++) largest = fmaxf(largest, fabsf(rows[slot][i]));
                for (unsigned i = 0; i < dim; i++)
                    assert_true(fabsf(row[i] - rows[slot][i]) <= largest / 254 * 1.001f);
            }
        }
}

/* Error over the rows' own variance, which a mean of the channels does not belong to. */
static double relative_error(enum codec_id id, bool is_v, unsigned dim, float size, float mean) {
    static struct area area;
    double error = 0;
    fill_rows(dim, 99, size, mean);
    encode(id, is_v, dim, &area);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        float row[MAX_DIM];
        decode(id, is_v, dim, &area, slot, row);
        for (unsigned i = 0; i < dim; i++) error += pow((double)row[i] - (double)rows[slot][i], 2);
    }
    return error / (SLOTS * dim) / pow((double)size, 2);
}

/* Max's tables give 0.009497 for 16 levels of a Gaussian, 0.03454 for 8. A row's own scale takes off up
 * to a quarter. */
static void levels_cost_what_is_known_of_gaussians(void **state) {
    (void)state;
    const struct {
        enum codec_id id;
        double least, most;
    } expected[] = {{CODEC_q4, 0.0072, 0.0102}, {CODEC_q3, 0.027, 0.037}};
    for (size_t i = 0; i < 2; i++)
        for (unsigned dim = 64; dim <= 256; dim *= 2)
            for (int is_v = 0; is_v < 2; is_v++)
                for (float size = 1e-3f; size < 1e5f; size *= 1e3f) {
                    double error = relative_error(expected[i].id, is_v, dim, size, 0);
                    assert_true(error > expected[i].least && error < expected[i].most);
                }
}

/* Keys' channels have means ten times as large as what differs between tokens. */
static void means_of_channels_cost_keys_nothing(void **state) {
    (void)state;
    assert_true(relative_error(CODEC_q4, false, 64, 1, 3) < 0.0115);
    assert_true(relative_error(CODEC_q3, false, 64, 1, 3) < 0.040);
    assert_true(relative_error(CODEC_q4, true, 64, 1, 3) > 0.1); /* values keep theirs */
}

/* ---- odd rows ---- */

static void odd_rows_stay_by_themselves(void **state) {
    (void)state;
    static struct area area;
    for (int id = CODEC_q8; id < CODEC_COUNT; id++)
        for (int is_v = 0; is_v < 2; is_v++) {
            const unsigned dim = 64;
            fill_rows(dim, 5, 1, 0);
            for (unsigned i = 0; i < dim; i++) {
                rows[3][i] = 0;
                rows[4][i] = i % 2 ? 1e-40f : -1e-42f;
            }
            rows[5][7] = INFINITY;
            rows[6][63] = -INFINITY;
            rows[7][0] = NAN;
            encode(id, is_v, dim, &area);
            for (unsigned slot = 0; slot < SLOTS; slot++) {
                float row[64];
                double error = 0;
                decode(id, is_v, dim, &area, slot, row);
                for (unsigned i = 0; i < dim; i++) {
                    if (slot >= 5 && slot <= 7) assert_true(isnan(row[i]));
                    if (slot == 3 || slot == 4) assert_true(fabsf(row[i]) < 0.01f);
                    error += pow((double)row[i] - (double)rows[slot][i], 2);
                }
                if (slot < 5 || slot > 7) assert_true(error / dim < 0.12);
            }
        }
    memset(rows, 0, sizeof rows);
    for (int id = CODEC_q8; id < CODEC_COUNT; id++)
        for (int is_v = 0; is_v < 2; is_v++) {
            float row[64];
            encode(id, is_v, 64, &area);
            decode(id, is_v, 64, &area, 31, row);
            for (unsigned i = 0; i < 64; i++) assert_true(row[i] == 0);
        }
}

/* A row codec writes its slot and nothing else. */
static void slots_are_written_alone(void **state) {
    (void)state;
    static struct area area;
    for (int is_v = 0; is_v < 2; is_v++) {
        float expected[SLOTS][20], row[20];
        fill_rows(20, 11, 1, 0);
        encode(CODEC_q8, is_v, 20, &area);
        for (unsigned slot = 0; slot < SLOTS; slot++) decode(CODEC_q8, is_v, 20, &area, slot, expected[slot]);
        const float other[20] = {9, -9, 1};
        (is_v ? codec_get(CODEC_q8)->encode_v : codec_get(CODEC_q8)->encode_k)(area.bytes, 13, other, 20);
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            decode(CODEC_q8, is_v, 20, &area, slot, row);
            if (slot == 13)
                assert_true(fabsf(row[0] - 9) < 1e-5f && fabsf(row[2] - 1) < 0.04f);
            else
                assert_memory_equal(row, expected[slot], sizeof row);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(areas_are_as_drawn),
        cmocka_unit_test(heads_of_64_take_few_bytes),
        cmocka_unit_test(q8_is_within_half_a_step),
        cmocka_unit_test(levels_cost_what_is_known_of_gaussians),
        cmocka_unit_test(means_of_channels_cost_keys_nothing),
        cmocka_unit_test(odd_rows_stay_by_themselves),
        cmocka_unit_test(slots_are_written_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
