/* cabinet bench: prefill and decode speed at depths and batch sizes, each beside the machine's own limit. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "kv/kv_cache.h"

enum {
    OPTION_JSON = 256,
    OPTION_SHARED,
    OPTION_USERS,
    OPTION_PROFILE,
    OPTION_SHARERS_ONLY,
    MAX_LIST = BENCH_MAX_LIST,
    MAX_REPS = BENCH_MAX_REPS,
    DEFAULT_PREFILL = 512,
    DEFAULT_USERS = 32
};

static const struct argp_option options[] = {
    {"prefill", 'p', "TOKENS", 0, "prompt tokens of a prefill (default 512; 0: none)", 0},
    {"decode", 'n', "TOKENS", 0, "steps of a decode (default 128; 0: none)", 0},
    {"depths", 'd', "LIST", 0, "tokens already in the context, such as 0,2048 (default 0)", 0},
    {"batches", 'b', "LIST", 0, "sequences that decode together, such as 1,4,16 (default 1)", 0},
    {"repetitions", 'r', "R", 0, "rounds; medians are printed (default 5)", 0},
    {"shared-prompt", OPTION_SHARED, "TOKENS", 0,
     "measure users who have a prompt of so many tokens in common beside the same users with copies of their "
     "own, instead of prefill and decode at depths",
     0},
    {"users", OPTION_USERS, "N", 0, "of a shared prompt (default 32)", 0},
    {"profile", OPTION_PROFILE, 0, 0, "show the share of each part of a step, too", 0},
    {"sharers-only", OPTION_SHARERS_ONLY, 0, 0, "of --shared-prompt: no users with copies beside them", 0},
    {"json", OPTION_JSON, 0, 0, "print one JSON object (docs/json.md)", 0},
    {0},
};

static size_t parse_list(struct argp_state *state, const char *what, char *text, uint64_t low, uint64_t high,
                         uint32_t *list) {
    size_t n = 0;
    for (char *save, *part = strtok_r(text, ",", &save); part != NULL; part = strtok_r(NULL, ",", &save)) {
        if (n == MAX_LIST) argp_failure(state, EXIT_USAGE, 0, "%s lists more than %d values", what, MAX_LIST);
        list[n++] = (uint32_t)cli_parse_count(state, what, part, low, high);
    }
    if (n == 0) argp_failure(state, EXIT_USAGE, 0, "%s lists nothing", what);
    return n;
}

/* Whether what was asked for goes together; fills in what was not. */
static void check_kind(struct argp_state *state, struct bench_opts *opts) {
    bool is_sweep = opts->n_prefill != UINT32_MAX || opts->n_depths > 0 || opts->n_batches > 0;
    if (opts->n_shared > 0 && is_sweep)
        argp_error(state, "-p, -d and -b do not go together with --shared-prompt");
    if (opts->n_shared > 0 && opts->is_profiled)
        argp_error(state, "--profile does not go together with --shared-prompt");
    if (opts->n_shared > 0 && opts->n_decode == 0)
        argp_error(state, "--shared-prompt needs decode steps: -n");
    if (opts->n_shared == 0 && opts->n_users > 0) argp_error(state, "--users needs --shared-prompt");
    if (opts->n_shared == 0 && !opts->has_copies) argp_error(state, "--sharers-only needs --shared-prompt");
    if (opts->n_prefill == UINT32_MAX) opts->n_prefill = DEFAULT_PREFILL;
    if (opts->n_depths == 0) opts->depths[opts->n_depths++] = 0;
    if (opts->n_batches == 0) opts->batches[opts->n_batches++] = 1;
    if (opts->n_users == 0) opts->n_users = DEFAULT_USERS;
    if (opts->n_prefill == 0 && opts->n_decode == 0) argp_error(state, "-p 0 -n 0 measures nothing");
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct bench_opts *opts = state->input;
    enum { MOST_TOKENS = 1 << 24, MOST_SEQUENCES = 1024 };
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &opts->session; return 0;
    case 'p': opts->n_prefill = (uint32_t)cli_parse_count(state, "-p", argument, 0, MOST_TOKENS); return 0;
    case 'n': opts->n_decode = (uint32_t)cli_parse_count(state, "-n", argument, 0, MOST_TOKENS); return 0;
    case 'r': opts->n_reps = (uint32_t)cli_parse_count(state, "-r", argument, 1, MAX_REPS); return 0;
    case 'd': opts->n_depths = parse_list(state, "-d", argument, 0, MOST_TOKENS, opts->depths); return 0;
    case 'b': opts->n_batches = parse_list(state, "-b", argument, 1, MOST_SEQUENCES, opts->batches); return 0;
    case OPTION_SHARED:
        opts->n_shared =
            (uint32_t)cli_parse_count(state, "--shared-prompt", argument, BLOCK_TOKENS, MOST_TOKENS);
        return 0;
    case OPTION_USERS:
        opts->n_users = (uint32_t)cli_parse_count(state, "--users", argument, 2, MOST_SEQUENCES / 4);
        return 0;
    case OPTION_PROFILE: opts->is_profiled = true; return 0;
    case OPTION_SHARERS_ONLY: opts->has_copies = false; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    default: break;
    }
    if (key == ARGP_KEY_END && opts->session.model != NULL) check_kind(state, opts);
    return cli_parse_model(key, argument, state, &opts->session.model);
}

static const struct argp argp = {
    options,
    parse,
    "MODEL",
    "Measure prefill and decode speed, each as a fraction of what this machine could do at most: the larger "
    "of bytes "
    "to read over its read bandwidth and operations over its peaks, measured in turn with the speeds.\v"
    "Examples:\n"
    "  cabinet bench smollm2\n"
    "  cabinet bench smollm2 -d 0,2048,4096 -b 1,16 --kv bf16\n"
    "  cabinet bench smollm2 -d 0,4096 --profile\n"
    "  cabinet bench smollm2 --shared-prompt 2048 --users 32 -n 64\n"
    "  cabinet bench model.gguf -p 0 -n 64 --threads 1 --json",
    session_argp_children,
    NULL,
    NULL};

/* One line of the result: a test with its measurements, one a round. */
struct row {
    const char *test;
    uint32_t depth, batch;
    double tokens_per_second[MAX_REPS], limit[MAX_REPS], fraction[MAX_REPS]; /* (n) */
    uint32_t n;
    struct step_profile profile; /* of all rounds that count */
};

struct bench {
    const struct bench_opts *opts;
    struct session session;
    struct machine machine;
    struct clock clock;
    struct sequence **sequences;
    struct request *requests;
    uint32_t n_sequences;
    token_id *prompt;
    uint64_t n_turns; /* prompts made so far */
    struct row *rows;
    size_t n_rows;
    struct machine_limits limits[MAX_LIST * MAX_REPS];
    size_t n_limits;
};

static int by_value(const void *left, const void *right) {
    const double *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

struct spread spread_of(const double *values, size_t n) {
    double sorted[MAX_LIST * MAX_REPS];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, by_value);
    return (struct spread){sorted[0], (sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[n - 1]};
}

/* Text does not matter for speed: tokens drawn from the vocabulary, another text for each sequence. What
 * follows the first n_kept tokens changes from turn to turn, so that it is not found in the cache. */
static const token_id *random_prompt(struct bench *bench, uint32_t sequence, uint32_t n_kept,
                                     uint32_t n_tokens) {
    uint32_t n_vocab = bench->session.model.description.n_vocab;
    uint64_t turn = ++bench->n_turns;
    for (uint32_t i = 0; i < n_tokens; i++) {
        uint64_t seed = sequence + (i < n_kept ? 0 : turn << 32);
        bench->prompt[i] = (token_id)(rng_u64(seed, i) % n_vocab);
    }
    return bench->prompt;
}

static int submit(struct bench *bench, uint32_t index, uint32_t n_kept, uint32_t n_prompt,
                  uint32_t n_output) {
    bench->requests[index] = (struct request){.sequence = bench->sequences[index],
                                              .max_output_tokens = n_output,
                                              .sampling = {.top_p = 1, .repeat_penalty = 1},
                                              .ignores_end = true,
                                              .skips_cache = true};
    const token_id *prompt = random_prompt(bench, index, n_kept, n_prompt);
    TRY(engine_submit(bench->session.engine, &bench->requests[index], prompt, n_prompt));
    /* What earlier turns left in the cache goes, so that this one gets memory that has been touched. */
    engine_account(bench->session.engine);
    kv_evict(engine_kv(bench->session.engine), UINT64_MAX);
    return 0;
}

/* Steps until nothing is left; a request that failed makes it fail. */
static int run_all(struct bench *bench, uint32_t n_requests) {
    while (engine_step(bench->session.engine) > 0) continue;
    for (uint32_t i = 0; i < n_requests; i++)
        if (bench->requests[i].finish == FINISH_FAILED) return bench->requests[i].error;
    return 0;
}

/* Sees to it that a sequence has exactly its first n_tokens computed. After a run that went further that is
 * the work of one token, or of all where a window has passed them. */
static int hold(struct bench *bench, uint32_t index, uint32_t n_tokens) {
    if (n_tokens == 0) return 0;
    TRY(submit(bench, index, n_tokens, n_tokens, 1));
    while (engine_step(bench->session.engine) > 0) continue;
    return bench->requests[index].finish == FINISH_FAILED ? bench->requests[index].error : 0;
}

static int timed_run(struct bench *bench, struct row *row, uint32_t n_requests, double *seconds) {
    row->profile.clock = bench->clock;
    if (bench->opts->is_profiled) engine_profile(bench->session.engine, &row->profile);
    uint64_t start = clock_now_ns(&bench->clock);
    int result = run_all(bench, n_requests);
    *seconds = (double)(clock_now_ns(&bench->clock) - start) * 1e-9;
    engine_profile(bench->session.engine, NULL);
    return result;
}

static void note(struct row *row, double n_tokens, double seconds, double limit_seconds) {
    row->tokens_per_second[row->n] = n_tokens / seconds;
    row->limit[row->n] = n_tokens / limit_seconds;
    row->fraction[row->n++] = limit_seconds / seconds;
}

static double cost_seconds(struct bench *bench, const struct machine_limits *limits,
                           struct cost_batch batch) {
    struct cost cost = model_cost(&bench->session.model, engine_kv_layout(bench->session.engine), &batch);
    return machine_limit_seconds(limits, &cost);
}

/* n_decode steps of `batch` sequences; the first computes the token at depth - 1 (at depth 0, the first
 * token). */
static int decode_once(struct bench *bench, struct row *row, const struct machine_limits *limits) {
    uint32_t n_steps = bench->opts->n_decode, n_prompt = row->depth > 0 ? row->depth : 1;
    for (uint32_t i = 0; i < row->batch; i++) TRY(hold(bench, i, n_prompt - 1));
    for (uint32_t i = 0; i < row->batch; i++) TRY(submit(bench, i, n_prompt, n_prompt, n_steps));
    double seconds, limit_seconds = 0;
    TRY(timed_run(bench, row, row->batch, &seconds));
    for (uint32_t step = 0; step < n_steps; step++)
        limit_seconds += cost_seconds(bench, limits, cost_batch_decode(row->batch, n_prompt - 1 + step));
    note(row, (double)n_steps * row->batch, seconds, limit_seconds);
    return 0;
}

/* n_prefill tokens after `depth` cached ones, until the first output token is there. */
static int prefill_once(struct bench *bench, struct row *row, const struct machine_limits *limits) {
    uint32_t n_tokens = bench->opts->n_prefill, chunk = bench->opts->session.chunk_tokens;
    TRY(hold(bench, 0, row->depth));
    TRY(submit(bench, 0, row->depth, row->depth + n_tokens, 1));
    double seconds, limit_seconds = 0;
    TRY(timed_run(bench, row, 1, &seconds));
    for (uint32_t done = 0; done < n_tokens; done += chunk) {
        struct cost_batch batch =
            cost_batch_prefill(n_tokens - done < chunk ? n_tokens - done : chunk, row->depth + done);
        batch.n_wanted = done + chunk >= n_tokens;
        limit_seconds += cost_seconds(bench, limits, batch);
    }
    note(row, n_tokens, seconds, limit_seconds);
    return 0;
}

/* Fills every sequence that the largest batch needs with `depth` tokens. */
static int fill(struct bench *bench, uint32_t depth) {
    for (uint32_t i = 0; i < bench->n_sequences && depth > 0; i++) {
        if (!bench->opts->is_json)
            fprintf(stderr, "\rfilling %" PRIu32 " of %" PRIu32 " sequences with %" PRIu32 " tokens ", i + 1,
                    bench->n_sequences, depth);
        TRY(hold(bench, i, depth));
    }
    if (!bench->opts->is_json) fprintf(stderr, "\r%60s\r", "");
    return 0;
}

static int measure_depth(struct bench *bench, uint32_t depth) {
    const struct bench_opts *opts = bench->opts;
    struct row *first = &bench->rows[bench->n_rows], *row = first;
    if (opts->n_prefill > 0) *row++ = (struct row){.test = "prefill", .depth = depth, .batch = 1};
    for (size_t i = 0; i < opts->n_batches && opts->n_decode > 0; i++)
        *row++ = (struct row){.test = "decode", .depth = depth, .batch = opts->batches[i]};
    bench->n_rows += (size_t)(row - first);
    TRY(fill(bench, depth));
    /* The first rounds touch the memory and do not count: the second, what the first row's sequence gets
     * while the others keep what they had in the last row. */
    enum { WARM_UPS = 2 };
    for (uint32_t round = 0; round < WARM_UPS + opts->n_reps; round++) {
        for (struct row *r = first; r < row; r++) {
            struct machine_limits limits = machine_measure(&bench->machine);
            if (r == first && round >= WARM_UPS) bench->limits[bench->n_limits++] = limits;
            if (round <= WARM_UPS) *r = (struct row){.test = r->test, .depth = r->depth, .batch = r->batch};
            bool is_prefill = opts->n_prefill > 0 && r == first;
            TRY(is_prefill ? prefill_once(bench, r, &limits) : decode_once(bench, r, &limits));
        }
    }
    return 0;
}

static uint32_t largest(const uint32_t *list, size_t n) {
    uint32_t most = list[0];
    for (size_t i = 1; i < n; i++) most = list[i] > most ? list[i] : most;
    return most;
}

static int open_bench(struct bench *bench) {
    const struct bench_opts *opts = bench->opts;
    struct session_opts session_opts = opts->session;
    uint32_t longest = opts->n_prefill > opts->n_decode ? opts->n_prefill : opts->n_decode;
    session_opts.max_tokens = largest(opts->depths, opts->n_depths) + longest + 1;
    session_opts.max_sequences = bench->n_sequences = largest(opts->batches, opts->n_batches);
    bench->clock = clock_monotonic();
    TRY(session_open(&bench->session, &session_opts));
    size_t buffer_bytes = bench->session.model.weights.panel_bytes;
    enum { LEAST_BUFFER = 64 << 20, MOST_BUFFER = 1 << 30 };
    if (buffer_bytes < LEAST_BUFFER) buffer_bytes = LEAST_BUFFER;
    if (buffer_bytes > MOST_BUFFER) buffer_bytes = MOST_BUFFER;
    TRY(machine_open(&bench->machine, bench->session.team, bench->session.model.kernels, bench->clock,
                     buffer_bytes));
    bench->prompt = mem_alloc(session_opts.max_tokens, sizeof *bench->prompt);
    bench->requests = mem_alloc(bench->n_sequences, sizeof *bench->requests);
    bench->sequences = mem_alloc(bench->n_sequences, sizeof(struct sequence *));
    bench->rows = mem_alloc(opts->n_depths * (opts->n_batches + 1), sizeof *bench->rows);
    if (!bench->prompt || !bench->requests || !bench->sequences || !bench->rows) return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < bench->n_sequences; i++)
        TRY(engine_sequence_open(bench->session.engine, &bench->sequences[i]));
    return 0;
}

static void close_bench(struct bench *bench) {
    for (uint32_t i = 0; bench->sequences != NULL && i < bench->n_sequences; i++)
        engine_sequence_close(bench->session.engine, bench->sequences[i]);
    mem_free(bench->prompt);
    mem_free(bench->requests);
    mem_free(bench->sequences);
    mem_free(bench->rows);
    machine_close(&bench->machine);
    session_close(&bench->session);
}

/* Median of one of the limits over all rounds. */
static double median_limit(const struct bench *bench, size_t offset) {
    double values[MAX_LIST * MAX_REPS];
    for (size_t i = 0; i < bench->n_limits; i++)
        memcpy(&values[i], (const char *)&bench->limits[i] + offset, sizeof *values);
    return spread_of(values, bench->n_limits).median;
}

#define MEDIAN_LIMIT(bench, field) median_limit(bench, offsetof(struct machine_limits, field))

static void print_text(const struct bench *bench) {
    printf("kernels %s, %u threads, KV %s; this machine: read %.1f GB/s over %.0f MB, int8 %.0f Gop/s, bf16 "
           "%.0f "
           "GFLOP/s, f32 %.0f GFLOP/s\n",
           bench->session.model.kernels->name, bench->session.n_threads, bench->opts->session.kv.text,
           MEDIAN_LIMIT(bench, read_bytes_per_second) / 1e9, (double)bench->machine.buffer_bytes / 1e6,
           MEDIAN_LIMIT(bench, int8_ops_per_second) / 1e9, MEDIAN_LIMIT(bench, bf16_flops) / 1e9,
           MEDIAN_LIMIT(bench, f32_flops) / 1e9);
    printf("%-8s %7s %6s   %10s %-19s %10s   %s\n", "test", "depth", "batch", "tokens/s", "(min .. max)",
           "limit", "of limit");
    for (size_t i = 0; i < bench->n_rows; i++) {
        const struct row *row = &bench->rows[i];
        struct spread speed = spread_of(row->tokens_per_second, row->n);
        char range[40];
        snprintf(range, sizeof range, "(%.1f .. %.1f)", speed.min, speed.max);
        printf("%-8s %7" PRIu32 " %6" PRIu32 "   %10.1f %-19s %10.1f   %.0f %%\n", row->test, row->depth,
               row->batch, speed.median, range, spread_of(row->limit, row->n).median,
               spread_of(row->fraction, row->n).median * 100);
    }
    if (!bench->opts->is_profiled) return;
    bench_profile_heading();
    for (size_t i = 0; i < bench->n_rows; i++) {
        const struct row *row = &bench->rows[i];
        bench_profile_print(row->test, row->depth, row->batch, &row->profile);
    }
}

static void print_json(const struct bench *bench) {
    json_t *rows = json_array();
    for (size_t i = 0; i < bench->n_rows; i++) {
        const struct row *row = &bench->rows[i];
        struct spread speed = spread_of(row->tokens_per_second, row->n);
        json_t *object = json_pack(
            "{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "test", row->test, "depth", (json_int_t)row->depth,
            "batch", (json_int_t)row->batch, "tokens_per_second", speed.median, "tokens_per_second_min",
            speed.min, "tokens_per_second_max", speed.max, "limit_tokens_per_second",
            spread_of(row->limit, row->n).median, "fraction", spread_of(row->fraction, row->n).median);
        if (bench->opts->is_profiled)
            json_object_set_new(object, "profile", bench_profile_json(&row->profile));
        json_array_append_new(rows, object);
    }
    json_t *object = json_pack(
        "{s:{s:f, s:f, s:f, s:f, s:I, s:I, s:s}, s:s, s:I, s:o}", "machine", "read_bytes_per_second",
        MEDIAN_LIMIT(bench, read_bytes_per_second), "int8_ops_per_second",
        MEDIAN_LIMIT(bench, int8_ops_per_second), "bf16_flops", MEDIAN_LIMIT(bench, bf16_flops), "f32_flops",
        MEDIAN_LIMIT(bench, f32_flops), "read_buffer_bytes", (json_int_t)bench->machine.buffer_bytes,
        "threads", (json_int_t)bench->session.n_threads, "kernels", bench->session.model.kernels->name,
        "kv_codec", bench->opts->session.kv.text, "rounds", (json_int_t)bench->opts->n_reps, "rows", rows);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

static int run(struct bench *bench) {
    TRY(open_bench(bench));
    for (size_t i = 0; i < bench->opts->n_depths; i++) TRY(measure_depth(bench, bench->opts->depths[i]));
    if (bench->opts->is_json)
        print_json(bench);
    else
        print_text(bench);
    return 0;
}

int cli_bench(int argc, char **argv) {
    struct bench_opts opts = {.session = session_defaults(),
                              .n_prefill = UINT32_MAX,
                              .n_decode = 128,
                              .n_reps = 5,
                              .has_copies = true};
    cli_parse(&argp, argc, argv, &opts);
    if (opts.n_shared > 0) return bench_shared(&opts) < 0 ? cli_fail() : EXIT_SUCCESS;
    struct bench bench = {.opts = &opts};
    int result = run(&bench);
    close_bench(&bench);
    return result < 0 ? cli_fail() : EXIT_SUCCESS;
}
