#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "gguf_writer.h"
#include "model/description.h"

enum { U32 = 4, F32 = 6, BOOL = 7, STRING = 8, N_LAYERS = 12 };

/* A file that is only metadata: what every architecture needs, and then whatever a test adds. */
static struct gguf_writer writer;
static uint64_t n_values;
static char prefix[32];

static const char *key(const char *name) {
    static char full[96];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    return full;
}

static void add_u32(const char *name, uint32_t value) {
    put_u32_value(&writer, key(name), value);
    n_values++;
}

static void add_f32(const char *name, float value) {
    put_key(&writer, key(name), F32);
    put_f32(&writer, value);
    n_values++;
}

static void begin(const char *architecture) {
    snprintf(prefix, sizeof prefix, "%s", architecture);
    n_values = 2;
    put_header(&writer, 3, 0, 0);
    put_string_value(&writer, "general.architecture", architecture);
    put_array(&writer, "tokenizer.ggml.tokens", STRING, 2);
    put_string(&writer, "a");
    put_string(&writer, "b");
    add_u32("block_count", N_LAYERS);
    add_u32("embedding_length", 64);
    add_u32("feed_forward_length", 128);
    add_u32("context_length", 4096);
    add_u32("attention.head_count", 4);
    add_u32("attention.head_count_kv", 2);
}

static int read_description(struct description *d) {
    struct gguf *file;
    memcpy(writer.bytes + 16, &n_values, sizeof n_values);
    assert_int_equal(gguf_open_bytes(&file, writer.bytes, writer.length, "test"), 0);
    int result = description_read(file, d);
    gguf_close(file);
    return result;
}

static struct description d;

static void assert_windows(uint32_t window, uint32_t period) {
    for (uint32_t i = 0; i < N_LAYERS; i++)
        assert_int_equal(d.layers[i].window, period == 1 || (i + 1) % period != 0 ? window : 0);
}

static void the_plain_transformer_has_no_extras(void **state) {
    (void)state;
    begin("llama");
    assert_int_equal(read_description(&d), 0);
    assert_int_equal(d.head_dim, 16);
    assert_true(d.has_pre_norms && !d.has_post_norms && d.qk_norm == QK_NORM_NONE);
    assert_true(d.embedding_scale == 1 && d.residual_scale == 1 && d.logit_scale == 1);
    assert_true(d.attention_scale == 0.25f && d.attention_softcap == 0 && d.logit_softcap == 0);
    assert_int_equal(d.n_ropes, 1);
    assert_windows(0, 1);
}

static void mistral_has_its_window_in_every_layer(void **state) {
    (void)state;
    begin("llama");
    add_u32("attention.sliding_window", 100);
    assert_int_equal(read_description(&d), 0);
    assert_windows(100, 1);
    struct kv_layout layout;
    const struct kv_rules f16 = kv_rules_of(CODEC_f16);
    assert_int_equal(description_kv_layout(&d, &f16, &layout), 0);
    assert_int_equal(layout.n_groups, 1);
    assert_int_equal(layout.groups[0].window, 100);
    begin("llama"); /* no shorter than the context: there is nothing that it hides */
    add_u32("attention.sliding_window", 4096);
    assert_int_equal(read_description(&d), 0);
    assert_windows(0, 1);
}

static void gemma_alternates(void **state) {
    (void)state;
    begin("gemma2");
    add_u32("attention.sliding_window", 256);
    assert_int_equal(read_description(&d), 0);
    assert_windows(256, 2);
    assert_true(d.attention_softcap == 50 && d.logit_softcap == 30 && d.embedding_scale == 8);
    begin("gemma3");
    add_u32("attention.sliding_window", 512);
    add_f32("rope.freq_base", 1e6f);
    assert_int_equal(read_description(&d), 0);
    assert_windows(512, 6);
    assert_int_equal(d.n_ropes, 2);
    for (uint32_t i = 0; i < N_LAYERS; i++)
        assert_true(d.ropes[d.layers[i].rope].base == (d.layers[i].window > 0 ? 1e4f : 1e6f));
    assert_true(d.logit_softcap == 0 && d.attention_softcap == 0);
    struct kv_layout layout;
    const struct kv_rules f16 = kv_rules_of(CODEC_f16);
    assert_int_equal(description_kv_layout(&d, &f16, &layout), 0);
    assert_int_equal(layout.n_groups, 2);
    assert_int_equal(layout.groups[0].n_layers, 10);
    assert_int_equal(layout.groups[1].n_layers, 2);
    assert_int_equal(layout.groups[1].window, 0);
}

static void the_file_may_say_which_layers_see_a_window(void **state) {
    (void)state;
    begin("gemma3");
    add_u32("attention.sliding_window", 512);
    put_array(&writer, key("attention.sliding_window_pattern"), BOOL, N_LAYERS);
    for (uint32_t i = 0; i < N_LAYERS; i++) put_u8(&writer, i < 5);
    n_values++;
    assert_int_equal(read_description(&d), 0);
    for (uint32_t i = 0; i < N_LAYERS; i++) assert_int_equal(d.layers[i].window, i < 5 ? 512 : 0);
    begin("gemma3");
    add_u32("attention.sliding_window", 512);
    add_u32("attention.sliding_window_pattern", 3);
    assert_int_equal(read_description(&d), 0);
    assert_windows(512, 3);
    begin("gemma3");
    add_u32("attention.sliding_window", 512);
    add_u32("attention.sliding_window_pattern", 0);
    assert_int_equal(read_description(&d), ERR_CORRUPT);
    begin("gemma3");
    add_u32("attention.sliding_window", 512);
    put_array(&writer, key("attention.sliding_window_pattern"), BOOL, 3); /* of 12 layers */
    for (uint32_t i = 0; i < 3; i++) put_u8(&writer, 1);
    n_values++;
    assert_int_equal(read_description(&d), ERR_CORRUPT);
    assert_non_null(strstr(err_message(), "sliding_window_pattern"));
}

static void factors_are_read(void **state) {
    (void)state;
    begin("granite");
    add_f32("embedding_scale", 12);
    add_f32("residual_scale", 0.25f);
    add_f32("attention.scale", 0.015625f);
    add_f32("logit_scale", 8);
    assert_int_equal(read_description(&d), 0);
    assert_true(d.embedding_scale == 12 && d.residual_scale == 0.25f);
    assert_true(d.attention_scale == 0.015625f && d.logit_scale == 0.125f);
    begin("granite");
    add_f32("logit_scale", NAN);
    assert_int_equal(read_description(&d), ERR_CORRUPT);
    assert_non_null(strstr(err_message(), "granite.logit_scale"));
}

static void some_layers_have_no_rope(void **state) {
    (void)state;
    begin("smollm3");
    assert_int_equal(read_description(&d), 0);
    for (uint32_t i = 0; i < N_LAYERS; i++) assert_int_equal(d.layers[i].rope, i % 4 == 3 ? ROPE_ABSENT : 0);
    begin("granite");
    put_key(&writer, key("rope.scaling.finetuned"), BOOL);
    put_u8(&writer, 0);
    n_values++;
    assert_int_equal(read_description(&d), 0);
    for (uint32_t i = 0; i < N_LAYERS; i++) assert_int_equal(d.layers[i].rope, ROPE_ABSENT);
}

static void lists_of_one_value_are_that_value(void **state) {
    (void)state;
    for (int differs = 0; differs < 2; differs++) {
        begin("olmo2");
        put_array(&writer, key("attention.value_length"), U32, 3);
        for (uint32_t i = 0; i < 3; i++) put_u32(&writer, 16 + (differs && i == 2));
        n_values++;
        assert_int_equal(read_description(&d), differs ? ERR_UNSUPPORTED : 0);
    }
    assert_non_null(strstr(err_message(), "differs from layer to layer"));
    begin("olmo2");
    put_array(&writer, key("attention.value_length"), STRING, 1);
    put_string(&writer, "16");
    n_values++;
    assert_int_equal(read_description(&d), ERR_CORRUPT);
}

static void unknown_architectures_are_named(void **state) {
    (void)state;
    begin("mamba");
    assert_int_equal(read_description(&d), ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "mamba"));
    assert_non_null(strstr(err_message(), "smollm3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_transformer_has_no_extras),
        cmocka_unit_test(mistral_has_its_window_in_every_layer),
        cmocka_unit_test(gemma_alternates),
        cmocka_unit_test(the_file_may_say_which_layers_see_a_window),
        cmocka_unit_test(factors_are_read),
        cmocka_unit_test(some_layers_have_no_rope),
        cmocka_unit_test(lists_of_one_value_are_that_value),
        cmocka_unit_test(unknown_architectures_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
