/* What --kv says, layer by layer, and what it may not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/kv_rules.h"

static void assert_layer(const char *text, uint32_t layer, uint32_t window, enum codec_id k,
                         enum codec_id v) {
    struct kv_rules rules;
    assert_int_equal(kv_rules_parse(&rules, text), 0);
    if (text != NULL) assert_string_equal(rules.text, text);
    struct kv_codecs codecs = kv_rules_codecs(&rules, layer, window);
    assert_int_equal(codecs.k, k);
    assert_int_equal(codecs.v, v);
}

static void a_format_holds_for_all_layers(void **state) {
    (void)state;
    assert_layer(NULL, 0, 0, CODEC_f16, CODEC_f16);
    assert_layer("f32", KV_MAX_LAYERS - 1, 512, CODEC_f32, CODEC_f32);
    assert_layer("q4", 3, 0, CODEC_q4, CODEC_q4);
    assert_layer("k8v4", 3, 0, CODEC_q8, CODEC_q4);
}

static void rules_change_what_they_select(void **state) {
    (void)state;
    const char *text = "q4,layers=0-1:q8,layers=4:k8v4,full:v=q8";
    assert_layer(text, 0, 512, CODEC_q8, CODEC_q8);
    assert_layer(text, 1, 512, CODEC_q8, CODEC_q8);
    assert_layer(text, 2, 512, CODEC_q4, CODEC_q4);
    assert_layer(text, 2, 0, CODEC_q4, CODEC_q8);
    assert_layer(text, 4, 512, CODEC_q8, CODEC_q4);
    assert_layer(text, 5, 512, CODEC_q4, CODEC_q4);
    assert_layer("q4,window:f16", 9, 512, CODEC_f16, CODEC_f16);
    assert_layer("q4,window:f16", 9, 0, CODEC_q4, CODEC_q4);
    assert_layer("q4,layers=0-9:q8,layers=5:k=f16", 5, 0, CODEC_f16, CODEC_q8); /* the last that selects */
}

/* The message says what is wrong, and what there is. */
static void assert_refused(const char *text, const char *what, const char *help) {
    struct kv_rules rules;
    assert_int_equal(kv_rules_parse(&rules, text), ERR_INVALID);
    if (strstr(err_message(), what) == NULL || strstr(err_message(), help) == NULL)
        fail_msg("%s: %s", text, err_message());
}

static void what_is_no_rule_is_refused(void **state) {
    (void)state;
    const char *formats = "f32, f16, bf16, q8, q4, q3, k8v4, auto",
               *selectors = "layers=0-1, layers=3, full, window";
    const char *const wrong[] = {"",
                                 "q5",
                                 "q4x",
                                 "Q4",
                                 "Auto",
                                 "plain4",
                                 "k=q8",
                                 "q4,full:q9",
                                 "q4,full:k=k8v4",
                                 "q4,full:k=auto",
                                 "q4,full:v=",
                                 "q4,full:"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i], "does not exist", formats);
    const char *const nowhere[] = {"q4,:q8",          "q4,layers=:q8",    "q4,layers=2-1:q8",
                                   "q4,layers=1-:q8", "q4,layers=512:q8", "q4,layers=-1:q8",
                                   "q4,layers=1 :q8", "q4,fully:q8",      "q4,layers=99999999999:q8"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        assert_refused(nowhere[i], "selects no layers", selectors);
    assert_refused("q4,", "sets nothing", "SELECTOR:FORMAT");
    assert_refused("q4,q8", "sets nothing", "SELECTOR:FORMAT");
    assert_refused("q4,full,window:q8", "sets nothing", "SELECTOR:FORMAT");
    char many[KV_RULES_LENGTH + 1] = "q4", longer[KV_RULES_LENGTH + 1];
    for (int i = 0; i < KV_MAX_RULES; i++) strcat(many, ",full:q8");
    assert_refused(many, "more than", "KV rules");
    memset(longer, 'q', KV_RULES_LENGTH);
    longer[KV_RULES_LENGTH] = '\0';
    assert_refused(longer, "bytes", "at most");
}

static void a_head_that_a_codec_cannot_take_is_named(void **state) {
    (void)state;
    struct kv_layout layout = {.n_groups = 1};
    assert_int_equal(kv_layout_add(&layout, 0, 1, 64, kv_codecs_both(CODEC_q4)), 0);
    assert_int_equal(kv_layout_add(&layout, 0, 1, 80, kv_codecs_both(CODEC_q8)), 0);
    assert_int_equal(kv_layout_add(&layout, 0, 1, 80, (struct kv_codecs){.k = CODEC_q8, .v = CODEC_q4}),
                     ERR_INVALID);
    assert_non_null(strstr(err_message(), "layer 2: KV codec q4 takes heads of a multiple of 32 numbers"));
    assert_int_equal(kv_layout_add(&layout, 0, 1, CODEC_MAX_DIM + 32, kv_codecs_both(CODEC_q8)), ERR_INVALID);
    assert_int_equal(layout.n_layers, 2);
}

/* auto is f16 that may become q4; a rule for one side leaves the other as it was. */
static void auto_demotes_what_no_rule_fixes(void **state) {
    (void)state;
    struct kv_rules rules;
    assert_int_equal(kv_rules_parse(&rules, "auto,layers=0-1:q8,layers=3:v=f32"), 0);
    for (uint32_t layer = 0; layer < 5; layer++) {
        struct kv_codecs codecs = kv_rules_codecs(&rules, layer, 0);
        assert_int_equal(codecs.k, layer < 2 ? CODEC_q8 : CODEC_f16);
        assert_int_equal(codecs.v, layer < 2 ? CODEC_q8 : layer == 3 ? CODEC_f32 : CODEC_f16);
        assert_int_equal(codecs.demotes_k, layer >= 2);
        assert_int_equal(codecs.demotes_v, layer >= 2 && layer != 3);
    }
}

static void a_group_that_demotes_has_a_class_for_it(void **state) {
    (void)state;
    struct kv_rules rules;
    struct kv_layout layout = {.n_groups = 1};
    assert_int_equal(kv_rules_parse(&rules, "auto,layers=1:bf16"), 0);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(kv_layout_add(&layout, 0, 3, 64, kv_rules_codecs(&rules, i, 0)), 0);
    const struct kv_group *group = &layout.groups[0];
    assert_true(group->demotes && !group->converts && kv_layout_demotes(&layout) &&
                kv_layout_is_row(&layout));
    /* codec_q4.c: 1216 + 1088 bytes a head; f16, bf16: 64 * 32 * 2 */
    assert_int_equal(group->class_bytes[KV_OPEN], 3 * 4 * 4096);
    assert_int_equal(group->class_bytes[KV_SINK], group->class_bytes[KV_OPEN]);
    assert_int_equal(group->class_bytes[KV_SEALED], group->class_bytes[KV_OPEN]);
    assert_int_equal(group->class_bytes[KV_DEMOTED], 3 * (1216 + 1088 + 2 * 4096));
    assert_int_equal(kv_layout_least_bytes_per_token(&layout), 3 * (1216 + 1088 + 2 * 4096) / 32);
    assert_true(layout.layers[0].rotates_k && layout.layers[0].rotates_v);
    assert_false(layout.layers[1].rotates_k || layout.layers[1].rotates_v);
    assert_int_equal(kv_layout_add(&layout, 0, 3, 64, kv_codecs_both(CODEC_q4)), ERR_INVALID);
    assert_non_null(strstr(err_message(), "layer 2: KV format auto goes together with"));
    struct kv_layout converts = {.n_groups = 1};
    assert_int_equal(kv_layout_add(&converts, 0, 3, 64, kv_codecs_both(CODEC_q4)), 0);
    assert_int_equal(kv_layout_add(&converts, 0, 3, 64, kv_rules_codecs(&rules, 0, 0)), ERR_INVALID);
    assert_int_equal(kv_layout_add(&layout, 0, 3, 80, kv_rules_codecs(&rules, 0, 0)), ERR_INVALID);
    assert_non_null(strstr(err_message(), "layer 2: KV codec q4 takes heads of a multiple of 32 numbers"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_format_holds_for_all_layers),
        cmocka_unit_test(rules_change_what_they_select),
        cmocka_unit_test(what_is_no_rule_is_refused),
        cmocka_unit_test(a_head_that_a_codec_cannot_take_is_named),
        cmocka_unit_test(auto_demotes_what_no_rule_fixes),
        cmocka_unit_test(a_group_that_demotes_has_a_class_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
