/* The engine over a tiny model (the argument): the same seed gives the same tokens whatever runs beside it,
 * however prompts are chunked and whatever was cached before; and every way in which a request can end. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "kv/kv_usage.h"

enum { N_REQUESTS = 16, MAX_TOKENS = 256, MAX_PROMPT = 150, N_OUTPUT = 40, PLENTY = 64 << 20 };

static const char *path;

/* ---- an engine and what its requests said ---- */

struct rig {
    struct team *team;
    struct model model;
    struct engine *engine;
};

struct talk {
    struct request request;
    struct sequence *sequence;
    token_id prompt[MAX_TOKENS];
    uint32_t n_prompt;
    token_id output[MAX_TOKENS];
    uint32_t n_output;
    struct rig *rig;
    struct request *cancels; /* on the first token: this request */
};

static uint64_t tick(void *state) { return ++*(uint64_t *)state; }
static uint64_t time_now;

static struct engine_opts default_opts(void) {
    return (struct engine_opts){.kv_memory_bytes = PLENTY,
                                .kv = kv_rules_of(CODEC_f16),
                                .max_sequences = N_REQUESTS,
                                .max_tokens = MAX_TOKENS,
                                .chunk_tokens = 512,
                                .clock = {tick, &time_now}};
}

static void rig_open(struct rig *rig, unsigned n_threads, const struct engine_opts *opts) {
    assert_int_equal(team_open(&rig->team, n_threads), 0);
    if (model_open(&rig->model, path, kernel_set_get(NULL), rig->team) < 0) fail_msg("%s", err_message());
    if (engine_open(&rig->engine, &rig->model, rig->team, opts) < 0) fail_msg("%s", err_message());
}

static void rig_close(struct rig *rig) {
    assert_true(kv_check(engine_kv(rig->engine)));
    assert_int_equal(kv_usage(engine_kv(rig->engine)).held_bytes, 0);
    engine_close(rig->engine);
    model_close(&rig->model);
    team_close(rig->team);
}

static bool keep_token(void *user, const struct token_report *report) {
    struct talk *talk = user;
    talk->output[talk->n_output++] = report->token;
    if (talk->cancels != NULL) engine_cancel(talk->rig->engine, talk->cancels);
    return false;
}

/* Prompt `number`: its length and its tokens; the same for every rig. */
static void talk_open(struct rig *rig, struct talk *talk, uint32_t number, uint32_t n_prompt) {
    *talk = (struct talk){.rig = rig, .n_prompt = n_prompt};
    for (uint32_t i = 0; i < n_prompt; i++)
        talk->prompt[i] = (token_id)(rng_u64(number, i) % rig->model.description.n_vocab);
    assert_int_equal(engine_sequence_open(rig->engine, &talk->sequence), 0);
    talk->request = (struct request){.sequence = talk->sequence,
                                     .sampling = sampler_defaults(),
                                     .max_output_tokens = N_OUTPUT,
                                     .ignores_end = true,
                                     .on_token = keep_token,
                                     .user = talk};
    talk->request.sampling.temperature = 0.8f;
    talk->request.sampling.seed = 77 + number;
}

static int submit(struct talk *talk) {
    talk->n_output = 0;
    return engine_submit(talk->rig->engine, &talk->request, talk->prompt, talk->n_prompt);
}

static void finish_all(struct rig *rig) {
    while (engine_step(rig->engine) > 0) assert_true(kv_check(engine_kv(rig->engine)));
}

static void talk_close(struct talk *talk) { engine_sequence_close(talk->rig->engine, talk->sequence); }

static uint32_t prompt_length(uint32_t number) { return 1 + (uint32_t)(rng_u64(1234, number) % MAX_PROMPT); }

static void assert_same_output(const struct talk *talk, const struct talk *expected) {
    assert_int_equal(talk->n_output, talk->request.n_output);
    assert_int_equal(talk->n_output, expected->n_output);
    for (uint32_t i = 0; i < talk->n_output; i++)
        if (talk->output[i] != expected->output[i])
            fail_msg("token %u is %d, should be %d", i, talk->output[i], expected->output[i]);
}

/* ---- the same tokens ---- */

static struct talk
    alone[N_REQUESTS]; /* each computed with nothing beside it, by one thread, its prompt at once */

static void compute_alone(void) {
    struct rig rig;
    struct engine_opts opts = default_opts();
    rig_open(&rig, 1, &opts);
    bool varies = false;
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        talk_open(&rig, &alone[i], i, prompt_length(i));
        assert_int_equal(submit(&alone[i]), 0);
        finish_all(&rig);
        assert_int_equal(alone[i].request.finish, FINISH_LENGTH);
        assert_int_equal(alone[i].n_output, N_OUTPUT);
        talk_close(&alone[i]);
        varies |= memcmp(alone[i].output, alone[0].output, sizeof alone[0].output) != 0;
    }
    assert_true(varies);
    rig_close(&rig);
}

/* Sixteen at once, which arrive one by one while the first are at work. */
static void check_together(unsigned n_threads, uint32_t chunk_tokens) {
    struct rig rig;
    struct engine_opts opts = default_opts();
    opts.chunk_tokens = chunk_tokens;
    rig_open(&rig, n_threads, &opts);
    static struct talk talks[N_REQUESTS];
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        uint32_t number = (i * 7 + chunk_tokens) % N_REQUESTS;
        talk_open(&rig, &talks[number], number, prompt_length(number));
        assert_int_equal(submit(&talks[number]), 0);
        if (i % 3 == 0) assert_true(engine_step(rig.engine) > 0);
    }
    finish_all(&rig);
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        const struct request *request = &talks[i].request;
        assert_int_equal(request->finish, FINISH_LENGTH);
        assert_same_output(&talks[i], &alone[i]);
        assert_true(request->n_cached <= 1); /* two of the random prompts begin with the same token */
        assert_int_equal(request->n_prompt, prompt_length(i));
        assert_true(request->submitted_ns < request->first_token_ns);
        assert_true(request->first_token_ns < request->last_token_ns);
        talk_close(&talks[i]);
    }
    rig_close(&rig);
}

static void a_seed_gives_its_tokens_in_any_company(void **state) {
    (void)state;
    compute_alone();
    static const uint32_t chunks[] = {1, 5, 32, 64, 512};
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++)
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
            if (n_threads == 2 || i % 2 == n_threads / 2) check_together(n_threads, chunks[i]);
}

/* A second request on a sequence: the first one's prompt and answer, `n_kept` tokens of them, and something
 * new. */
static void check_second_turn(uint32_t n_kept, uint32_t n_new, uint32_t n_cached) {
    struct rig rig;
    struct engine_opts opts = default_opts();
    rig_open(&rig, 2, &opts);
    static struct talk talk, fresh;
    talk_open(&rig, &talk, 3, 70);
    talk_open(&rig, &fresh, 4, 1);
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_LENGTH);
    assert_int_equal(talk.sequence->n_tokens, 70 + N_OUTPUT);
    memcpy(talk.prompt + talk.n_prompt, talk.output, talk.n_output * sizeof *talk.output);
    for (uint32_t i = 0; i < n_new; i++) talk.prompt[n_kept + i] = 255 - talk.prompt[n_kept + i] % 256;
    talk.n_prompt = n_kept + n_new;
    assert_int_equal(submit(&talk), 0);
    assert_int_equal(talk.request.n_cached, n_cached);
    assert_int_equal(talk.request.n_prompt, n_kept + n_new);
    finish_all(&rig);

    fresh.request.sampling.seed = talk.request.sampling.seed;
    memcpy(fresh.prompt, talk.prompt, sizeof talk.prompt);
    fresh.n_prompt = talk.n_prompt;
    assert_int_equal(submit(&fresh), 0);
    assert_int_equal(fresh.request.n_cached, 0);
    finish_all(&rig);
    assert_same_output(&talk, &fresh);
    talk_close(&fresh);
    talk_close(&talk);
    rig_close(&rig);
}

static void a_conversation_goes_on_where_it_was(void **state) {
    (void)state;
    uint32_t n_stored = 70 + N_OUTPUT - 1; /* the last token was sampled, not computed */
    check_second_turn(70 + N_OUTPUT, 20, n_stored);
    check_second_turn(80, 5, 80);  /* inside the last full block, which nobody shares */
    check_second_turn(64, 50, 64); /* at a border */
    check_second_turn(40, 30, 32); /* inside a block that another follows: it goes whole */
    check_second_turn(10, 60, 0);
    check_second_turn(0, 30, 0);
    check_second_turn(90, 0, 89); /* nothing new: the last token is computed again for its logits */
    check_second_turn(n_stored, 0, n_stored - 1);
}

/* ---- the ends ---- */

/* KV memory of exactly n blocks. */
static struct engine_opts scarce_opts(struct rig *rig, uint32_t n_blocks) {
    struct engine_opts opts = default_opts();
    rig_open(rig, 1, &opts);
    uint64_t bytes = kv_bytes_for(engine_kv_layout(rig->engine), BLOCK_TOKENS, 1);
    rig_close(rig);
    assert_int_equal(bytes % 4096, 0); /* else a slab would be larger than its block */
    opts.kv_memory_bytes = n_blocks * bytes;
    return opts;
}

static void assert_message_has(uint64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    if (strstr(err_message(), text) == NULL) fail_msg("'%s' does not say %s", err_message(), text);
}

static void a_prompt_that_can_never_fit_is_refused(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = scarce_opts(&rig, 4);
    rig_open(&rig, 1, &opts);
    static struct talk talk;
    talk_open(&rig, &talk, 1, 4 * BLOCK_TOKENS + 1);
    assert_int_equal(submit(&talk), ERR_FULL);
    assert_message_has(opts.kv_memory_bytes);
    assert_message_has(opts.kv_memory_bytes / 4 * 5);
    assert_int_equal(engine_step(rig.engine), 0);
    talk.n_prompt = MAX_TOKENS;
    assert_int_equal(submit(&talk), ERR_TOO_LARGE);
    assert_message_has(MAX_TOKENS);
    talk.n_prompt = 0;
    assert_int_equal(submit(&talk), ERR_INVALID);
    talk.n_prompt = 3;
    talk.prompt[1] = (token_id)rig.model.description.n_vocab;
    assert_int_equal(submit(&talk), ERR_INVALID);
    talk.prompt[1] = -1;
    assert_int_equal(submit(&talk), ERR_INVALID);
    talk.prompt[1] = 1;
    talk.request.sampling.top_p = 2;
    assert_int_equal(submit(&talk), ERR_INVALID);
    talk.request.sampling.top_p = 1;
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_LENGTH);
    talk_close(&talk);
    rig_close(&rig);
}

static void one_that_runs_out_of_memory_fails_and_says_how_much(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = scarce_opts(&rig, 4);
    rig_open(&rig, 1, &opts);
    static struct talk talk;
    talk_open(&rig, &talk, 1, 4 * BLOCK_TOKENS - 8);
    talk.request.max_output_tokens = 50;
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_FAILED);
    assert_int_equal(talk.request.error, ERR_FULL);
    assert_int_equal(talk.n_output, 9); /* eight slots were left, and the last token needs none */
    assert_message_has(opts.kv_memory_bytes);
    assert_message_has(opts.kv_memory_bytes / 4 * 5);
    /* alone, it keeps what it has: a shorter turn goes on from there */
    talk.n_prompt -= 20;
    talk.request.max_output_tokens = 10;
    assert_int_equal(submit(&talk), 0);
    assert_int_equal(talk.request.n_cached, talk.n_prompt - 1);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_LENGTH);
    talk_close(&talk);
    rig_close(&rig);
}

/* Both fill the memory; the younger one gives way, and is computed again when the older one is done: with the
 * same tokens as alone. */
static void who_is_preempted_says_the_same(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = scarce_opts(&rig, 4);
    rig_open(&rig, 1, &opts);
    static struct talk older, younger, brief;
    talk_open(&rig, &brief, 3, 2);
    brief.request.max_output_tokens = 1;
    for (int i = 0; i < 150; i++) { /* so that short answers are expected, and both are let in */
        assert_int_equal(submit(&brief), 0);
        finish_all(&rig);
    }
    talk_close(&brief);
    talk_open(&rig, &older, 1, 40);
    talk_open(&rig, &younger, 2, 40);
    older.request.max_output_tokens = younger.request.max_output_tokens = 60;
    older.request.releases_cache = true; /* or the younger one could never go on */
    assert_int_equal(submit(&older), 0);
    assert_int_equal(submit(&younger), 0);
    finish_all(&rig);
    assert_int_equal(younger.request.finish, FINISH_LENGTH);
    assert_true(younger.sequence->n_preemptions > 0);
    assert_int_equal(engine_load(rig.engine).n_preemptions, younger.sequence->n_preemptions);
    assert_int_equal(older.request.finish, FINISH_LENGTH);
    assert_int_equal(older.n_output, 60);
    talk_close(&younger);
    talk_close(&older);
    for (uint32_t number = 1; number <= 2; number++) {
        static struct talk alone_now;
        (void)kv_evict(engine_kv(rig.engine), UINT64_MAX);
        talk_open(&rig, &alone_now, number, 40);
        alone_now.request.max_output_tokens = 60;
        assert_int_equal(submit(&alone_now), 0);
        finish_all(&rig);
        assert_same_output(number == 1 ? &older : &younger, &alone_now);
        talk_close(&alone_now);
    }
    rig_close(&rig);
}

static void a_full_context_ends_the_answer(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    opts.max_tokens = 50;
    rig_open(&rig, 1, &opts);
    static struct talk talk;
    talk_open(&rig, &talk, 1, 49);
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_CONTEXT);
    assert_int_equal(talk.n_output, 1);
    talk.n_prompt = 30;
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_CONTEXT);
    assert_int_equal(talk.n_output, 20);
    talk_close(&talk);
    rig_close(&rig);
}

/* The model's end token, made certain by a bias, is not delivered. */
static void an_end_token_ends_the_answer(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    rig_open(&rig, 1, &opts);
    token_id end = 0;
    while (!tokenizer_is_end(rig.model.tokenizer, end)) end++;
    struct logit_bias bias = {end, 1e6f};
    static struct talk talk;
    talk_open(&rig, &talk, 1, 10);
    talk.request.sampling.biases = &bias;
    talk.request.sampling.n_biases = 1;
    talk.request.ignores_end = false;
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_END);
    assert_int_equal(talk.n_output, 0);
    assert_int_equal(talk.request.n_output, 0);
    talk.request.ignores_end = true;
    assert_int_equal(submit(&talk), 0);
    finish_all(&rig);
    assert_int_equal(talk.request.finish, FINISH_LENGTH);
    assert_int_equal(talk.n_output, N_OUTPUT);
    assert_int_equal(talk.output[0], end);
    talk_close(&talk);
    rig_close(&rig);
}

static void a_cancelled_request_stops_and_disturbs_nobody(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    rig_open(&rig, 2, &opts);
    static struct talk talks[3];
    for (uint32_t i = 0; i < 3; i++) {
        talk_open(&rig, &talks[i], i, prompt_length(i));
        assert_int_equal(submit(&talks[i]), 0);
    }
    while (talks[1].n_output < 5) assert_true(engine_step(rig.engine) > 0);
    engine_cancel(rig.engine, &talks[1].request);
    assert_int_equal(talks[1].request.finish, FINISH_CANCELLED);
    finish_all(&rig);
    assert_int_equal(talks[1].n_output, 5);
    for (uint32_t i = 0; i < 3; i += 2) {
        assert_int_equal(talks[i].request.finish, FINISH_LENGTH);
        assert_same_output(&talks[i], &alone[i]);
    }
    assert_int_equal(submit(&talks[1]), 0); /* what it computed stays cached */
    assert_int_equal(talks[1].request.n_cached, talks[1].n_prompt - 1);
    engine_cancel(rig.engine, &talks[1].request);
    engine_cancel(rig.engine, &talks[1].request);
    assert_int_equal(engine_step(rig.engine), 0);
    for (uint32_t i = 0; i < 3; i++) talk_close(&talks[i]);
    rig_close(&rig);
}

/* From the callback of one request: itself, and another whose token of this step is not taken yet. */
static void a_request_may_be_cancelled_from_a_callback(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    rig_open(&rig, 1, &opts);
    static struct talk first, second;
    talk_open(&rig, &first, 1, 10);
    talk_open(&rig, &second, 2, 10);
    second.request.max_output_tokens = 1; /* its end must not overwrite that it was cancelled */
    first.cancels = &second.request;
    assert_int_equal(submit(&first), 0);
    assert_int_equal(submit(&second), 0);
    finish_all(&rig);
    assert_int_equal(first.request.finish, FINISH_LENGTH);
    assert_int_equal(second.request.finish, FINISH_CANCELLED);
    assert_int_equal(second.n_output, 0);
    first.cancels = &first.request;
    first.request.max_output_tokens = 1;
    assert_int_equal(submit(&first), 0);
    finish_all(&rig);
    assert_int_equal(first.request.finish, FINISH_CANCELLED);
    assert_int_equal(first.n_output, 1);
    talk_close(&first);
    talk_close(&second);
    rig_close(&rig);
}

static void logits_are_those_of_the_step(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    opts.chunk_tokens = 32;
    rig_open(&rig, 1, &opts);
    static struct talk shorter, longer;
    talk_open(&rig, &shorter, 1, 10);
    talk_open(&rig, &longer, 2, 60);
    shorter.request.sampling.temperature = longer.request.sampling.temperature = 0;
    assert_int_equal(submit(&shorter), 0);
    assert_int_equal(submit(&longer), 0);
    for (int step = 0; engine_step(rig.engine) > 0; step++) {
        struct talk *const talks[] = {&shorter, &longer};
        for (int i = 0; i < 2; i++) {
            const float *logits = engine_logits(rig.engine, &talks[i]->request);
            if (i == 1 && step == 0) assert_null(logits); /* 22 of its 60 tokens */
            if (logits == NULL) continue;
            token_id token = talks[i]->output[talks[i]->n_output - 1];
            for (uint32_t v = 0; v < rig.model.description.n_vocab; v++)
                assert_true(logits[v] <= logits[token]);
        }
    }
    assert_int_equal(longer.request.finish, FINISH_LENGTH);
    talk_close(&shorter);
    talk_close(&longer);
    rig_close(&rig);
}

/* The clock goes on at every look, so what lies between two looks has a length. */
static void a_step_is_more_than_forward_and_sampling(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    rig_open(&rig, 1, &opts);
    struct talk talk;
    talk_open(&rig, &talk, 0, 9);
    assert_int_equal(submit(&talk), 0);
    assert_int_equal(engine_step(rig.engine), 9);
    const struct engine_step_report *step = engine_latest_step(rig.engine);
    assert_true(step->forward_ns > 0 && step->pick_ns > 0);
    assert_true(step->forward_ns + step->pick_ns < step->picked_ns - step->begin_ns);
    assert_int_equal(talk.request.first_token_ns, step->picked_ns);
    engine_cancel(rig.engine, &talk.request);
    talk_close(&talk);
    rig_close(&rig);
}

static void a_step_allocates_nothing(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts();
    opts.chunk_tokens = 40;
    rig_open(&rig, 2, &opts);
    static struct talk talks[N_REQUESTS];
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        talk_open(&rig, &talks[i], i, prompt_length(i));
        talks[i].request.sampling.top_p = 0.9f;
        talks[i].request.sampling.top_k = 50;
        talks[i].request.sampling.repeat_penalty = 1.1f;
    }
    uint64_t n_allocations = mem_count();
    for (uint32_t i = 0; i < N_REQUESTS; i++) assert_int_equal(submit(&talks[i]), 0);
    while (engine_step(rig.engine) > 0) assert_int_equal(mem_count(), n_allocations);
    for (uint32_t i = 0; i < N_REQUESTS; i++) {
        assert_int_equal(talks[i].request.finish, FINISH_LENGTH);
        talk_close(&talks[i]);
    }
    assert_int_equal(mem_count(), n_allocations);
    rig_close(&rig);
}

static void bounds_are_checked(void **state) {
    (void)state;
    struct rig rig;
    struct engine_opts opts = default_opts(), wrong;
    rig_open(&rig, 1, &opts);
    struct engine *engine = NULL;
    for (int i = 0; i < 4; i++) {
        wrong = opts;
        uint32_t *bounds[] = {&wrong.max_sequences, &wrong.max_tokens, &wrong.chunk_tokens};
        if (i < 3)
            *bounds[i] = 0;
        else
            wrong.kv_memory_bytes = 1000; /* not one block */
        assert_int_equal(engine_open(&engine, &rig.model, rig.team, &wrong), i < 3 ? ERR_INVALID : ERR_FULL);
        assert_null(engine);
    }
    assert_message_has(1000);
    rig_close(&rig);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_gives_its_tokens_in_any_company), /* first: fills `alone` */
        cmocka_unit_test(a_conversation_goes_on_where_it_was),
        cmocka_unit_test(a_prompt_that_can_never_fit_is_refused),
        cmocka_unit_test(one_that_runs_out_of_memory_fails_and_says_how_much),
        cmocka_unit_test(who_is_preempted_says_the_same),
        cmocka_unit_test(a_full_context_ends_the_answer),
        cmocka_unit_test(an_end_token_ends_the_answer),
        cmocka_unit_test(a_cancelled_request_stops_and_disturbs_nobody),
        cmocka_unit_test(a_request_may_be_cancelled_from_a_callback),
        cmocka_unit_test(logits_are_those_of_the_step),
        cmocka_unit_test(a_step_is_more_than_forward_and_sampling),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(bounds_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
