/* Perplexity and KL divergence from logits that someone else computed: the engine streams its own for the
 * same tokens, and figures from both must agree. Arguments are triples as those of test_logits.c: a model,
 * its golden file, and a bound's name that does not matter here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "engine/engine.h"
#include "logits_file.h"
#include "model/divergence.h"

static char **arguments;
static int n_arguments;

static uint64_t tick(void *state) { return ++*(uint64_t *)state; }

/* Second half of the file's tokens, as one chunk is scored. */
struct scoring {
    const struct logits_file *file;
    double *nll;
    double kl_sum;
    size_t n;
};

static void score(void *user, uint32_t position, uint32_t n_rows, const float *logits) {
    struct scoring *scoring = user;
    size_t n_vocab = scoring->file->n_vocab;
    for (uint32_t row = position; row < position + n_rows; row++, logits += n_vocab) {
        const float *golden = scoring->file->logits + row * n_vocab;
        double log_sum = divergence_log_sum(logits, n_vocab);
        scoring->nll[scoring->n++] = log_sum - (double)logits[scoring->file->tokens[row + 1]];
        scoring->kl_sum +=
            divergence_kl(golden, divergence_log_sum(golden, n_vocab), logits, log_sum, n_vocab);
    }
}

static void stream(const char *path, const struct logits_file *file, struct scoring *scoring) {
    struct team *team;
    struct model model;
    struct engine *engine;
    uint64_t time = 0;
    struct engine_opts opts = {.kv_memory_bytes = 16 << 20,
                               .kv = kv_rules_of(CODEC_f32),
                               .max_sequences = 1,
                               .max_tokens = file->n_tokens,
                               .chunk_tokens = 50,
                               .slice_rows = 16,
                               .clock = {tick, &time}};
    assert_int_equal(team_open(&team, 2), 0);
    if (model_open(&model, path, kernel_set_get(NULL), team) < 0) fail_msg("%s", err_message());
    if (engine_open(&engine, &model, team, &opts) < 0) fail_msg("%s", err_message());
    struct request request = {.sampling = sampler_defaults(),
                              .max_output_tokens = 1,
                              .on_logits = score,
                              .first_logits = file->n_tokens / 2,
                              .user = scoring};
    assert_int_equal(engine_sequence_open(engine, &request.sequence), 0);
    assert_int_equal(engine_submit(engine, &request, file->tokens, file->n_tokens - 1), 0);
    while (engine_step(engine) > 0) continue;
    engine_sequence_close(engine, request.sequence);
    engine_close(engine);
    model_close(&model);
    team_close(team);
}

/* exp of the mean of -log p of the next token, p computed by dividing. */
static double naive_perplexity(const struct logits_file *file) {
    long double nll = 0;
    uint32_t first = file->n_tokens / 2, n = file->n_tokens - 1 - first;
    for (uint32_t row = first; row < first + n; row++) {
        const float *golden = file->logits + (size_t)row * file->n_vocab;
        long double sum = 0;
        for (uint32_t i = 0; i < file->n_vocab; i++) sum += expl(golden[i] - golden[file->tokens[row + 1]]);
        nll += logl(sum);
    }
    return (double)expl(nll / n);
}

static void perplexity_is_that_of_the_golden_logits(void **state) {
    (void)state;
    for (int i = 1; i + 2 < n_arguments; i += 3) {
        struct logits_file file;
        if (logits_file_read(&file, arguments[i + 1]) < 0) fail_msg("%s", err_message());
        assert_non_null(file.logits);
        struct scoring scoring = {.file = &file, .nll = calloc(file.n_tokens, sizeof(double))};
        stream(arguments[i], &file, &scoring);
        assert_int_equal(scoring.n, file.n_tokens - 1 - file.n_tokens / 2);
        double value = perplexity_of(scoring.nll, scoring.n).value, golden = naive_perplexity(&file);
        print_message("%s: perplexity %.6f, golden %.6f, KL mean %.2e\n", arguments[i], value, golden,
                      scoring.kl_sum / (double)scoring.n);
        assert_true(fabs(value / golden - 1) < 1e-5);
        assert_true(fabs(scoring.kl_sum / (double)scoring.n) < 1e-9);
        free(scoring.nll);
        logits_file_free(&file);
    }
}

int main(int argc, char **argv) {
    arguments = argv;
    n_arguments = argc;
    const struct CMUnitTest tests[] = {cmocka_unit_test(perplexity_is_that_of_the_golden_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
