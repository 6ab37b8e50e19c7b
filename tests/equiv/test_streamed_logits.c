/* Logits of prompt rows, delivered while the engine computes a tiny model (the argument): in order, no more
 * rows at a time than agreed, and the same bits as computed one row a step. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "forward_run.h"
#include "kv/kv_cache.h"

enum { N_STREAMS = 3, MAX_TOKENS = 256, MOST_ROWS = 160, N_COMPANY = 30 };

static const char *path;
static struct team *team;
static struct model model;
static struct engine *engine;
static uint64_t time_now;

static uint64_t tick(void *state) { return ++*(uint64_t *)state; }

static void open_engine(unsigned n_threads, uint32_t chunk_tokens, uint32_t slice_rows) {
    struct engine_opts opts = {.kv_memory_bytes = 64 << 20,
                               .kv = kv_rules_of(CODEC_f16),
                               .max_sequences = N_STREAMS + 1,
                               .max_tokens = MAX_TOKENS,
                               .chunk_tokens = chunk_tokens,
                               .slice_rows = slice_rows,
                               .clock = {tick, &time_now}};
    assert_int_equal(team_open(&team, n_threads), 0);
    if (model_open(&model, path, kernel_set_get(NULL), team) < 0) fail_msg("%s", err_message());
    if (engine_open(&engine, &model, team, &opts) < 0) fail_msg("%s", err_message());
}

static void close_engine(void) {
    assert_true(kv_check(engine_kv(engine)));
    engine_close(engine);
    model_close(&model);
    team_close(team);
}

/* A request, and what it was handed. */
struct stream {
    struct request request;
    uint32_t n_prompt, next, n_calls, most_rows, n_tokens, n_vocab;
    token_id prompt[MOST_ROWS];
    float *logits; /* (MOST_ROWS, n_vocab) by position */
};

static void keep_logits(void *user, uint32_t position, uint32_t n_rows, const float *logits) {
    struct stream *stream = user;
    assert_int_equal(position, stream->next);
    assert_int_equal(stream->n_tokens, 0);
    memcpy(stream->logits + (size_t)position * stream->n_vocab, logits,
           (size_t)n_rows * stream->n_vocab * sizeof *logits);
    stream->next += n_rows;
    stream->n_calls++;
    if (n_rows > stream->most_rows) stream->most_rows = n_rows;
}

static bool count_token(void *user, const struct token_report *report) {
    (void)report;
    ((struct stream *)user)->n_tokens++;
    return false;
}

static void fill_prompt(token_id *prompt, uint32_t number, uint32_t n, uint32_t n_vocab) {
    for (uint32_t i = 0; i < n; i++) prompt[i] = (token_id)(rng_u64(number, i) % n_vocab);
}

static void open_stream(struct stream *stream, uint32_t number, uint32_t n_prompt, uint32_t first_logits) {
    *stream = (struct stream){.n_prompt = n_prompt, .next = first_logits};
    stream->n_vocab = model.description.n_vocab;
    fill_prompt(stream->prompt, number, n_prompt, stream->n_vocab);
    stream->logits = mem_alloc(MOST_ROWS, stream->n_vocab * sizeof(float));
    stream->request = (struct request){.sampling = sampler_defaults(),
                                       .max_output_tokens = 5,
                                       .ignores_end = true,
                                       .on_token = count_token,
                                       .on_logits = keep_logits,
                                       .first_logits = first_logits,
                                       .user = stream};
    assert_int_equal(engine_sequence_open(engine, &stream->request.sequence), 0);
}

static void close_stream(struct stream *stream) {
    engine_sequence_close(engine, stream->request.sequence);
    mem_free(stream->logits);
}

static void submit(struct stream *stream) {
    stream->n_tokens = 0;
    assert_int_equal(engine_submit(engine, &stream->request, stream->prompt, stream->n_prompt), 0);
}

static const uint32_t lengths[N_STREAMS] = {150, 40, 97}, firsts[N_STREAMS] = {70, 0, 96};
static float *expected[N_STREAMS]; /* (lengths, n_vocab) */

/* Every position by a step of its own in which nothing else is. */
static void compute_one_by_one(void) {
    struct forward_run run;
    struct forward_opts opts = {.path = path,
                                .kernels = kernel_set_get(NULL),
                                .n_threads = 1,
                                .kv = kv_rules_of(CODEC_f16),
                                .max_rows = 1,
                                .max_sequences = 1,
                                .max_tokens = MAX_TOKENS};
    if (forward_open(&run, &opts) < 0) fail_msg("%s", err_message());
    for (uint32_t i = 0; i < N_STREAMS; i++) {
        token_id tokens[MOST_ROWS];
        fill_prompt(tokens, i, lengths[i], run.model.description.n_vocab);
        expected[i] = mem_alloc(lengths[i], run.model.description.n_vocab * sizeof(float));
        assert_int_equal(forward_all(&run, tokens, lengths[i], 1, expected[i]), 0);
    }
    forward_close(&run);
}

static void check_streams(unsigned n_threads, uint32_t chunk_tokens, uint32_t slice_rows) {
    open_engine(n_threads, chunk_tokens, slice_rows);
    static struct stream company, streams[N_STREAMS];
    open_stream(&company, 9, 20, 0); /* only wants an answer, and is decoding when the others come */
    company.request.on_logits = NULL;
    company.request.max_output_tokens = N_COMPANY;
    submit(&company);
    while (company.n_tokens == 0) assert_true(engine_step(engine) > 0);
    for (uint32_t i = 0; i < N_STREAMS; i++) open_stream(&streams[i], i, lengths[i], firsts[i]);
    uint64_t n_allocations = mem_count();
    for (uint32_t i = 0; i < N_STREAMS; i++) submit(&streams[i]);
    while (engine_step(engine) > 0) assert_int_equal(mem_count(), n_allocations);
    for (uint32_t i = 0; i < N_STREAMS; i++) {
        const struct stream *stream = &streams[i];
        size_t first = (size_t)firsts[i] * stream->n_vocab, end = (size_t)lengths[i] * stream->n_vocab;
        assert_int_equal(stream->next, lengths[i]);
        assert_true(stream->most_rows <= (slice_rows > N_STREAMS + 1 ? slice_rows : N_STREAMS + 1));
        assert_memory_equal(stream->logits + first, expected[i] + first, (end - first) * sizeof(float));
        assert_int_equal(stream->request.finish, FINISH_LENGTH);
        assert_int_equal(stream->n_tokens, 5);
        close_stream(&streams[i]);
    }
    assert_int_equal(company.n_tokens, N_COMPANY);
    close_stream(&company);
    close_engine();
}

static void they_come_in_order_and_are_the_same_bits(void **state) {
    (void)state;
    static const struct {
        unsigned n_threads;
        uint32_t chunk_tokens, slice_rows;
    } ways[] = {{1, 512, 512}, {2, 512, 64}, {2, 50, 7}, {1, 33, 0}, {3, 1, 64}};
    compute_one_by_one();
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        check_streams(ways[i].n_threads, ways[i].chunk_tokens, ways[i].slice_rows);
    for (uint32_t i = 0; i < N_STREAMS; i++) mem_free(expected[i]);
}

/* A cached beginning is reused, but not rows whose logits are asked for. */
static void the_cache_serves_no_row_whose_logits_are_asked_for(void **state) {
    (void)state;
    open_engine(1, 512, 16);
    static struct stream stream;
    open_stream(&stream, 1, 100, 100); /* past the end: asks for none */
    submit(&stream);
    assert_int_equal(stream.request.n_cached, 0);
    while (engine_step(engine) > 0) continue;
    assert_int_equal(stream.n_calls, 0);
    stream.next = stream.request.first_logits =
        60; /* in a block that another follows: it is computed whole */
    submit(&stream);
    assert_int_equal(stream.request.n_cached, 32);
    while (engine_step(engine) > 0) continue;
    assert_int_equal(stream.next, 100);
    stream.next = stream.request.first_logits = 99; /* the last one, from which the answer is drawn */
    submit(&stream);
    assert_int_equal(stream.request.n_cached, 99);
    while (engine_step(engine) > 0) continue;
    assert_int_equal(stream.next, 100);
    close_stream(&stream);
    close_engine();
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_come_in_order_and_are_the_same_bits),
        cmocka_unit_test(the_cache_serves_no_row_whose_logits_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
