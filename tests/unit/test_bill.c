/* Bills add up: over random load on a tiny model (the argument) and a clock that goes on at every look at it,
 * each request's bill is what an independent count of its blocks gives, and all of them with the house's are
 * what the pool held. Reads and writes are those of the formulas in model/cost.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "kv/kv_usage.h"
#include "model/cost.h"

enum { MAX_TOKENS = 512, MAX_SEQUENCES = 4, CHUNK = 48, N_RUNS = 6, N_OPERATIONS = 3000, N_COMMON = 200 };

struct run {
    struct request request; /* under way while its `finish` is FINISH_NONE */
    byte_ns held;           /* as the test counts it */
    bool is_open;
};

static const char *path;
static struct team *team;
static struct model model;
static struct engine *engine;
static struct run runs[N_RUNS];
static uint64_t time_now, n_looks;
/* The test's own count. */
static byte_ns pool_held, runs_held;
static uint64_t finished_read, finished_computed, finished_written;
static byte_ns finished_held;
static uint64_t steps_read; /* as attention's plan counts it, of random load */

/* ---- the count ---- */

static bool is_under_way(const struct run *run) { return run->is_open && run->request.finish == FINISH_NONE; }

/* Bytes of a sequence's i-th block, with the payload that is staged beside it while it is converted. */
static uint64_t bytes_of(const struct kv_cache *kv, const struct kv_seq *seq, unsigned group, uint32_t i) {
    const struct kv_group *layout = &engine_kv_layout(engine)->groups[group];
    bool has_staged =
        kv_staged_payload(kv, seq, group) != PAYLOAD_NONE && i == seq->n_computed / BLOCK_TOKENS;
    return layout->class_bytes[kv_class_at(layout, i, seq->n_reserved)] +
           (has_staged ? layout->class_bytes[KV_OPEN] : 0);
}

/* Of whom it is also the i-th block. */
static uint32_t count_holders(const struct kv_cache *kv, unsigned group, uint32_t i, uint64_t payload) {
    uint32_t n_holders = 0;
    for (int r = 0; r < N_RUNS; r++) {
        uint32_t n = 0;
        if (!runs[r].is_open) continue;
        const uint64_t *payloads = kv_payloads(kv, &runs[r].request.sequence->kv, group, &n);
        n_holders += i < n && payloads[i] == payload;
    }
    return n_holders;
}

static void count_run(const struct kv_cache *kv, struct run *run, uint64_t ns) {
    for (unsigned g = 0; g < engine_kv_layout(engine)->n_groups; g++) {
        uint32_t n;
        const struct kv_seq *seq = &run->request.sequence->kv;
        const uint64_t *payloads = kv_payloads(kv, seq, g, &n);
        for (uint32_t i = 0; i < n; i++)
            if (payloads[i] != PAYLOAD_NONE) {
                byte_ns held = (byte_ns)(bytes_of(kv, seq, g, i) / count_holders(kv, g, i, payloads[i])) * ns;
                run->held += held;
                runs_held += held;
            }
    }
}

/* The clock: what there is now has been so since the last look. */
static uint64_t look_at_clock(void *state) {
    (void)state;
    if (engine == NULL) return time_now;
    uint64_t ns = rng_u64(3, n_looks++) % 1000;
    if (n_looks % 7 == 0) ns = 0;
    const struct kv_cache *kv = engine_kv(engine);
    struct kv_usage usage = kv_usage(kv);
    pool_held += (byte_ns)(usage.held_bytes + usage.idle_bytes) * ns;
    for (int r = 0; r < N_RUNS; r++)
        if (is_under_way(&runs[r])) count_run(kv, &runs[r], ns);
    time_now += ns;
    return time_now;
}

/* ---- the load ---- */

struct setting {
    size_t memory_bytes;
    enum codec_id codec;
};

static int open_all(void **state) {
    const struct setting *setting = *state;
    struct engine_opts opts = {.kv_memory_bytes = setting->memory_bytes,
                               .kv = kv_rules_of(setting->codec),
                               .max_sequences = MAX_SEQUENCES,
                               .n_cached = 4,
                               .max_tokens = MAX_TOKENS,
                               .chunk_tokens = CHUNK,
                               .clock = {look_at_clock, NULL}};
    pool_held = runs_held = finished_held = 0;
    steps_read = 0;
    finished_read = finished_computed = finished_written = 0;
    if (team_open(&team, 1) < 0 || model_open(&model, path, kernel_set_get(NULL), team) < 0 ||
        engine_open(&engine, &model, team, &opts) < 0)
        fail_msg("%s", err_message());
    return 0;
}

static void close_run(struct run *run) {
    if (is_under_way(run)) engine_cancel(engine, &run->request);
    if (run->is_open) engine_sequence_close(engine, run->request.sequence);
    run->is_open = false;
}

static int close_all(void **state) {
    (void)state;
    for (int r = 0; r < N_RUNS; r++) close_run(&runs[r]);
    struct engine *closing = engine;
    engine = NULL;
    engine_close(closing);
    model_close(&model);
    team_close(team);
    return 0;
}

static void note_finished(void *user) {
    const struct run *run = user;
    const struct kv_bill *bill = &run->request.bill;
    if (bill->held != run->held) fail_msg("a bill is not what its blocks were");
    finished_held += bill->held;
    finished_read += bill->read_bytes;
    finished_written += bill->written_bytes;
    finished_computed += bill->computed_tokens;
}

static void submit(struct run *run, uint32_t n_common, uint32_t n_prompt, uint32_t n_output,
                   uint64_t number) {
    token_id prompt[MAX_TOKENS];
    for (uint32_t i = 0; i < n_prompt; i++)
        prompt[i] = (token_id)(rng_u64(i < n_common ? 0 : number, i) % model.description.n_vocab);
    if (!run->is_open) {
        *run = (struct run){.request = {.finish = FINISH_CANCELLED}};
        assert_int_equal(engine_sequence_open(engine, &run->request.sequence), 0);
        run->is_open = true;
    }
    run->request.sampling = sampler_defaults();
    run->request.max_output_tokens = n_output;
    run->request.ignores_end = true;
    run->request.releases_cache = number % 3 != 0;
    run->request.on_finish = note_finished;
    run->request.user = run;
    run->held = 0;
    if (engine_submit(engine, &run->request, prompt, n_prompt) < 0) fail_msg("%s", err_message());
}

static void check_sums(void) {
    engine_account(engine);
    const struct bill_totals *totals = engine_bills(engine);
    byte_ns held = finished_held;
    uint64_t read = finished_read, computed = finished_computed, written = finished_written;
    for (int r = 0; r < N_RUNS; r++) {
        const struct kv_bill *bill = &runs[r].request.bill;
        if (!is_under_way(&runs[r])) continue;
        assert_true(bill->held == runs[r].held);
        held += bill->held;
        read += bill->read_bytes;
        computed += bill->computed_tokens;
        written += bill->written_bytes;
    }
    assert_true(totals->pool == pool_held);
    assert_true(totals->billed == runs_held);
    assert_true(held + totals->house == totals->pool);
    assert_int_equal(totals->billed_read_bytes, read);
    assert_true(read <= totals->read_bytes);
    assert_int_equal(totals->computed_tokens, computed);
    assert_int_equal(totals->written_bytes, written);
    if (!kv_layout_is_row(engine_kv_layout(engine))) return;
    if (steps_read > 0) assert_int_equal(totals->read_bytes, steps_read);
    assert_int_equal(written, computed * kv_layout_bytes_per_token(engine_kv_layout(engine)));
}

static void random_load_adds_up(void **state) {
    (void)state;
    for (uint64_t i = 0; i < N_OPERATIONS; i++) {
        struct run *run = &runs[rng_u64(11, i) % N_RUNS];
        uint64_t choice = rng_u64(12, i) % 100;
        if (choice < 70) {
            if (engine_step(engine) > 0) steps_read += engine_latest_step(engine)->kv_read_bytes;
        } else if (is_under_way(run) && choice < 74)
            engine_cancel(engine, &run->request);
        else if (!is_under_way(run) && choice < 80)
            close_run(run);
        else if (!is_under_way(run))
            submit(run, (uint32_t)(rng_u64(13, i) % N_COMMON), 1 + (uint32_t)(rng_u64(14, i) % 300),
                   1 + (uint32_t)(rng_u64(15, i) % (i % 4 == 0 ? 200 : 20)), i);
        check_sums();
    }
    for (int r = 0; r < N_RUNS; r++)
        if (is_under_way(&runs[r])) engine_cancel(engine, &runs[r].request);
    check_sums();
    const struct bill_totals *totals = engine_bills(engine);
    assert_true(totals->billed > 0 && totals->house > 0);
    if (kv_layout_is_row(engine_kv_layout(engine)) && engine_kv_layout(engine)->n_groups == 1)
        assert_true(engine_load(engine).n_preemptions > 0);
    assert_true(totals->read_bytes - totals->billed_read_bytes < totals->read_bytes / 1000);
}

static void finish(struct run *run) {
    while (is_under_way(run)) assert_true(engine_step(engine) > 0);
    assert_int_equal(run->request.finish, FINISH_LENGTH);
}

/* Alone, a request reads and writes what the planner's formula says. */
static void reads_are_those_of_the_formula(void **state) {
    (void)state;
    enum { N_PROMPT = 300, N_OUTPUT = 40 };
    struct run *run = &runs[0];
    submit(run, 0, N_PROMPT, N_OUTPUT, 1);
    finish(run);
    uint64_t read = 0, written = 0;
    for (uint32_t done = 0; done < N_PROMPT; done += CHUNK) {
        struct cost_batch chunk = cost_batch_prefill(N_PROMPT - done < CHUNK ? N_PROMPT - done : CHUNK, done);
        struct cost cost = model_cost(&model, engine_kv_layout(engine), &chunk);
        read += cost.kv_read_bytes;
        written += cost.kv_write_bytes;
    }
    for (uint32_t i = 0; i + 1 < N_OUTPUT; i++) { /* the last token is never computed */
        struct cost_batch decode = cost_batch_decode(1, N_PROMPT + i);
        struct cost cost = model_cost(&model, engine_kv_layout(engine), &decode);
        read += cost.kv_read_bytes;
        written += cost.kv_write_bytes;
    }
    assert_int_equal(run->request.bill.read_bytes, read);
    assert_int_equal(run->request.bill.written_bytes, written);
    assert_int_equal(run->request.bill.computed_tokens, N_PROMPT + N_OUTPUT - 1);
    assert_int_equal(engine_bills(engine)->read_bytes, read);
    assert_int_equal(run->request.bill.saved_by_sharing, 0);
    assert_int_equal(run->request.bill.saved_by_codec, 0);
}

/* Bytes that a decode step of one sequence reads, at that position, of the tiles of 128 tokens that lie whole
 * before it and within what it sees; by group of layers. */
static uint64_t common_bytes(uint32_t position, uint32_t n_common) {
    uint64_t bytes = 0;
    const struct kv_layout *layout = engine_kv_layout(engine);
    for (unsigned g = 0; g < layout->n_groups; g++) {
        uint32_t begin = kv_window_begin(layout->groups[g].window, position);
        for (uint32_t tile = 0; tile + 128 <= n_common; tile += 128)
            if (tile >= begin) bytes += layout->groups[g].block_bytes * (128 / BLOCK_TOKENS);
    }
    return bytes;
}

static void what_two_read_together_they_share(void **state) {
    (void)state;
    enum { N_PROMPT = 290, N_SHARED = 280, N_OUTPUT = 10 };
    for (int r = 0; r < 3; r++) close_run(&runs[r]);
    submit(&runs[2], N_SHARED, N_PROMPT, 1, 7); /* leaves the prefix in the cache */
    finish(&runs[2]);
    submit(&runs[0], N_SHARED, N_PROMPT, N_OUTPUT, 8);
    submit(&runs[1], N_SHARED, N_PROMPT, N_OUTPUT, 10);
    for (int i = 0; runs[0].request.n_output == 0 || runs[1].request.n_output == 0; i++) {
        assert_true(i < 4); /* the rest of both prompts */
        (void)engine_step(engine);
    }
    uint64_t read[2], expected = engine_bills(engine)->read_bytes, common = 0;
    for (int r = 0; r < 2; r++) {
        uint32_t position = runs[r].request.sequence->kv.n_computed;
        struct cost_batch decode = cost_batch_decode(1, position);
        uint64_t alone = model_cost(&model, engine_kv_layout(engine), &decode).kv_read_bytes;
        common = common_bytes(position, N_SHARED / BLOCK_TOKENS * BLOCK_TOKENS);
        assert_true(common > 0);
        read[r] = runs[r].request.bill.read_bytes + alone - common / 2;
        expected += alone;
    }
    (void)engine_step(engine);
    for (int r = 0; r < 2; r++) assert_int_equal(runs[r].request.bill.read_bytes, read[r]);
    assert_int_equal(engine_bills(engine)->read_bytes, expected - common);
    while (is_under_way(&runs[0]) || is_under_way(&runs[1])) (void)engine_step(engine);
    assert_true(runs[0].request.bill.saved_by_sharing > 0);
    assert_true(runs[0].request.bill.saved_by_sharing < runs[0].request.bill.peak_bytes);
}

static void prices(void **state) {
    (void)state;
    const byte_ns gb_hour = (byte_ns)1000000000 * 3600 * 1000000000;
    const struct kv_price memory = {.gb_hour = 0.25}, machine = {.machine_hour = 3}, none = {0};
    assert_float_equal(kv_price_of(&memory, gb_hour, 4000000000), 0.25, 1e-12);
    assert_float_equal(kv_price_of(&memory, gb_hour / 8, 4000000000), 0.03125, 1e-12);
    /* A quarter of the KV memory for an hour is a quarter of the machine's price. */
    assert_float_equal(kv_price_of(&machine, gb_hour, 4000000000), 0.75, 1e-12);
    assert_true(kv_price_is_set(&memory) && kv_price_is_set(&machine) && !kv_price_is_set(&none));
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 2);
    path = argv[1];
    static struct setting little = {3 << 18, CODEC_f16}, much = {64 << 20, CODEC_f16},
                          converting = {3 << 17, CODEC_q4};
    if (strstr(path, "gemma") != NULL) little.memory_bytes = 1 << 17;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate_setup_teardown(random_load_adds_up, open_all, close_all, &little),
        cmocka_unit_test_prestate_setup_teardown(random_load_adds_up, open_all, close_all, &converting),
        cmocka_unit_test_prestate_setup_teardown(reads_are_those_of_the_formula, open_all, close_all, &much),
        cmocka_unit_test_prestate_setup_teardown(what_two_read_together_they_share, open_all, close_all,
                                                 &much),
        cmocka_unit_test(prices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
