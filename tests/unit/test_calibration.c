/* Calibrations and verifications as files: what is written is read again; what is none, or does not fit, is
 * refused with its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "plan/calibration.h"
#include "plan/verification.h"

static char path[] = "/tmp/cabinet-calibration-XXXXXX";
static const struct calibration_fit fits = {"scalar", "1.2", 3};

static struct calibration example(void) {
    struct calibration c = {.machine = "A \"machine\"",
                            .kernels = "scalar",
                            .version = "1.2",
                            .date = "2026-01-02T03:04:05Z",
                            .n_threads = 3,
                            .memory_bytes = 1u << 30,
                            .n_reads = 2,
                            .reads = {{1, 4096, 1e9}, {3, 8192, 2.5e9}},
                            .read_bytes_per_second = 2.5e9,
                            .int8_ops = 1e12,
                            .bf16_flops = 5e11,
                            .f32_flops = 1e11,
                            .fork_seconds = 1e-6,
                            .matmul_call_seconds = 2e-6,
                            .attention_call_seconds = 3e-6,
                            .vector_seconds = 1e-10};
    for (int i = 0; i < CALIBRATION_MATMUL_ROWS; i++) c.matmul[WEIGHT_Q4_1][i] = 1e-11 * (i + 1);
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        for (int i = 0; i < CALIBRATION_ATTENTION_ROWS; i++) c.attention[codec][i] = 1e-12 * (codec + i + 1);
        c.store[codec] = 1e-9 * (codec + 1);
    }
    return c;
}

static void write_text(const char *text) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static char *read_text(void) {
    static char text[1 << 16];
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

static void assert_near(double a, double b) { assert_true(a <= b * 1.0000001 && a >= b * 0.9999999); }

static void what_is_written_is_read(void **state) {
    (void)state;
    struct calibration c = example(), again;
    assert_int_equal(calibration_write(&c, path), 0);
    if (calibration_read(&again, path, &fits) < 0) fail_msg("%s", err_message());
    assert_string_equal(again.machine, c.machine);
    assert_string_equal(again.date, c.date);
    assert_int_equal(again.memory_bytes, c.memory_bytes);
    assert_int_equal(again.n_reads, 2);
    assert_int_equal(again.reads[1].buffer_bytes, 8192);
    assert_near(again.reads[1].bytes_per_second, 2.5e9);
    assert_near(again.int8_ops, c.int8_ops);
    assert_near(again.f32_flops, c.f32_flops);
    assert_near(again.vector_seconds, c.vector_seconds);
    assert_near(again.matmul[WEIGHT_Q4_1][5], c.matmul[WEIGHT_Q4_1][5]);
    assert_true(again.matmul[WEIGHT_F32][0] <= 0);
    assert_near(again.attention[CODEC_q4][3], c.attention[CODEC_q4][3]);
    assert_near(again.store[CODEC_q3], c.store[CODEC_q3]);
}

static void assert_refused(int code, const struct calibration_fit *fit, const char *why) {
    struct calibration c;
    assert_int_equal(calibration_read(&c, path, fit), code);
    if (strstr(err_message(), why) == NULL) fail_msg("'%s' does not say '%s'", err_message(), why);
    assert_non_null(strstr(err_message(), "cabinet calibrate"));
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    struct calibration c = example();
    assert_int_equal(calibration_write(&c, path), 0);
    struct calibration_fit fit = fits;
    fit.kernels = "avx2";
    assert_refused(ERR_UNSUPPORTED, &fit, "avx2");
    fit = fits;
    fit.version = "1.3";
    assert_refused(ERR_UNSUPPORTED, &fit, "1.3");
    fit = fits;
    fit.n_threads = 4;
    assert_refused(ERR_UNSUPPORTED, &fit, "threads");
    const struct calibration_fit any = {"", "", 0};
    assert_int_equal(calibration_read(&c, path, &any), 0);
}

static void what_is_none_is_refused(void **state) {
    (void)state;
    write_text("{\n \"schema\": ");
    assert_refused(ERR_CORRUPT, &fits, ":2: ");
    write_text("{\"schema\": \"another/1\"}");
    assert_refused(ERR_CORRUPT, &fits, "schema");
    struct calibration c = example();
    static const char *const keys[] = {
        "\"threads\"",     "\"mem_bytes\"", "\"int8\"",           "\"fork_seconds\"",
        "\"matmul_rows\"", "\"kernels\"",   "\"attention_rows\"", "\"store_seconds_per_number\""};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_int_equal(calibration_write(&c, path), 0);
        char *text = read_text(), *at = strstr(text, keys[i]);
        assert_non_null(at);
        at[1] = '_'; /* the key is missing */
        write_text(text);
        assert_refused(ERR_CORRUPT, &fits, "no calibration");
    }
    c.matmul[WEIGHT_Q4_1][2] = 0;
    assert_int_equal(calibration_write(&c, path), 0);
    assert_refused(ERR_CORRUPT, &fits, "Q4_1");
    (void)unlink(path);
    assert_refused(ERR_NOT_FOUND, &fits, "not measured yet");
}

static void verifications_are_read(void **state) {
    (void)state;
    static const char good[] = "{\"schema\": \"cabinet-verification/1\", \"version\": \"1.2\", \"kernels\": "
                               "\"scalar\", \"threads\": 3,"
                               " \"date\": \"d\", \"model_bytes\": 77, \"errors\": {\"memory\": {\"n\": 1, "
                               "\"median\": 0, \"p90\": 0},"
                               " \"step\": {\"n\": 20, \"median\": 0.05, \"p90\": 0.12}, \"prefill\": "
                               "{\"n\": 3, \"median\": 0.1, \"p90\": 0.2},"
                               " \"ttft\": {\"n\": 3, \"median\": 0.1, \"p90\": 0.2}}, \"factors\": "
                               "{\"f16\": {\"step\": 1, \"layers\": 2,"
                               " \"weights_few\": 3, \"weights_many\": 4, \"vectors_few\": 5, "
                               "\"vectors_many\": 5, \"attention_few\": "
                               "6, \"attention_many\": 7, \"store\": 8}}}";
    struct verification v;
    write_text(good);
    if (verification_read(&v, path, &fits, 77) < 0) fail_msg("%s", err_message());
    assert_int_equal(v.step.n, 20);
    assert_near(v.step.p90, 0.12);
    assert_near(verification_factors(&v, "f16")->part[SELF_weights_many], 4);
    assert_ptr_equal(verification_factors(&v, "q3"), verification_factors(&v, "f16"));
    assert_int_equal(verification_read(&v, path, &fits, 78), ERR_UNSUPPORTED);
    write_text("{\"schema\": \"cabinet-verification/1\"}");
    assert_int_equal(verification_read(&v, path, &fits, 77), ERR_CORRUPT);
    (void)unlink(path);
    assert_int_equal(verification_read(&v, path, &fits, 77), ERR_NOT_FOUND);
}

int main(void) {
    int file = mkstemp(path);
    if (file < 0) return 1;
    (void)close(file);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read), cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(what_is_none_is_refused), cmocka_unit_test(verifications_are_read)};
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return result;
}
