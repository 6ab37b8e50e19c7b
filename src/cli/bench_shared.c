/* cabinet bench --shared-prompt: what it is worth that users have a prompt in common. The same users decode
 * in turn with the prompt's blocks shared and, under salts of their own, with copies; beside that how much
 * memory sharing takes, how soon a second user has a first token, and what a look-up costs. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "kv/kv_usage.h"

enum {
    QUESTION_TOKENS = 16, /* of the second user, after the shared prompt */
    ALONE_STEPS = 8,      /* of a user decoding alone */
    LOOKUPS = 200,        /* a round */
    LEAST_TOKENS = 512,   /* lengths of the sequences that fragmentation is measured with */
    MOST_TOKENS = 2048
};

/* Users who decode together, all of them shared or all of them with copies. */
struct party {
    const char *name;
    bool has_copies;
    struct sequence **sequences; /* (n_users) */
    double tokens_per_second[BENCH_MAX_REPS];
    double reading_seconds, computing_seconds; /* least, of a step, medians of rounds */
    struct cost cost;                          /* of the middle step */
};

/* Most bytes of KV: in blocks, and with what slabs leave unused beside them. */
struct peak {
    uint64_t bytes, slab_bytes;
};

struct shared_bench {
    const struct bench_opts *opts;
    struct session session;
    struct machine machine;
    struct clock clock;
    struct party shared, private;
    struct request *requests;
    token_id *prompt;
    uint64_t n_turns;
    struct machine_limits limits[BENCH_MAX_REPS];
    double speedup[BENCH_MAX_REPS], ttft_seconds[BENCH_MAX_REPS], step_seconds[BENCH_MAX_REPS],
        lookup_ns[BENCH_MAX_REPS];
    struct peak peak;     /* of the sharers */
    uint64_t least_bytes; /* prompt and tails in whole blocks */
    double fragmentation;
};

/* ---- users ---- */

static void fill_random(const struct shared_bench *bench, token_id *tokens, uint32_t n, uint64_t stream) {
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (token_id)(rng_u64(stream, i) % bench->session.model.description.n_vocab);
}

/* Asks for n_output tokens after the shared prompt and n_own tokens of `stream`. */
static int submit(struct shared_bench *bench, struct request *request, struct sequence *sequence,
                  uint64_t salt, uint32_t n_own, uint64_t stream, uint32_t n_output) {
    uint32_t n_shared = bench->opts->n_shared;
    *request = (struct request){.sequence = sequence,
                                .max_output_tokens = n_output,
                                .sampling = {.top_p = 1, .repeat_penalty = 1},
                                .ignores_end = true,
                                .salt = salt};
    fill_random(bench, bench->prompt, n_shared, 0);
    fill_random(bench, bench->prompt + n_shared, n_own, stream);
    return engine_submit(bench->session.engine, request, bench->prompt, n_shared + n_own);
}

static int submit_user(struct shared_bench *bench, struct party *party, uint32_t user, uint32_t n_output) {
    uint64_t salt = party->has_copies ? 1 + user : 0;
    return submit(bench, &bench->requests[user], party->sequences[user], salt, 1, 1 + user, n_output);
}

static void note_peak(struct peak *peak, const struct kv_usage *usage) {
    uint64_t slab_bytes = usage->held_bytes + usage->waste_bytes;
    if (usage->held_bytes > peak->bytes) peak->bytes = usage->held_bytes;
    if (slab_bytes > peak->slab_bytes) peak->slab_bytes = slab_bytes;
}

/* Steps until nothing is left; peak may be NULL. */
static int run_all(struct shared_bench *bench, uint32_t n_requests, struct peak *peak) {
    while (engine_step(bench->session.engine) > 0) {
        if (peak == NULL) continue;
        struct kv_usage usage = kv_usage(engine_kv(bench->session.engine));
        note_peak(peak, &usage);
    }
    for (uint32_t i = 0; i < n_requests; i++)
        if (bench->requests[i].finish == FINISH_FAILED) return bench->requests[i].error;
    return 0;
}

/* Sees to it that every user's prompt is computed. */
static int fill(struct shared_bench *bench, struct party *party) {
    for (uint32_t user = 0; user < bench->opts->n_users; user++) {
        if (!bench->opts->is_json)
            fprintf(stderr, "\rfilling %" PRIu32 " of %" PRIu32 " sequences (%s) ", user + 1,
                    bench->opts->n_users, party->name);
        TRY(submit_user(bench, party, user, 1));
        while (engine_step(bench->session.engine) > 0) continue;
        if (bench->requests[user].finish == FINISH_FAILED) return bench->requests[user].error;
    }
    if (!bench->opts->is_json) fprintf(stderr, "\r%60s\r", "");
    return 0;
}

/* All users of a party decode n_decode tokens; *seconds may be NULL. */
static int decode(struct shared_bench *bench, struct party *party, double *seconds, struct peak *peak) {
    const uint32_t n_users = bench->opts->n_users;
    for (uint32_t user = 0; user < n_users; user++)
        TRY(submit_user(bench, party, user, bench->opts->n_decode));
    uint64_t start = clock_now_ns(&bench->clock);
    TRY(run_all(bench, n_users, peak));
    if (seconds != NULL) *seconds = (double)(clock_now_ns(&bench->clock) - start) * 1e-9;
    return 0;
}

/* ---- measurements ---- */

/* What sharing takes at the least: whole blocks of the prompt once, of window layers those that are seen, and
 * each user's tail in blocks. */
static uint64_t least_bytes(const struct shared_bench *bench) {
    const struct bench_opts *opts = bench->opts;
    const struct kv_layout *layout = engine_kv_layout(bench->session.engine);
    uint64_t tail = opts->n_shared % BLOCK_TOKENS + opts->n_decode, bytes = 0;
    uint64_t n_tails = opts->n_users * ((tail + BLOCK_TOKENS - 1) / BLOCK_TOKENS);
    for (uint32_t i = 0; i < layout->n_groups; i++) {
        const struct kv_group *group = &layout->groups[i];
        uint32_t n_passed = kv_window_begin(group->window, opts->n_shared) / BLOCK_TOKENS;
        bytes += (opts->n_shared / BLOCK_TOKENS - n_passed + n_tails) * group->block_bytes;
    }
    return bytes;
}

static int measure_party(struct shared_bench *bench, struct party *party, uint32_t round) {
    double seconds;
    TRY(decode(bench, party, &seconds, NULL));
    party->tokens_per_second[round] = bench->opts->n_users * (double)bench->opts->n_decode / seconds;
    return 0;
}

/* Time to the first token of a user who asks something new after the shared prompt. */
static int measure_second_user(struct shared_bench *bench, uint32_t round) {
    struct sequence *sequence;
    TRY(engine_sequence_open(bench->session.engine, &sequence));
    struct request *request = &bench->requests[0];
    int result = submit(bench, request, sequence, 0, QUESTION_TOKENS, (++bench->n_turns) << 32, 1);
    if (result == 0) result = run_all(bench, 1, NULL);
    bench->ttft_seconds[round] = (double)(request->first_token_ns - request->submitted_ns) * 1e-9;
    engine_sequence_close(bench->session.engine, sequence);
    return result;
}

/* A decode step of one user of the prompt, alone. */
static int measure_alone(struct shared_bench *bench, uint32_t round) {
    struct request *request = &bench->requests[0];
    TRY(submit_user(bench, &bench->shared, 0, 1 + ALONE_STEPS));
    TRY(run_all(bench, 1, NULL));
    bench->step_seconds[round] =
        (double)(request->last_token_ns - request->first_token_ns) * 1e-9 / ALONE_STEPS;
    return 0;
}

/* The prompt's blocks are looked up again and again. */
static void measure_lookup(struct shared_bench *bench, uint32_t round) {
    struct kv_cache *kv = engine_kv(bench->session.engine);
    uint32_t n_blocks = bench->opts->n_shared / BLOCK_TOKENS, n = n_blocks * BLOCK_TOKENS;
    uint64_t ns = 0;
    fill_random(bench, bench->prompt, n, 0);
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        fill_random(bench, bench->prompt + n, 1, (++bench->n_turns) << 32);
        struct kv_seq seq = {0};
        uint64_t start = clock_now_ns(&bench->clock);
        (void)kv_match(kv, &seq, bench->prompt, n + 1, 0);
        ns += clock_now_ns(&bench->clock) - start;
        kv_release(kv, &seq);
    }
    bench->lookup_ns[round] = (double)ns / LOOKUPS / n_blocks;
}

/* Bytes of a sequence's payloads in slots that it has no use for: behind its last token, before what a window
 * still sees. */
static uint64_t unused_bytes(const struct kv_layout *layout, uint32_t n_tokens) {
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        uint64_t n_behind = (BLOCK_TOKENS - n_tokens % BLOCK_TOKENS) % BLOCK_TOKENS,
                 n_before = kv_window_begin(group->window, n_tokens) % BLOCK_TOKENS;
        bytes += n_behind * group->class_bytes[KV_OPEN] / BLOCK_TOKENS +
                 n_before * group->block_bytes / BLOCK_TOKENS;
    }
    return bytes;
}

/* As many users with 512 to 2048 tokens of their own, in a cache that is bookkeeping only: which part of what
 * they take is used by nobody. */
static int measure_fragmentation(struct shared_bench *bench) {
    const struct kv_layout *layout = engine_kv_layout(bench->session.engine);
    const uint32_t n_users = bench->opts->n_users, step = bench->opts->session.chunk_tokens;
    struct kv_opts kv_opts = {.memory_bytes = (n_users + 1) * kv_bytes_for(layout, MOST_TOKENS, step) * 5 / 4,
                              .max_sequences = n_users,
                              .max_tokens = MOST_TOKENS,
                              .step_tokens = step};
    struct kv_cache *kv;
    TRY(kv_open(&kv, layout, &kv_opts));
    struct kv_seq *seqs = mem_alloc(n_users, sizeof *seqs);
    token_id *tokens = mem_alloc(MOST_TOKENS, sizeof *tokens);
    int result = seqs == NULL || tokens == NULL ? ERR_NO_MEMORY : 0;
    uint64_t unused = 0;
    for (uint32_t user = 0; user < n_users && result == 0; user++) {
        uint32_t n_tokens =
            LEAST_TOKENS + (uint32_t)(rng_u64(n_users, user) % (MOST_TOKENS - LEAST_TOKENS + 1));
        fill_random(bench, tokens, n_tokens, user);
        while (seqs[user].n_computed < n_tokens && result == 0) {
            uint32_t left = n_tokens - seqs[user].n_computed, n = left < step ? left : step;
            result = kv_reserve(kv, &seqs[user], n);
            if (result == 0) kv_commit(kv, &seqs[user], tokens, n);
        }
        unused += unused_bytes(layout, n_tokens);
    }
    struct kv_usage usage = kv_usage(kv);
    if (result == 0)
        bench->fragmentation = (double)(unused + usage.waste_bytes) /
                               (double)(usage.held_bytes + usage.idle_bytes + usage.waste_bytes);
    mem_free(tokens);
    mem_free(seqs);
    kv_close(kv);
    return result;
}

/* What the middle step costs, and the least time that its reading and its arithmetic take. */
static void find_costs(struct shared_bench *bench, struct party *party) {
    const struct bench_opts *opts = bench->opts;
    struct cost_batch batch = cost_batch_decode(opts->n_users, opts->n_shared + opts->n_decode / 2);
    if (!party->has_copies) batch.n_shared = opts->n_shared;
    party->cost = model_cost(&bench->session.model, engine_kv_layout(bench->session.engine), &batch);
    struct cost reading = {.weight_bytes = party->cost.weight_bytes,
                           .kv_read_bytes = party->cost.kv_read_bytes};
    struct cost computing = {.quantised_ops = party->cost.quantised_ops,
                             .bf16_ops = party->cost.bf16_ops,
                             .f32_ops = party->cost.f32_ops,
                             .coded_ops = party->cost.coded_ops};
    double seconds[2][BENCH_MAX_REPS];
    for (uint32_t i = 0; i < opts->n_reps; i++) {
        seconds[0][i] = machine_limit_seconds(&bench->limits[i], &reading);
        seconds[1][i] = machine_limit_seconds(&bench->limits[i], &computing);
    }
    party->reading_seconds = spread_of(seconds[0], opts->n_reps).median;
    party->computing_seconds = spread_of(seconds[1], opts->n_reps).median;
}

/* ---- all of it ---- */

/* Copies that do not fit would wait for each other. */
static int check_room(const struct shared_bench *bench, uint32_t n_tokens) {
    const struct bench_opts *opts = bench->opts;
    uint64_t of_one =
        kv_bytes_for(engine_kv_layout(bench->session.engine), n_tokens, opts->session.chunk_tokens);
    uint64_t need = of_one * (opts->has_copies ? opts->n_users + 1 : 1),
             there = kv_usage(engine_kv(bench->session.engine)).arena_bytes;
    uint64_t tails = least_bytes(bench);
    if (need + tails <= there) return 0;
    char needed[CLI_BYTES_LENGTH], has[CLI_BYTES_LENGTH];
    return ERR(FULL,
               "%" PRIu32 " users%s of a prompt of %" PRIu32
               " tokens%s take %s of KV memory, there is %s (raise --kv-memory, or fewer --users)",
               opts->n_users, opts->has_copies ? " with copies" : "", opts->n_shared,
               opts->has_copies ? " beside as many who share it" : "",
               cli_format_bytes(needed, (double)(need + tails)), cli_format_bytes(has, (double)there));
}

static int open_party(struct shared_bench *bench, struct party *party) {
    party->sequences = mem_alloc(bench->opts->n_users, sizeof *party->sequences);
    if (party->sequences == NULL) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < bench->opts->n_users; i++)
        TRY(engine_sequence_open(bench->session.engine, &party->sequences[i]));
    return 0;
}

static int open_bench(struct shared_bench *bench) {
    const struct bench_opts *opts = bench->opts;
    struct session_opts session_opts = opts->session;
    uint32_t n_after = opts->n_decode > ALONE_STEPS ? opts->n_decode : ALONE_STEPS;
    uint32_t n_tokens = opts->n_shared + QUESTION_TOKENS + n_after + 1;
    session_opts.max_tokens = n_tokens;
    session_opts.max_sequences = 2 * opts->n_users + 1;
    bench->clock = clock_monotonic();
    TRY(session_open(&bench->session, &session_opts));
    TRY(check_room(bench, n_tokens));
    enum { BUFFER = 256 << 20 };
    TRY(machine_open(&bench->machine, bench->session.team, bench->session.model.kernels, bench->clock,
                     BUFFER));
    bench->prompt = mem_alloc(n_tokens, sizeof *bench->prompt);
    bench->requests = mem_alloc(opts->n_users, sizeof *bench->requests);
    if (bench->prompt == NULL || bench->requests == NULL) return ERR_NO_MEMORY;
    TRY(open_party(bench, &bench->shared));
    return open_party(bench, &bench->private);
}

static void close_party(struct shared_bench *bench, struct party *party) {
    for (uint32_t i = 0; party->sequences != NULL && i < bench->opts->n_users; i++)
        engine_sequence_close(bench->session.engine, party->sequences[i]);
    mem_free(party->sequences);
}

static void close_bench(struct shared_bench *bench) {
    close_party(bench, &bench->shared);
    close_party(bench, &bench->private);
    mem_free(bench->requests);
    mem_free(bench->prompt);
    machine_close(&bench->machine);
    session_close(&bench->session);
}

static int measure(struct shared_bench *bench) {
    const uint32_t n_reps = bench->opts->n_reps;
    /* Shared users first, while nothing else takes memory; this also warms up. */
    TRY(fill(bench, &bench->shared));
    TRY(decode(bench, &bench->shared, NULL, &bench->peak));
    bench->least_bytes = least_bytes(bench);
    if (bench->opts->has_copies) {
        TRY(fill(bench, &bench->private));
        TRY(decode(bench, &bench->private, NULL, NULL));
    }
    for (uint32_t round = 0; round < n_reps; round++) {
        bench->limits[round] = machine_measure(&bench->machine);
        TRY(measure_party(bench, &bench->shared, round));
        if (bench->opts->has_copies) {
            TRY(measure_party(bench, &bench->private, round));
            bench->speedup[round] =
                bench->shared.tokens_per_second[round] / bench->private.tokens_per_second[round];
        }
        TRY(measure_alone(bench, round));
        TRY(measure_second_user(bench, round));
        measure_lookup(bench, round);
    }
    find_costs(bench, &bench->shared);
    if (bench->opts->has_copies) find_costs(bench, &bench->private);
    return measure_fragmentation(bench);
}

/* ---- printing ---- */

static double total_ops(const struct cost *cost) {
    return (double)cost->quantised_ops + (double)cost->bf16_ops + (double)cost->f32_ops +
           (double)cost->coded_ops;
}

static void print_party(const struct shared_bench *bench, const struct party *party) {
    struct spread speed = spread_of(party->tokens_per_second, bench->opts->n_reps);
    char range[40];
    snprintf(range, sizeof range, "(%.1f .. %.1f)", speed.min, speed.max);
    printf("%-8s %10.1f %-19s %8.1f %10.1f %10.1f %10.2f %10.1f %10.1f\n", party->name, speed.median, range,
           1e3 * bench->opts->n_users / speed.median, (double)party->cost.weight_bytes * 1e-6,
           (double)party->cost.kv_read_bytes * 1e-6, total_ops(&party->cost) * 1e-9,
           1e3 * party->reading_seconds, 1e3 * party->computing_seconds);
}

static void print_text(const struct shared_bench *bench) {
    const struct bench_opts *opts = bench->opts;
    const size_t n = opts->n_reps;
    printf("kernels %s, %u threads, KV %s; %" PRIu32 " users of one prompt of %" PRIu32 " tokens, %" PRIu32
           " steps\n",
           bench->session.model.kernels->name, bench->session.n_threads, opts->session.kv.text, opts->n_users,
           opts->n_shared, opts->n_decode);
    printf("%-8s %10s %-19s %8s %10s %10s %10s %10s %10s\n", "blocks", "tokens/s", "(min .. max)", "ms/step",
           "weights MB", "KV MB", "Gop", "reading ms", "arith. ms");
    print_party(bench, &bench->shared);
    if (opts->has_copies) {
        print_party(bench, &bench->private);
        struct spread speedup = spread_of(bench->speedup, n);
        printf("shared / copies: %.2f (%.2f .. %.2f)\n", speedup.median, speedup.min, speedup.max);
    }
    char peak[CLI_BYTES_LENGTH], slabs[CLI_BYTES_LENGTH];
    printf(
        "KV of the sharers at most %s = %.3f of prompt and tails in whole blocks, %s with what slabs leave "
        "unused\n",
        cli_format_bytes(peak, (double)bench->peak.bytes),
        (double)bench->peak.bytes / (double)bench->least_bytes,
        cli_format_bytes(slabs, (double)bench->peak.slab_bytes));
    double ttft = spread_of(bench->ttft_seconds, n).median, step = spread_of(bench->step_seconds, n).median;
    printf("another user's first token, %d tokens after the prompt: %.1f ms = %.2f decode steps of %.1f ms\n",
           QUESTION_TOKENS, ttft * 1e3, ttft / step, step * 1e3);
    printf("prefix look-up: %.0f ns a block\n", spread_of(bench->lookup_ns, n).median);
    printf("fragmentation, %" PRIu32 " users with %d to %d tokens: %.2f %%\n", opts->n_users, LEAST_TOKENS,
           MOST_TOKENS, bench->fragmentation * 100);
}

static json_t *party_json(const struct shared_bench *bench, const struct party *party) {
    struct spread speed = spread_of(party->tokens_per_second, bench->opts->n_reps);
    return json_pack(
        "{s:s, s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:f}", "blocks", party->name, "tokens_per_second",
        speed.median, "tokens_per_second_min", speed.min, "tokens_per_second_max", speed.max,
        "weight_bytes_per_step", (json_int_t)party->cost.weight_bytes, "kv_read_bytes_per_step",
        (json_int_t)party->cost.kv_read_bytes, "ops_per_step", total_ops(&party->cost), "reading_ms_per_step",
        1e3 * party->reading_seconds, "arithmetic_ms_per_step", 1e3 * party->computing_seconds);
}

static void print_json(const struct shared_bench *bench) {
    const struct bench_opts *opts = bench->opts;
    const size_t n = opts->n_reps;
    double ttft = spread_of(bench->ttft_seconds, n).median, step = spread_of(bench->step_seconds, n).median;
    json_t *rows = json_pack("[o]", party_json(bench, &bench->shared));
    if (opts->has_copies) json_array_append_new(rows, party_json(bench, &bench->private));
    json_t *speedup = opts->has_copies ? json_real(spread_of(bench->speedup, n).median) : json_null();
    json_t *object = json_pack(
        "{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "kernels",
        bench->session.model.kernels->name, "threads", (json_int_t)bench->session.n_threads, "kv_codec",
        opts->session.kv.text, "rounds", (json_int_t)opts->n_reps, "users", (json_int_t)opts->n_users,
        "shared_tokens", (json_int_t)opts->n_shared, "steps", (json_int_t)opts->n_decode, "rows", rows,
        "speedup", speedup, "peak_kv_bytes", (json_int_t)bench->peak.bytes, "peak_slab_bytes",
        (json_int_t)bench->peak.slab_bytes, "peak_kv_ratio",
        (double)bench->peak.bytes / (double)bench->least_bytes, "second_user_ttft_ms", ttft * 1e3,
        "decode_step_ms", step * 1e3, "lookup_ns_per_block", spread_of(bench->lookup_ns, n).median,
        "fragmentation", bench->fragmentation);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

int bench_shared(const struct bench_opts *opts) {
    struct shared_bench bench = {
        .opts = opts, .shared = {.name = "shared"}, .private = {.name = "copies", .has_copies = true}};
    int result = open_bench(&bench);
    if (result == 0) result = measure(&bench);
    if (result == 0 && opts->is_json) print_json(&bench);
    if (result == 0 && !opts->is_json) print_text(&bench);
    close_bench(&bench);
    return result;
}
