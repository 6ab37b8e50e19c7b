/* Users of one prompt who decode in the same step read its keys once for all of them, and get the logits that
 * each would get alone, bit for bit; for a model (the first argument) of full layers, and for one of windows,
 * in a format of K and V (the second). */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/rng.h"
#include "engine_case.h"
#include "kv/kv_usage.h"
#include "model/cost.h"

enum { N_USERS = 8, MAX_TOKENS = 1024, N_SHARED = 650, N_OUTPUT = 12, MAX_LOGITS = 600 };

struct user {
    struct request request;
    token_id prompt[MAX_TOKENS];
    uint32_t n_prompt, n_steps;
    float alone[N_OUTPUT][MAX_LOGITS], logits[N_OUTPUT][MAX_LOGITS]; /* of each output token's position */
};

static struct user users[N_USERS];

static int open_all(void **state) {
    (void)state;
    open_engine((struct engine_opts){.kv_memory_bytes = 256 << 20,
                                     .max_sequences = N_USERS,
                                     .n_cached = N_USERS,
                                     .max_tokens = MAX_TOKENS,
                                     .chunk_tokens = 64},
                MAX_LOGITS);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    close_engine();
    return 0;
}

/* Prompts that begin with the same n_shared tokens; nested: of the second half of the users only with the
 * same n_shared / 2, after which each goes on alone. */
static void write_prompts(uint32_t n_shared, bool is_nested) {
    for (uint32_t u = 0; u < N_USERS; u++) {
        uint32_t n_alike = is_nested && u >= N_USERS / 2 ? n_shared / 2 : n_shared;
        users[u].n_prompt = n_shared + 3 + 29 * u;
        assert_true(users[u].n_prompt < MAX_TOKENS);
        for (uint32_t i = 0; i < users[u].n_prompt; i++)
            users[u].prompt[i] = (token_id)(rng_u64(i < n_alike ? 0 : u + 1, i) % model.description.n_vocab);
    }
}

static void submit(struct user *user, bool skips_cache) {
    user->n_steps = 0;
    user->request = (struct request){.max_output_tokens = N_OUTPUT,
                                     .sampling = sampler_defaults(),
                                     .ignores_end = true,
                                     .releases_cache = true,
                                     .skips_cache = skips_cache};
    user->request.sampling.seed = 5;
    assert_int_equal(engine_sequence_open(engine, &user->request.sequence), 0);
    if (engine_submit(engine, &user->request, user->prompt, user->n_prompt) < 0)
        fail_msg("%s", err_message());
}

/* Runs until nothing is left; returns the bytes of KV that sharers did not have to read. */
static uint64_t run_all(void) {
    uint64_t saved = 0;
    while (engine_step(engine) > 0) {
        const struct engine_step_report *report = engine_latest_step(engine);
        assert_true(report->kv_read_bytes <= report->kv_alone_bytes && report->kv_read_bytes > 0);
        saved += report->kv_alone_bytes - report->kv_read_bytes;
        for (uint32_t u = 0; u < N_USERS; u++) {
            const float *logits = engine_logits(engine, &users[u].request);
            if (logits == NULL) continue;
            assert_true(users[u].n_steps < N_OUTPUT);
            memcpy(users[u].logits[users[u].n_steps++], logits, model.description.n_vocab * sizeof *logits);
        }
    }
    return saved;
}

static void finish(struct user *user) {
    assert_int_equal(user->request.finish, FINISH_LENGTH);
    assert_int_equal(user->n_steps, N_OUTPUT);
    engine_sequence_close(engine, user->request.sequence);
}

static void assert_together_as_alone(uint32_t n_shared, bool is_nested) {
    write_prompts(n_shared, is_nested);
    for (uint32_t u = 0; u < N_USERS; u++) {
        (void)kv_evict(engine_kv(engine), UINT64_MAX);
        submit(&users[u], true);
        assert_int_equal(run_all(), 0);
        finish(&users[u]);
        memcpy(users[u].alone, users[u].logits, sizeof users[u].alone);
    }
    (void)kv_evict(engine_kv(engine), UINT64_MAX);
    /* The first of each half leaves its prompt in the cache for the others. */
    for (uint32_t u = 0; u < N_USERS; u += N_USERS / 2) {
        submit(&users[u], false);
        (void)run_all();
        finish(&users[u]);
    }
    for (uint32_t u = 0; u < N_USERS; u++) submit(&users[u], false);
    assert_true(run_all() > 0);
    for (uint32_t u = 0; u < N_USERS; u++) {
        finish(&users[u]);
        for (uint32_t i = 0; i < N_OUTPUT; i++)
            if (memcmp(users[u].alone[i], users[u].logits[i], model.description.n_vocab * sizeof(float)) != 0)
                fail_msg("user %" PRIu32 ": logits of output token %" PRIu32 " differ", u, i);
    }
    assert_true(kv_check(engine_kv(engine)));
}

static void users_of_one_prompt_are_as_alone(void **state) {
    (void)state;
    assert_together_as_alone(N_SHARED, false);
    assert_together_as_alone(256, false);
}

static void users_of_a_prompt_and_of_its_beginning_are_as_alone(void **state) {
    (void)state;
    assert_together_as_alone(N_SHARED, true);
}

/* The formula for a decode step of users of one prompt gives the bytes that the step counted. */
static void the_formula_is_what_is_read(void **state) {
    (void)state;
    for (uint32_t n_shared = 0; n_shared <= 768; n_shared += 64) {
        write_prompts(n_shared, false);
        (void)kv_evict(engine_kv(engine), UINT64_MAX);
        for (uint32_t u = 0; u < N_USERS; u++) users[u].n_prompt = n_shared + 3;
        submit(&users[0], false);
        (void)run_all();
        finish(&users[0]);
        for (uint32_t u = 0; u < N_USERS; u++) submit(&users[u], false);
        uint32_t n_compared = 0;
        for (uint32_t i = 0; engine_step(engine) > 0; i++) {
            const struct engine_step_report *report = engine_latest_step(engine);
            if (report->n_decode_rows + report->n_prefill_rows != N_USERS) continue;
            struct cost_batch batch = cost_batch_decode(N_USERS, n_shared + 2 + i);
            batch.n_shared = n_shared;
            struct cost cost = model_cost(&model, engine_kv_layout(engine), &batch);
            assert_int_equal(report->kv_read_bytes, cost.kv_read_bytes);
            batch.n_shared = 0;
            cost = model_cost(&model, engine_kv_layout(engine), &batch);
            assert_int_equal(report->kv_alone_bytes, cost.kv_read_bytes);
            n_compared++;
        }
        assert_true(n_compared >= N_OUTPUT - 1);
        for (uint32_t u = 0; u < N_USERS; u++) engine_sequence_close(engine, users[u].request.sequence);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    path = argv[1];
    format = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_of_one_prompt_are_as_alone),
        cmocka_unit_test(the_formula_is_what_is_read),
        cmocka_unit_test(users_of_a_prompt_and_of_its_beginning_are_as_alone),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
