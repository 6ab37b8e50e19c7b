/* The control codec against its definition, and that no rule names it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "codec/kv_rules.h"

enum { DIM = 80 }; /* two groups of 32 and one of 16 */

static void numbers_come_back_within_half_a_step(void **state) {
    (void)state;
    static float rows[BLOCK_TOKENS * DIM], row[DIM];
    static uint8_t area[BLOCK_TOKENS * DIM];
    const struct codec *codec = codec_get(CODEC_plain4);
    for (unsigned i = 0; i < BLOCK_TOKENS * DIM; i++)
        rows[i] = (float)(rng_uniform(1, i) - 0.5) * (i / DIM == 7 ? 0 : 1 + (float)(i % 3));
    assert_true(codec->k_bytes(DIM) <= sizeof area);
    codec->encode_k_block(area, rows, DIM);
    for (unsigned slot = 0; slot < BLOCK_TOKENS; slot++) {
        codec->decode_k(area, slot, row, DIM);
        for (unsigned begin = 0; begin < DIM; begin += 32) {
            const float *numbers = rows + slot * DIM + begin;
            unsigned end = begin + 32 < DIM ? begin + 32 : DIM;
            float extreme = 0;
            for (unsigned i = begin; i < end; i++)
                if (fabsf(numbers[i - begin]) > fabsf(extreme)) extreme = numbers[i - begin];
            float step = fabsf(extreme) / 8;
            for (unsigned i = begin; i < end; i++) {
                float error = fabsf(row[i] - numbers[i - begin]);
                /* Codes reach 8 steps on the extreme's side, 7 on the other. */
                bool is_beyond = numbers[i - begin] * extreme < 0 && fabsf(numbers[i - begin]) > 7.5f * step;
                if (!(error <= (is_beyond ? 1.01f : 0.501f) * step + fabsf(extreme) * 1e-3f))
                    fail_msg("slot %u, number %u: off by %g of %g", slot, i, (double)error, (double)step);
            }
        }
    }
}

static void it_is_as_large_as_4_bits_and_a_scale(void **state) {
    (void)state;
    assert_int_equal(codec_get(CODEC_plain4)->k_bytes(64), BLOCK_TOKENS * (64 / 2 + 2 * 2));
    assert_int_equal(codec_get(CODEC_plain4)->v_bytes(256), BLOCK_TOKENS * (256 / 2 + 8 * 2));
}

static void no_rule_names_it(void **state) {
    (void)state;
    static const char *const texts[] = {"plain4", "q8,full:plain4", "f16,layers=0:k=plain4"};
    struct kv_rules rules;
    for (int i = 0; i < 3; i++) assert_true(kv_rules_parse(&rules, texts[i]) < 0);
    assert_null(strstr(kv_format_names(), "plain"));
    rules = kv_rules_of(CODEC_plain4);
    assert_int_equal(kv_rules_codecs(&rules, 3, 0).k, CODEC_plain4);
    assert_int_equal(kv_rules_codecs(&rules, 0, 512).v, CODEC_plain4);
    assert_string_equal(rules.text, "plain4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_within_half_a_step),
        cmocka_unit_test(it_is_as_large_as_4_bits_and_a_scale),
        cmocka_unit_test(no_rule_names_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
