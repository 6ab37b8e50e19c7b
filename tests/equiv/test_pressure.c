/* --kv auto with too little memory: conversations of which some would fail or be computed again with f16 all
 * go on, nobody is preempted and nothing evicted, bills add up, and their logits are nearer to those of f16
 * than q4's. With memory enough they are as near as another rounding. The model is the first argument, the
 * second how many percent there are of what f16 needs. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine_case.h"
#include "kv/kv_demote.h"
#include "kv/kv_usage.h"
#include "model/divergence.h"

enum { N_USERS = 6, N_FIRST = 300, N_PROMPT = 360, N_OUTPUT = 40, MAX_TOKENS = 512, MAX_VOCAB = 600 };
/* Everybody's first turn is there before the second begins, whose logits are compared. */
enum { N_LOGITS = N_PROMPT - N_FIRST };

struct user {
    struct request request;
    uint32_t number;
    token_id prompt[N_PROMPT];
};

static struct user users[N_USERS];
static unsigned percent; /* of the f16 memory that all need at once */
static float reference[N_USERS][N_LOGITS][MAX_VOCAB], found[N_USERS][N_LOGITS][MAX_VOCAB];

static void keep_logits(void *argument, uint32_t position, uint32_t n_rows, const float *logits) {
    const struct user *user = argument;
    for (uint32_t i = 0; i < n_rows; i++)
        memcpy(found[user->number][position + i - N_FIRST], logits + i * model.description.n_vocab,
               model.description.n_vocab * sizeof *logits);
}

static void submit(uint32_t number, bool is_second) {
    struct user *user = &users[number];
    struct sequence *sequence = user->request.sequence;
    user->number = number;
    for (uint32_t i = 0; i < N_PROMPT; i++)
        user->prompt[i] = (token_id)(rng_u64(number, i) % model.description.n_vocab);
    user->request = (struct request){.sequence = sequence,
                                     .max_output_tokens = is_second ? N_OUTPUT : 1,
                                     .sampling = sampler_defaults(),
                                     .ignores_end = true,
                                     .on_logits = is_second ? keep_logits : NULL,
                                     .first_logits = N_FIRST,
                                     .user = user};
    if (engine_submit(engine, &user->request, user->prompt, is_second ? N_PROMPT : N_FIRST) < 0)
        fail_msg("%s", err_message());
}

struct outcome {
    bool has_windows;
    uint32_t n_failed, most_running;
    uint64_t n_preemptions;
    struct kv_usage usage; /* at the end */
    uint64_t most_demoted_bytes, q4_bytes;
};

static void add_bills(byte_ns *held, uint64_t *read) {
    for (uint32_t i = 0; i < N_USERS; i++) {
        *held += users[i].request.bill.held;
        *read += users[i].request.bill.read_bytes;
    }
}

/* What the first turn's bills say, with those of the second. */
static void check_bills(byte_ns first_held, uint64_t first_read) {
    const struct bill_totals *totals = engine_bills(engine);
    byte_ns held = first_held;
    uint64_t read = first_read;
    add_bills(&held, &read);
    assert_true(held == totals->billed && totals->pool == totals->billed + totals->house);
    assert_true(read == totals->billed_read_bytes && read <= totals->read_bytes);
}

/* Runs all users in that format, with so many bytes of KV memory. */
static struct outcome run(const char *kv_format, uint64_t kv_memory_bytes) {
    struct outcome outcome = {0};
    format = kv_format;
    open_engine((struct engine_opts){.kv_memory_bytes = kv_memory_bytes,
                                     .max_sequences = N_USERS,
                                     .max_tokens = MAX_TOKENS,
                                     .chunk_tokens = 64,
                                     .slice_rows = 64},
                MAX_VOCAB);
    for (uint32_t i = 0; i < N_USERS; i++)
        assert_int_equal(engine_sequence_open(engine, &users[i].request.sequence), 0);
    for (uint32_t i = 0; i < N_USERS; i++) submit(i, false);
    while (engine_step(engine) > 0) assert_true(kv_check(engine_kv(engine)));
    byte_ns held = 0;
    uint64_t read = 0;
    add_bills(&held, &read);
    for (uint32_t i = 0; i < N_USERS; i++) submit(i, true);
    while (engine_step(engine) > 0) {
        assert_true(kv_check(engine_kv(engine)));
        struct engine_load load = engine_load(engine);
        struct kv_figures figures = engine_kv_figures(engine);
        if (load.n_running > outcome.most_running) outcome.most_running = load.n_running;
        outcome.n_preemptions = load.n_preemptions;
        if (figures.codec_bytes[CODEC_q4] > outcome.q4_bytes)
            outcome.q4_bytes = figures.codec_bytes[CODEC_q4];
    }
    outcome.usage = kv_usage(engine_kv(engine));
    outcome.has_windows = engine_kv_layout(engine)->n_groups > 1;
    for (uint32_t i = 0; i < N_USERS; i++) {
        outcome.n_failed += users[i].request.finish != FINISH_LENGTH;
    }
    check_bills(held, read);
    for (uint32_t i = 0; i < N_USERS; i++) engine_sequence_close(engine, users[i].request.sequence);
    close_engine();
    return outcome;
}

/* Mean KL divergence of what was found from the reference. */
static double mean_divergence(uint32_t n_vocab) {
    double sum = 0;
    for (uint32_t user = 0; user < N_USERS; user++)
        for (uint32_t i = 0; i < N_LOGITS - 1; i++) {
            const float *a = reference[user][i], *b = found[user][i];
            sum +=
                divergence_kl(a, divergence_log_sum(a, n_vocab), b, divergence_log_sum(b, n_vocab), n_vocab);
        }
    return sum / (N_USERS * (N_LOGITS - 1));
}

/* Bytes of f16 that all users need at once. */
static uint64_t bytes_of_all(uint32_t *n_vocab) {
    struct kv_layout layout;
    struct kv_rules rules = kv_rules_of(CODEC_f16);
    assert_int_equal(team_open(&team, 2), 0);
    assert_int_equal(model_open(&model, path, kernel_set_get(NULL), team), 0);
    assert_int_equal(description_kv_layout(&model.description, &rules, &layout), 0);
    *n_vocab = model.description.n_vocab;
    model_close(&model);
    team_close(team);
    return N_USERS * kv_bytes_for(&layout, N_PROMPT + N_OUTPUT, 1);
}

static void users_lose_precision_and_not_their_place(void **state) {
    (void)state;
    uint32_t n_vocab;
    const uint64_t all = bytes_of_all(&n_vocab), much = 4 * all, little = all * percent / 100;
    struct outcome plenty = run("f16", much);
    assert_int_equal(plenty.most_running, N_USERS);
    memcpy(reference, found, sizeof found);

    struct outcome pressed = run("f16", little);
    assert_true(pressed.n_failed > 0 || pressed.n_preemptions > 0);

    (void)run("q4", much);
    double of_q4 = mean_divergence(n_vocab);

    struct outcome relaxed = run("auto", much);
    double of_relaxed = mean_divergence(n_vocab);
    assert_int_equal(relaxed.usage.n_demotions, 0);
    assert_int_equal(relaxed.q4_bytes, 0);

    struct outcome outcome = run("auto", little);
    double of_auto = mean_divergence(n_vocab);
    assert_int_equal(outcome.n_failed, 0);
    assert_int_equal(outcome.most_running, N_USERS);
    assert_int_equal(outcome.n_preemptions, 0);
    if (!outcome.has_windows) assert_int_equal(outcome.usage.n_evictions, 0); /* what they have passed goes */
    assert_true(outcome.usage.n_demotions > N_USERS && outcome.q4_bytes > 0);

    print_message("KL from f16: auto %.2g, auto under pressure %.2g, q4 %.2g; %d blocks demoted\n",
                  of_relaxed, of_auto, of_q4, (int)outcome.usage.n_demotions);
    assert_true(of_relaxed < of_auto / 10 && of_auto < of_q4 * 0.9);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    path = argv[1];
    percent = (unsigned)strtoul(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(users_lose_precision_and_not_their_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
