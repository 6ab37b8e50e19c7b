#include "cli/session.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "hub/store.h"

struct session_opts session_defaults(void) {
    return (struct session_opts){.max_sequences = 1,
                                 .chunk_tokens = 512,
                                 .weight_cache_bytes = UINT64_C(16) << 30,
                                 .kv = kv_rules_of(CODEC_f16)};
}

enum { OPTION_KV = 1024, OPTION_KV_MEMORY, OPTION_THREADS, OPTION_WEIGHT_CACHE }; /* beyond any verb's own */

static const struct argp_option options[] = {
    {"kv-memory", OPTION_KV_MEMORY, "SIZE", 0,
     "memory for the KV cache: 512M, 4GiB, 40% of what is free (default 50%)", 0},
    {"kv", OPTION_KV, "FORMAT", 0,
     "how K and V are stored: f32, f16, bf16, q8, k8v4, q4, q3, or auto: f16, and q4 when memory is short "
     "(default f16); and rules for layers: "
     "q4,layers=0-1:q8,full:v=q8",
     0},
    {"threads", OPTION_THREADS, "T", 0, "threads (default: all cores)", 0},
    {"weight-cache", OPTION_WEIGHT_CACHE, "SIZE", 0,
     "disk that repacked weights may take in the cache folder, for the next start: 4GiB, or off (default "
     "16GiB)",
     0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct session_opts *opts = state->input;
    switch (key) {
    case OPTION_KV_MEMORY: opts->kv_memory_bytes = cli_parse_memory(state, "--kv-memory", argument); return 0;
    case OPTION_KV: cli_parse_kv(state, argument, &opts->kv); return 0;
    case OPTION_THREADS:
        opts->n_threads = (unsigned)cli_parse_count(state, "--threads", argument, 1, 1024);
        return 0;
    case OPTION_WEIGHT_CACHE:
        opts->weight_cache_bytes =
            strcmp(argument, "off") == 0 ? 0 : cli_parse_memory(state, "--weight-cache", argument);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
const struct argp_child session_argp_children[] = {{&argp, 0, NULL, 10}, {0}};

/* ---- prices ---- */

enum { OPTION_PRICE_GB_HOUR = 1280, OPTION_PRICE_HOUR };

static const struct argp_option price_options[] = {
    {"price-gb-hour", OPTION_PRICE_GB_HOUR, "X", 0,
     "what 10^9 bytes of KV memory cost an hour: bills say what they come to", 0},
    {"price-hour", OPTION_PRICE_HOUR, "X", 0,
     "what the machine costs an hour: bills divide it by their part of the KV memory", 0},
    {0},
};

static double parse_price(struct argp_state *state, const char *what, const char *argument) {
    float price = cli_parse_float(state, what, argument);
    if (price <= 0) argp_failure(state, EXIT_USAGE, 0, "%s '%s' is no price above 0", what, argument);
    return (double)price;
}

static error_t parse_prices(int key, char *argument, struct argp_state *state) {
    struct kv_price *price = state->input;
    switch (key) {
    case OPTION_PRICE_GB_HOUR: price->gb_hour = parse_price(state, "--price-gb-hour", argument); return 0;
    case OPTION_PRICE_HOUR: price->machine_hour = parse_price(state, "--price-hour", argument); return 0;
    case ARGP_KEY_END:
        if (price->gb_hour > 0 && price->machine_hour > 0)
            argp_error(state, "--price-gb-hour and --price-hour exclude each other");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp price_argp = {price_options, parse_prices, NULL, NULL, NULL, NULL, NULL};
const struct argp_child session_price_argp_children[] = {
    {&argp, 0, NULL, 10}, {&price_argp, 0, NULL, 11}, {0}};

static int choose_memory(const struct session_opts *opts, uint64_t *bytes) {
    uint64_t available = mem_available_bytes();
    *bytes = opts->kv_memory_bytes != 0 ? opts->kv_memory_bytes : available / 2;
    if (available == 0 || *bytes <= available) return 0;
    char asked[CLI_BYTES_LENGTH], there[CLI_BYTES_LENGTH];
    return ERR(NO_MEMORY, "--kv-memory asks for %s, this machine has %s free",
               cli_format_bytes(asked, (double)*bytes), cli_format_bytes(there, (double)available));
}

/* Opens the model with the weight cache, or without where there is no folder for one. */
static int open_model(struct session *session, const struct session_opts *opts, const char *path) {
    enum { LEAST_BYTES = 128 << 20 /* smaller ones are repacked in 0.1 s */ };
    char folder[STORE_PATH_LENGTH];
    struct weight_cache cache = {.max_bytes = opts->weight_cache_bytes, .least_bytes = LEAST_BYTES};
    if (cache.max_bytes > 0 && store_weights_folder(folder, sizeof folder) == 0) cache.folder = folder;
    const struct kernel_set *kernels = kernel_set_get(NULL);
    if (kernels == NULL) return ERR_UNSUPPORTED;
    return model_open_cached(&session->model, path, kernels, &cache, session->team);
}

static int open_parts(struct session *session, const struct session_opts *opts) {
    char path[4096];
    uint64_t kv_memory_bytes;
    TRY(cli_model_path(opts->model, path, sizeof path));
    TRY(choose_memory(opts, &kv_memory_bytes));
    session->n_threads = opts->n_threads != 0 ? opts->n_threads : team_default_size();
    TRY(team_open(&session->team, session->n_threads));
    TRY(open_model(session, opts, path));
    uint32_t trained = session->model.description.n_context;
    session->max_tokens = opts->max_tokens != 0 ? opts->max_tokens : trained;
    if (opts->max_tokens == 0 && opts->default_tokens != 0 && opts->default_tokens < trained)
        session->max_tokens = opts->default_tokens;
    if (session->max_tokens > trained)
        return ERR(INVALID, "a context of %" PRIu32 " tokens is longer than the model's own of %" PRIu32,
                   session->max_tokens, trained);
    struct engine_opts engine_opts = {
        .kv_memory_bytes = kv_memory_bytes,
        .kv = opts->kv,
        .max_sequences = opts->max_sequences,
        .max_tokens = session->max_tokens,
        .n_cached = opts->n_cached,
        .chunk_tokens = opts->chunk_tokens,
        .chunk_factor = opts->chunk_factor,
        .slice_rows = opts->slice_rows,
        .retain = opts->retain,
        .clock = clock_monotonic(),
    };
    return engine_open(&session->engine, &session->model, session->team, &engine_opts);
}

int session_open(struct session *session, const struct session_opts *opts) {
    *session = (struct session){.price = opts->price};
    int result = open_parts(session, opts);
    if (result < 0) session_close(session);
    return result;
}

void session_close(struct session *session) {
    engine_close(session->engine);
    model_close(&session->model);
    team_close(session->team);
    *session = (struct session){0};
}
