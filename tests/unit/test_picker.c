/* Picking tokens for the rows of a step: masks, ends that may not come yet, log-probabilities of what was
 * there before anything changed it; the same on any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "engine/picker.h"
#include "sched/sequence.h"
#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

enum { N_ROWS = 20, N_VOCAB = TINY_N, MASK_WORDS = (N_VOCAB + 31) / 32 };

struct row {
    struct request request;
    struct sequence *sequence;
    float logits[N_VOCAB];
    uint32_t mask[MASK_WORDS];
};

static struct row rows[N_ROWS];

static int open_rows(void **state) {
    (void)state;
    put_tiny_vocabulary(&written, &(struct tiny_vocabulary){0});
    open_written();
    for (uint32_t r = 0; r < N_ROWS; r++) {
        struct row *row = &rows[r];
        *row = (struct row){.request = {.sampling = sampler_defaults(), .n_prompt = 3}};
        row->request.sampling.seed = r;
        assert_int_equal(sequence_new(&row->sequence, 8), 0);
        row->request.sequence = row->sequence;
        row->sequence->n_tokens = 4;
        for (int i = 0; i < 4; i++) row->sequence->tokens[i] = i + 1;
        for (uint32_t i = 0; i < N_VOCAB; i++) row->logits[i] = (float)(rng_u64(r, i) % 1000) / 100;
        memset(row->mask, 0xff, sizeof row->mask);
    }
    return 0;
}

static int close_rows(void **state) {
    (void)state;
    for (uint32_t r = 0; r < N_ROWS; r++) sequence_free(rows[r].sequence);
    close_tiny();
    return 0;
}

/* Picks of the rows [0, n) on so many threads; logits are copied, so that the rows stay as they are. */
static void pick(struct picker *picker, float *logits, uint32_t n) {
    for (uint32_t r = 0; r < n; r++) {
        memcpy(logits + r * N_VOCAB, rows[r].logits, sizeof rows[r].logits);
        picker->picks[r].request = rows[r].request.sequence == NULL ? NULL : &rows[r].request;
        picker->picks[r].mask = rows[r].mask;
        picker->picks[r].logits = logits + r * N_VOCAB;
    }
    picker_run(picker, n);
}

static struct picker open_picker(struct team *team) {
    struct picker picker;
    assert_int_equal(picker_open(&picker, tokenizer, kernel_set_get(NULL), N_VOCAB, N_ROWS, team), 0);
    return picker;
}

static void any_number_of_threads(void **state) {
    (void)state;
    static float logits[N_ROWS * N_VOCAB];
    token_id expected[N_ROWS];
    float expected_logprobs[N_ROWS];
    for (uint32_t r = 0; r < N_ROWS; r++) {
        rows[r].request.wants_logprobs = r % 2 == 0;
        rows[r].request.n_top_logprobs = r % 3;
    }
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct team *team;
        assert_int_equal(team_open(&team, n_threads), 0);
        struct picker picker = open_picker(team);
        for (int again = 0; again < 10; again++) {
            pick(&picker, logits, N_ROWS);
            for (uint32_t r = 0; r < N_ROWS; r++) {
                const struct pick *made = &picker.picks[r];
                if (n_threads == 1 && again == 0)
                    expected[r] = made->token, expected_logprobs[r] = made->logprob;
                assert_int_equal(made->token, expected[r]);
                assert_memory_equal(&made->logprob, &expected_logprobs[r], sizeof(float));
                assert_true(isnan(made->logprob) == (r % 2 != 0));
            }
        }
        for (uint32_t r = 0; r < N_ROWS; r++) { /* alone */
            struct row kept = rows[0];
            rows[0] = rows[r];
            pick(&picker, logits, 1);
            assert_int_equal(picker.picks[0].token, expected[r]);
            rows[0] = kept;
        }
        picker_close(&picker);
        team_close(team);
    }
}

static void only_what_the_mask_lets_through(void **state) {
    (void)state;
    static float logits[N_ROWS * N_VOCAB];
    struct picker picker = open_picker(NULL);
    for (uint32_t r = 0; r < N_ROWS; r++) { /* one token in each: among them the first and the last */
        uint32_t only = r == 0 ? 0 : r == 1 ? N_VOCAB - 1 : (r * 37) % N_VOCAB;
        memset(rows[r].mask, 0, sizeof rows[r].mask);
        rows[r].mask[only / 32] = 1u << only % 32;
        rows[r].request.wants_logprobs = r % 2 == 1;
    }
    pick(&picker, logits, N_ROWS);
    for (uint32_t r = 0; r < N_ROWS; r++) {
        uint32_t only = r == 0 ? 0 : r == 1 ? N_VOCAB - 1 : (r * 37) % N_VOCAB;
        assert_int_equal(picker.picks[r].token, only);
        if (r % 2 == 0) continue;
        /* the log-probability is that of the whole distribution, and its logits are left alone */
        float whole = logprobs_of(rows[r].logits, N_VOCAB, (int32_t)only, 0, NULL);
        assert_memory_equal(&picker.picks[r].logprob, &whole, sizeof whole);
        assert_memory_equal(logits + r * N_VOCAB, rows[r].logits, sizeof rows[r].logits);
    }
    picker_close(&picker);
}

static void no_end_before_its_time(void **state) {
    (void)state;
    static float logits[N_ROWS * N_VOCAB];
    struct picker picker = open_picker(NULL);
    assert_true(picker.n_ends >= 2); /* </s> and <|im_end|> */
    for (uint32_t r = 0; r < N_ROWS; r++) {
        rows[r].logits[TINY_EOS] = rows[r].logits[TINY_IM_END] = 100;
        rows[r].request.min_output_tokens = 5;
        rows[r].request.n_output = r < N_ROWS / 2 ? 4 : 5;
    }
    pick(&picker, logits, N_ROWS);
    for (uint32_t r = 0; r < N_ROWS; r++) {
        token_id token = picker.picks[r].token;
        assert_int_equal(token == TINY_EOS || token == TINY_IM_END, r >= N_ROWS / 2);
    }
    picker_close(&picker);
}

static void rows_of_nobody(void **state) {
    (void)state;
    static float logits[N_ROWS * N_VOCAB];
    struct picker picker = open_picker(NULL);
    pick(&picker, logits, 2);
    token_id first = picker.picks[0].token;
    picker.picks[1].token = -7;
    struct sequence *sequence = rows[1].request.sequence;
    rows[1].request.sequence = NULL;
    pick(&picker, logits, 2);
    assert_int_equal(picker.picks[0].token, first);
    assert_int_equal(picker.picks[1].token, -7);
    rows[1].request.sequence = sequence;
    picker_run(&picker, 0);
    picker_close(&picker);
}

static void the_most_likely_are_told(void **state) {
    (void)state;
    static float logits[N_ROWS * N_VOCAB];
    struct token_logprob top[LOGPROBS_MAX_TOP];
    struct picker picker = open_picker(NULL);
    for (uint32_t r = 0; r < N_ROWS; r++) {
        rows[r].request.wants_logprobs = true;
        rows[r].request.n_top_logprobs = r + 1;
        rows[r].request.sampling.presence_penalty = 2; /* changes what is picked from, not what is told */
    }
    pick(&picker, logits, N_ROWS);
    for (uint32_t r = 0; r < N_ROWS; r++) {
        logprobs_of(rows[r].logits, N_VOCAB, 0, r + 1, top);
        assert_memory_equal(picker.picks[r].top, top, (r + 1) * sizeof *top);
    }
    picker_close(&picker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_number_of_threads, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(only_what_the_mask_lets_through, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(no_end_before_its_time, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(rows_of_nobody, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(the_most_likely_are_told, open_rows, close_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
