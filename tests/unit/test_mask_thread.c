/* Masks beside a step: as the caller would compute them itself, for any number of jobs, again and again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "engine/mask_thread.h"
#include "model/constraint.h"
#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

enum { N_JOBS = 12, MAX_WORDS = 64, N_ROUNDS = 200 };

static struct constraint_vocabulary *vocabulary;
static uint32_t n_words;

/* The i-th answer must be `letters[i]` any number of times, then 'a'. */
static struct constraint *open_answer(int i) {
    char source[16];
    struct constraint *constraint;
    snprintf(source, sizeof source, "%c+a", 'b' + i);
    if (constraint_open(&constraint, vocabulary, CONSTRAINT_REGEX, source, strlen(source)) < 0)
        fail_msg("%s", err_message());
    return constraint;
}

static int open_vocabulary(void **state) {
    (void)state;
    put_tiny_vocabulary(&written, &(struct tiny_vocabulary){0});
    open_written();
    if (constraint_vocabulary_open(&vocabulary, tokenizer) < 0) fail_msg("%s", err_message());
    n_words = constraint_mask_words(vocabulary);
    assert_true(n_words <= MAX_WORDS);
    return 0;
}

static int close_vocabulary(void **state) {
    (void)state;
    constraint_vocabulary_close(vocabulary);
    close_tiny();
    return 0;
}

static bool allows(const uint32_t *mask, int token) { return mask[token / 32] >> token % 32 & 1; }

static void as_computed_alone(void **state) {
    (void)state;
    struct mask_thread *thread;
    struct constraint *answers[N_JOBS];
    uint32_t masks[N_JOBS][MAX_WORDS], expected[MAX_WORDS];
    assert_int_equal(mask_thread_open(&thread, N_JOBS), 0);
    for (int i = 0; i < N_JOBS; i++) answers[i] = open_answer(i);
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        uint32_t n = round % (N_JOBS + 1);
        struct mask_job *jobs = mask_thread_jobs(thread);
        memset(masks, 0, sizeof masks);
        for (uint32_t i = 0; i < n; i++)
            jobs[i] = (struct mask_job){.constraint = answers[i], .mask = masks[i], .result = -99};
        mask_thread_begin(thread, n);
        mask_thread_wait(thread);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(jobs[i].result, 0);
            assert_int_equal(constraint_mask(answers[i], expected), 0);
            assert_memory_equal(masks[i], expected, n_words * sizeof *expected);
            assert_true(allows(masks[i], 'b' + (int)i));
            assert_false(allows(masks[i], 'z'));
            assert_int_equal(constraint_accept(answers[i], 'b' + (int)i), 0);
        }
    }
    for (int i = 0; i < N_JOBS; i++) constraint_close(answers[i]);
    mask_thread_close(thread);
}

/* A job that fails says why, and the others are done. */
static void a_job_that_fails(void **state) {
    (void)state;
    struct mask_thread *thread;
    struct constraint *answers[2] = {open_answer(0), open_answer(1)};
    uint32_t masks[2][MAX_WORDS] = {0};
    assert_true(constraint_accept(answers[0], 'z') < 0); /* which breaks it */
    int broken = constraint_mask(answers[0], masks[0]);
    assert_int_equal(mask_thread_open(&thread, 2), 0);
    for (int i = 0; i < 2; i++)
        mask_thread_jobs(thread)[i] = (struct mask_job){.constraint = answers[i], .mask = masks[i]};
    mask_thread_begin(thread, 2);
    mask_thread_wait(thread);
    const struct mask_job *jobs = mask_thread_jobs(thread);
    assert_int_equal(jobs[0].result, broken);
    assert_int_equal(jobs[0].message[0] != '\0', broken < 0);
    assert_int_equal(jobs[1].result, 0);
    assert_true(allows(masks[1], 'c'));
    mask_thread_close(thread);
    for (int i = 0; i < 2; i++) constraint_close(answers[i]);
}

static void without_jobs(void **state) {
    (void)state;
    struct mask_thread *thread;
    mask_thread_close(NULL);
    assert_int_equal(mask_thread_open(&thread, 1), 0);
    mask_thread_close(thread); /* never started */
    assert_int_equal(mask_thread_open(&thread, 1), 0);
    mask_thread_wait(thread);
    mask_thread_begin(thread, 0);
    mask_thread_wait(thread);
    mask_thread_close(thread);
    for (uint64_t n = 1; n <= 2; n++) {
        fault_arm(FAULT_ONCE, n);
        assert_true(mask_thread_open(&thread, 1) < 0);
        fault_disarm();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_computed_alone, open_vocabulary, close_vocabulary),
        cmocka_unit_test_setup_teardown(a_job_that_fails, open_vocabulary, close_vocabulary),
        cmocka_unit_test(without_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
