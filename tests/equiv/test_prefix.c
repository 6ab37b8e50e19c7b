/* What is taken over from the cache is what would have been computed: logits of a request that finds a
 * beginning of its prompt there are those of the same request alone, bit for bit; for a model (the first
 * argument) of full layers, and for one of windows, and a codec (the second) of rows or of blocks. */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "engine_case.h"
#include "kv/kv_usage.h"

enum { MAX_TOKENS = 512, N_PROMPT = 230, N_OUTPUT = 24, MAX_LOGITS = 600, CHUNK = 48 };

struct run {
    struct request request;
    uint32_t n_steps;
    float logits[N_OUTPUT][MAX_LOGITS]; /* of each output token's position */
};

static int open_all(void **state) {
    (void)state;
    open_engine((struct engine_opts){.kv_memory_bytes = 64 << 20,
                                     .max_sequences = 4,
                                     .n_cached = 8,
                                     .max_tokens = MAX_TOKENS,
                                     .chunk_tokens = CHUNK},
                MAX_LOGITS);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    assert_true(kv_check(engine_kv(engine)));
    close_engine();
    return 0;
}

/* The first n_common tokens are those of every prompt, the others this number's own. */
static void prompt_of(token_id *tokens, uint32_t n_common, uint64_t number, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (token_id)(rng_u64(i < n_common ? 0 : number, i) % model.description.n_vocab);
}

static void submit(struct run *run, const token_id *prompt, uint32_t n, uint64_t salt, bool skips_cache) {
    memset(run, 0, sizeof *run);
    run->request = (struct request){.max_output_tokens = N_OUTPUT,
                                    .sampling = sampler_defaults(),
                                    .ignores_end = true,
                                    .releases_cache = true,
                                    .skips_cache = skips_cache,
                                    .salt = salt};
    run->request.sampling.seed = 5;
    assert_int_equal(engine_sequence_open(engine, &run->request.sequence), 0);
    if (engine_submit(engine, &run->request, prompt, n) < 0) fail_msg("%s", err_message());
}

static int step(struct run *const *runs, size_t n) {
    int n_rows = engine_step(engine);
    assert_true(kv_check(engine_kv(engine)));
    for (size_t i = 0; i < n; i++) {
        const float *logits = engine_logits(engine, &runs[i]->request);
        if (logits == NULL || n_rows == 0) continue;
        memcpy(runs[i]->logits[runs[i]->n_steps++], logits, model.description.n_vocab * sizeof *logits);
    }
    return n_rows;
}

static void finish(struct run *run) {
    while (run->request.finish == FINISH_NONE && step(&run, 1) > 0) continue;
    assert_int_equal(run->request.finish, FINISH_LENGTH);
    assert_int_equal(run->n_steps, N_OUTPUT);
    engine_sequence_close(engine, run->request.sequence);
}

/* Full layers that keep rows: what is found does not depend on what a window or a block codec left of it. */
static bool is_exact(void) {
    const struct kv_layout *layout = engine_kv_layout(engine);
    return layout->n_groups == 1 && kv_layout_is_row(layout);
}

static uint32_t count_common(const token_id *a, const token_id *b, uint32_t most) {
    uint32_t n = 0;
    while (n < most && a[n] == b[n]) n++;
    return n;
}

static void forget(void) { (void)kv_evict(engine_kv(engine), UINT64_MAX); }

static struct run alone, other, again;

static void same_bits(const struct run *a, const struct run *b) {
    for (uint32_t i = 0; i < N_OUTPUT; i++)
        if (memcmp(a->logits[i], b->logits[i], sizeof a->logits[i]) != 0)
            fail_msg("logits of output token %" PRIu32 " differ", i);
}

static void a_hit_of_any_length_changes_nothing(void **state) {
    (void)state;
    token_id prompt[N_PROMPT], sibling[N_PROMPT];
    for (uint32_t n_common = 0; n_common <= N_PROMPT; n_common += 23) {
        forget();
        prompt_of(prompt, n_common, 1, N_PROMPT);
        prompt_of(sibling, n_common, 2, N_PROMPT);
        submit(&alone, prompt, N_PROMPT, 0, true);
        finish(&alone);
        assert_int_equal(alone.request.n_cached, 0);
        forget();
        submit(&other, sibling, N_PROMPT, 0, false);
        finish(&other);
        submit(&again, prompt, N_PROMPT, 0, false);
        finish(&again);
        /* To the token, as far as the sibling left full blocks behind. */
        uint32_t most = (N_PROMPT + N_OUTPUT - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
        if (most > N_PROMPT - 1) most = N_PROMPT - 1;
        most = count_common(prompt, sibling, most);
        assert_true(again.request.n_cached <= most);
        if (is_exact()) assert_int_equal(again.request.n_cached, most);
        same_bits(&again, &alone);
    }
}

static void the_same_again_hits_all_but_the_end(void **state) {
    (void)state;
    token_id prompt[N_PROMPT];
    forget();
    prompt_of(prompt, N_PROMPT, 1, N_PROMPT);
    submit(&alone, prompt, N_PROMPT, 0, false);
    finish(&alone);
    submit(&again, prompt, N_PROMPT, 0, false);
    finish(&again);
    assert_int_equal(again.request.n_cached, (N_PROMPT - 1) / BLOCK_TOKENS * BLOCK_TOKENS);
    same_bits(&again, &alone);
    submit(&other, prompt, N_PROMPT, 7, false); /* another's salt finds nothing */
    finish(&other);
    assert_int_equal(other.request.n_cached, 0);
    same_bits(&other, &alone);
}

/* A second request comes while the first is prefilled or answered, and takes over what is sealed of it. */
static void running_sequences_share(void **state) {
    (void)state;
    token_id prompt[N_PROMPT], sibling[N_PROMPT];
    prompt_of(prompt, 100, 1, N_PROMPT);
    prompt_of(sibling, 100, 2, N_PROMPT);
    for (uint32_t n_before = 1; n_before < 12; n_before += 2) {
        forget();
        submit(&alone, prompt, N_PROMPT, 0, true);
        finish(&alone);
        forget();
        struct run *both[] = {&other, &again};
        submit(&other, sibling, N_PROMPT, 0, false);
        for (uint32_t i = 0; i < n_before; i++) (void)step(both, 1);
        submit(&again, prompt, N_PROMPT, 0, false);
        while (step(both, 2) > 0) continue;
        assert_int_equal(again.request.finish, FINISH_LENGTH);
        /* The second is let in when the first one's prompt leaves it rows, and so is sealed that far. */
        if (is_exact()) assert_int_equal(again.request.n_cached, count_common(prompt, sibling, N_PROMPT));
        same_bits(&again, &alone);
        engine_sequence_close(engine, other.request.sequence);
        engine_sequence_close(engine, again.request.sequence);
    }
}

/* Several answers to one prompt, or two that come at once: the second computes the last row of the prompt,
 * and has all others from the first, who has just computed them: full blocks shared, the rest copied. */
static void two_that_come_together_compute_the_prompt_once(void **state) {
    (void)state;
    token_id prompt[N_PROMPT];
    prompt_of(prompt, N_PROMPT, 3, N_PROMPT);
    for (uint32_t n = N_PROMPT - 40; n <= N_PROMPT; n += 5) {
        forget();
        submit(&alone, prompt, n, 0, true);
        finish(&alone);
        forget();
        struct run *both[] = {&other, &again};
        uint64_t n_copies = kv_usage(engine_kv(engine)).n_copies;
        submit(&other, prompt, n, 0, false);
        submit(&again, prompt, n, 0, false);
        int n_rows = 0, n_step;
        while ((n_step = step(both, 2)) > 0) n_rows += n_step;
        assert_int_equal(n_rows, n + 1 + 2 * (N_OUTPUT - 1));
        assert_int_equal(other.request.n_cached, 0);
        assert_int_equal(again.request.n_cached, n - 1);
        if ((n - 1) % BLOCK_TOKENS != 0) assert_true(kv_usage(engine_kv(engine)).n_copies > n_copies);
        same_bits(&other, &alone);
        same_bits(&again, &alone);
        engine_sequence_close(engine, other.request.sequence);
        engine_sequence_close(engine, again.request.sequence);
    }
}

/* A sequence that begins as a fork, at any token, of one that is being answered. */
static void a_fork_goes_on_as_if_it_were_alone(void **state) {
    (void)state;
    token_id prompt[N_PROMPT], sibling[N_PROMPT];
    for (uint32_t n_common = 60; n_common < N_PROMPT; n_common += 19) {
        prompt_of(prompt, n_common, 1, N_PROMPT);
        prompt_of(sibling, n_common, 2, N_PROMPT);
        forget();
        submit(&alone, prompt, N_PROMPT, 0, true);
        finish(&alone);
        forget();
        struct run *both[] = {&other, &again};
        submit(&other, sibling, N_PROMPT, 0, false);
        for (int i = 0; i < 8; i++) (void)step(both, 1);
        submit(&again, prompt, N_PROMPT, 0, true);
        engine_cancel(engine, &again.request); /* its sequence is wanted */
        struct sequence *fork = again.request.sequence;
        memcpy(fork->tokens, sibling, sizeof sibling);
        uint32_t n = kv_fork(engine_kv(engine), &fork->kv, &other.request.sequence->kv, n_common);
        if (is_exact()) assert_int_equal(n, n_common);
        assert_true(n >= n_common / BLOCK_TOKENS * BLOCK_TOKENS);
        assert_true(kv_check(engine_kv(engine)));
        assert_int_equal(engine_submit(engine, &again.request, prompt, N_PROMPT), 0);
        again.n_steps = 0;
        while (step(both, 2) > 0) continue;
        assert_int_equal(again.request.n_cached, n);
        same_bits(&again, &alone);
        engine_sequence_close(engine, other.request.sequence);
        engine_sequence_close(engine, again.request.sequence);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    path = argv[1];
    format = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_of_any_length_changes_nothing),
        cmocka_unit_test(the_same_again_hits_all_but_the_end),
        cmocka_unit_test(running_sequences_share),
        cmocka_unit_test(two_that_come_together_compute_the_prompt_once),
        cmocka_unit_test(a_fork_goes_on_as_if_it_were_alone),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
