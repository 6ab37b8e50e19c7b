/* The planner for Cabinet itself: factors found again that steps were made with, errors as their definition
 * has them, prompts as the sum of their chunks, and payloads counted one by one; on a tiny model (the
 * argument). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "plan/self_fit.h"
#include "plan/self_memory.h"

static const char *path;
static struct calibration calibration;
static struct model model;
static struct kv_layout layout;
static struct self_machine machine;

static void assert_close(double a, double b, double most) { assert_true(fabs(a - b) <= most); }

static int open_all(void **state) {
    (void)state;
    const struct kv_rules rules = kv_rules_of(CODEC_q4);
    if (model_open(&model, path, kernel_set_get("scalar"), NULL) < 0 ||
        description_kv_layout(&model.description, &rules, &layout) < 0)
        fail_msg("%s", err_message());
    calibration = (struct calibration){.n_threads = 2,
                                       .fork_seconds = 1e-6,
                                       .matmul_call_seconds = 2e-6,
                                       .attention_call_seconds = 3e-6,
                                       .vector_seconds = 1e-9};
    for (int type = 0; type < WEIGHT_TYPE_END; type++)
        for (int i = 0; i < CALIBRATION_MATMUL_ROWS; i++)
            calibration.matmul[type][i] = 1e-10 * (1 + calibration_matmul_rows[i] / 16.0);
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        for (int i = 0; i < CALIBRATION_ATTENTION_ROWS; i++)
            calibration.attention[codec][i] = 1e-10 / (i + 1);
        calibration.store[codec] = 1e-9;
    }
    machine = (struct self_machine){&calibration, &model, &layout};
    assert_int_equal(self_check(&machine), 0);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    model_close(&model);
    return 0;
}

static double total(const struct cost_batch *batch) {
    const struct self_factors none = self_factors_none();
    const struct self_seconds seconds = self_step(&machine, batch);
    return self_total(&seconds, &none);
}

static void more_work_takes_longer(void **state) {
    (void)state;
    double before = 0;
    for (uint64_t context = 0; context < 2000; context += 100) {
        const struct cost_batch one = cost_batch_decode(1, context), four = cost_batch_decode(4, context);
        assert_true(total(&one) >= before); /* a window ends the growth */
        assert_true(total(&four) > total(&one) && total(&four) < 4 * total(&one));
        before = total(&one);
    }
    struct cost_batch shared = cost_batch_decode(8, 1024), apart = shared;
    shared.n_shared = 1024;
    assert_true(total(&shared) < total(&apart));
    calibration.attention[CODEC_q4][0] = 0;
    assert_int_equal(self_check(&machine), ERR_INVALID);
    calibration.attention[CODEC_q4][0] = 1e-10;
}

static void a_prompt_is_its_chunks(void **state) {
    (void)state;
    const struct self_factors none = self_factors_none();
    const struct self_seconds whole = self_prefill(&machine, 64, 300, 128);
    double sum = 0;
    for (uint64_t done = 0; done < 300; done += 128) {
        struct cost_batch chunk = cost_batch_prefill(300 - done < 128 ? 300 - done : 128, 64 + done);
        chunk.n_wanted = done == 256;
        sum += total(&chunk);
    }
    assert_close(self_total(&whole, &none), sum, 1e-9 * sum);
}

/* Steps that take what the calibration says, times factors of their own. */
static void factors_are_found_again(void **state) {
    (void)state;
    enum { POINTS = 60 };
    double errors[POINTS];
    struct self_point points[POINTS];
    struct self_factors truth[2], found[SELF_FIT_FORMATS];
    for (int i = 0; i < SELF_PARTS; i++) truth[0].part[i] = truth[1].part[i] = 0.5 + 0.2 * i;
    truth[1].part[SELF_attention_few] = 3; /* a format's own */
    for (int i = 0; i < POINTS; i++) {
        const uint64_t n_users = 1 + rng_u64(1, (uint64_t)i) % 16, context = rng_u64(2, (uint64_t)i) % 4000;
        struct cost_batch batch = cost_batch_decode(n_users, context);
        if (i % 4 == 0) batch = cost_batch_prefill(32 + context % 480, context);
        points[i].predicted = self_step(&machine, &batch);
        points[i].format = (unsigned)i % 2;
        points[i].seconds = self_total(&points[i].predicted, &truth[i % 2]);
    }
    self_fit(points, POINTS, found);
    for (int i = 0; i < POINTS; i++) {
        const double predicted = self_total(&points[i].predicted, &found[points[i].format]);
        errors[i] = fabs(predicted / points[i].seconds - 1);
    }
    const struct self_errors left = self_errors_of(errors, POINTS);
    if (left.median > 0.02 || left.p90 > 0.1) fail_msg("median %g, p90 %g", left.median, left.p90);
    assert_true(found[1].part[SELF_attention_few] > 1.2 * found[0].part[SELF_attention_few]);
    self_fit(points, 0, found); /* nothing is known: as calibrated */
    for (int i = 0; i < SELF_PARTS; i++) assert_close(found[0].part[i], 1, 1e-12);
}

static void errors_by_their_definition(void **state) {
    (void)state;
    double errors[] = {5, 1, 4, 2, 3, 10, 9, 8, 7, 6};
    struct self_errors of_ten = self_errors_of(errors, 10);
    assert_close(of_ten.median, 5.5, 0);
    assert_close(of_ten.p90, 9, 0);
    struct self_errors of_one = self_errors_of(errors, 1);
    assert_close(of_one.median, 1, 0);
    assert_close(of_one.p90, 1, 0);
    assert_int_equal(self_errors_of(errors, 0).n, 0);
}

static void payloads_one_by_one(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 500; i++) {
        const uint32_t n_users = 1 + (uint32_t)(rng_u64(4, i) % 5),
                       n_tokens = (uint32_t)(rng_u64(5, i) % 900);
        const uint32_t n_shared = (uint32_t)(rng_u64(6, i) % (n_tokens + 1));
        struct self_payloads payloads = {0};
        self_payloads_add(&payloads, &layout, n_users, n_tokens, n_shared);
        uint64_t bytes = 0;
        for (uint32_t g = 0; g < layout.n_groups; g++)
            for (uint32_t u = 0; u < n_users; u++)
                for (uint32_t block = 0; block * BLOCK_TOKENS < n_tokens; block++) {
                    const struct kv_group *group = &layout.groups[g];
                    const uint32_t end = (block + 1) * BLOCK_TOKENS;
                    if (group->window > 0 && end + group->window <= n_tokens + 1) continue; /* passed */
                    if (u > 0 && end <= n_shared) continue; /* the first user's */
                    enum kv_class class = KV_OPEN;
                    if (group->converts && end <= n_tokens) class = block == 0 ? KV_SINK : KV_SEALED;
                    bytes += group->class_bytes[class];
                }
        assert_int_equal(self_payload_bytes(&payloads, &layout), bytes);
        const uint64_t slab_bytes = 1u << 20, slabs = self_slab_bytes(&payloads, &layout, slab_bytes);
        assert_true(slabs >= bytes && slabs % slab_bytes == 0);
        assert_true(slabs < bytes + (bytes / 4) + (uint64_t)layout.n_groups * KV_CLASS_COUNT * slab_bytes);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_work_takes_longer),  cmocka_unit_test(a_prompt_is_its_chunks),
        cmocka_unit_test(factors_are_found_again), cmocka_unit_test(errors_by_their_definition),
        cmocka_unit_test(payloads_one_by_one),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
