/* cabinet serve: the OpenAI API over HTTP. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/config_file.h"
#include "cli/plan_subject.h"
#include "cli/session.h"
#include "kv/evict_list.h"
#include "kv/kv_usage.h"
#include "plan/model_files.h"
#include "server/server.h"

enum {
    OPTION_HOST = 256,
    OPTION_PORT,
    OPTION_CTX,
    OPTION_MAX_SEQUENCES,
    OPTION_CHUNK,
    OPTION_API_KEY_FILE,
    OPTION_ADMIN_KEY_FILE,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_MODEL_NAME,
    OPTION_LOG_FORMAT,
    OPTION_DRAIN_SECONDS,
    OPTION_INSECURE,
    OPTION_DEBUG,
    OPTION_CONFIG,
    OPTION_MAX_REQUESTS,
    OPTION_MAX_CONNECTIONS,
    OPTION_STALL_SECONDS,
    OPTION_SALT_BY,
    OPTION_RETAIN,
};

static const struct argp_option options[] = {
    {"host", OPTION_HOST, "HOST", 0, "address to listen on (default 127.0.0.1: this machine only)", 0},
    {"port", OPTION_PORT, "PORT", 0, "port to listen on; 0: any free one (default 8080)", 0},
    {"ctx", OPTION_CTX, "TOKENS", 0, "longest conversation (default: the model's own context)", 0},
    {"max-sequences", OPTION_MAX_SEQUENCES, "N", 0,
     "answers that are computed together; more wait (default 32)", 0},
    {"max-requests", OPTION_MAX_REQUESTS, "N", 0,
     "requests under way, waiting ones included; more are told 429 (default 1024)", 0},
    {"max-connections", OPTION_MAX_CONNECTIONS, "N", 0, "connections at once (default 2048)", 0},
    {"chunk", OPTION_CHUNK, "auto|N", 0,
     "prompt tokens of one step: N, or as many as at most double the time of a step for those who are being "
     "answered (default auto)",
     0},
    {"retain", OPTION_RETAIN, "lru|lfu|cost", 0,
     "what stays in the KV cache when its memory is wanted: what was used last, what was found most often, "
     "or "
     "what saves most time by its bytes (default lru)",
     0},
    {"api-key-file", OPTION_API_KEY_FILE, "FILE", 0,
     "keys of clients, one a line (or one key in CABINET_API_KEY)", 0},
    {"admin-key-file", OPTION_ADMIN_KEY_FILE, "FILE", 0, "keys that may see everybody's figures", 0},
    {"salt-by", OPTION_SALT_BY, "key|request|none", 0,
     "who shares cached prefixes: requests of one key and cache_salt, of one cache_salt, or all (default: "
     "key if "
     "there are several keys, else request)",
     0},
    {"tls-cert", OPTION_TLS_CERT, "FILE", 0, "PEM certificate chain: serve HTTPS", 0},
    {"tls-key", OPTION_TLS_KEY, "FILE", 0, "its PEM key", 0},
    {"model-name", OPTION_MODEL_NAME, "NAME", 0, "what clients call the model (default: as given)", 0},
    {"log-format", OPTION_LOG_FORMAT, "logfmt|json", 0, "form of the log on standard error (default logfmt)",
     0},
    {"drain-seconds", OPTION_DRAIN_SECONDS, "S", 0,
     "time that running requests have after SIGTERM (default 30)", 0},
    {"stall-seconds", OPTION_STALL_SECONDS, "S", 0,
     "a client that takes nothing of its reply for so long is cut off (default 30)", 0},
    {"insecure", OPTION_INSECURE, 0, 0, "listen beyond this machine without keys", 0},
    {"debug", OPTION_DEBUG, 0, 0, "open /debug/check", 0},
    {"config", OPTION_CONFIG, "FILE", 0, "read options from FILE first: lines NAME = VALUE", 0},
    {0},
};

struct serve_opts {
    struct session_opts session;
    struct server_opts server;
    const char *config_path; /* the file that was read */
    const char *api_key_file, *admin_key_file;
    enum log_format log_format;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct serve_opts *opts = state->input;
    enum { MOST_TOKENS = 1 << 24, MOST = 1 << 20 };
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &opts->session;
        state->child_inputs[1] = &opts->session.price;
        return 0;
    case OPTION_HOST: opts->server.http.host = argument; return 0;
    case OPTION_PORT:
        opts->server.http.port = (uint16_t)cli_parse_count(state, "--port", argument, 0, 65535);
        return 0;
    case OPTION_CTX:
        opts->session.max_tokens = (uint32_t)cli_parse_count(state, "--ctx", argument, 2, MOST_TOKENS);
        return 0;
    case OPTION_MAX_SEQUENCES:
        opts->session.max_sequences = (uint32_t)cli_parse_count(state, "--max-sequences", argument, 1, 1024);
        return 0;
    case OPTION_MAX_REQUESTS:
        opts->server.max_requests = (uint32_t)cli_parse_count(state, "--max-requests", argument, 1, MOST);
        return 0;
    case OPTION_MAX_CONNECTIONS:
        opts->server.http.limits.max_connections =
            (unsigned)cli_parse_count(state, "--max-connections", argument, 1, MOST);
        return 0;
    case OPTION_CHUNK:
        opts->session.chunk_factor = strcmp(argument, "auto") == 0 ? 2 : 0;
        if (opts->session.chunk_factor == 0)
            opts->session.chunk_tokens = (uint32_t)cli_parse_count(state, "--chunk", argument, 1, 65536);
        return 0;
    case OPTION_RETAIN:
        opts->session.retain = evict_find(argument);
        if (opts->session.retain == NULL)
            argp_failure(state, EXIT_USAGE, 0, "--retain '%s' is none of %s", argument, evict_names());
        return 0;
    case OPTION_API_KEY_FILE: opts->api_key_file = argument; return 0;
    case OPTION_ADMIN_KEY_FILE: opts->admin_key_file = argument; return 0;
    case OPTION_SALT_BY:
        if (salt_by_named(argument) < 0)
            argp_error(state, "--salt-by '%s' is none of key, request and none", argument);
        opts->server.salt_by = (enum salt_by)salt_by_named(argument);
        return 0;
    case OPTION_TLS_CERT: opts->server.http.tls_certificate = argument; return 0;
    case OPTION_TLS_KEY: opts->server.http.tls_key = argument; return 0;
    case OPTION_MODEL_NAME: opts->server.model_name = argument; return 0;
    case OPTION_LOG_FORMAT:
        if (log_format_named(argument) < 0)
            argp_error(state, "--log-format '%s' is neither logfmt nor json", argument);
        opts->log_format = (enum log_format)log_format_named(argument);
        return 0;
    case OPTION_DRAIN_SECONDS:
        opts->server.drain_seconds = (unsigned)cli_parse_count(state, "--drain-seconds", argument, 0, 86400);
        return 0;
    case OPTION_STALL_SECONDS:
        opts->server.http.limits.stall_seconds =
            (unsigned)cli_parse_count(state, "--stall-seconds", argument, 1, 86400);
        return 0;
    case OPTION_INSECURE: opts->server.access.is_open_to_all = true; return 0;
    case OPTION_DEBUG: opts->server.is_debug = true; return 0;
    case OPTION_CONFIG: /* read before the others, which only its full name tells */
        if (opts->config_path == NULL) argp_error(state, "write --config in full");
        return 0;
    default: break;
    }
    if (key == ARGP_KEY_END &&
        (opts->server.http.tls_certificate == NULL) != (opts->server.http.tls_key == NULL))
        argp_error(state, "--tls-cert and --tls-key go together");
    return cli_parse_model(key, argument, state, &opts->session.model);
}

static const struct argp argp = {
    options,
    parse,
    "MODEL",
    "Serve a model over HTTP: the OpenAI API, Anthropic's messages, and a page to chat and to watch the "
    "cache.\v"
    "Examples:\n"
    "  cabinet serve smollm2\n"
    "  cabinet serve smollm2 --port 8000 --ctx 4096 --kv-memory 2G\n"
    "  CABINET_API_KEY=secret cabinet serve model.gguf --host 0.0.0.0\n"
    "  cabinet serve smollm2 --config cabinet.conf\n"
    "Clients, keys, limits: docs/api.md.",
    session_price_argp_children,
    NULL,
    NULL};

enum {
    DEFAULT_PORT = 8080,
    DEFAULT_SEQUENCES = 32,
    DEFAULT_REQUESTS = 1024,
    DEFAULT_CONNECTIONS = 2048,
    DEFAULT_DRAIN_SECONDS = 30,
    CACHED_FOR_ONE = 3, /* sequences' worth of idle cache for each that runs */
};

static struct serve_opts serve_defaults(void) {
    struct serve_opts opts = {.session = session_defaults(), .log_format = LOG_LOGFMT};
    opts.session.max_sequences = DEFAULT_SEQUENCES;
    opts.session.chunk_factor = 2;
    opts.server.max_requests = DEFAULT_REQUESTS;
    opts.server.drain_seconds = DEFAULT_DRAIN_SECONDS;
    opts.server.http.host = "127.0.0.1";
    opts.server.http.port = DEFAULT_PORT;
    opts.server.http.limits = (struct http_limits){
        .max_connections = DEFAULT_CONNECTIONS,
        .max_head_bytes = 32 << 10,
        .max_body_bytes = 16 << 20,
        .max_bodies_bytes = 256 << 20,
        .idle_seconds = 75,
        .head_seconds = 15,
        .body_seconds = 60,
        .stall_seconds = 30,
    };
    return opts;
}

/* Keys from files and the environment, never from the command line, where everybody sees them. */
static int read_keys(struct serve_opts *opts) {
    struct access_policy *access = &opts->server.access;
    const char *key = getenv("CABINET_API_KEY");
    if (opts->api_key_file != NULL) TRY(access_keys_read(&access->keys, opts->api_key_file));
    if (key != NULL && *key != '\0' && access_keys_add(&access->keys, key) < 0)
        return ERR(INVALID, "CABINET_API_KEY is no key: 1 to %d visible characters", ACCESS_KEY_MAX - 1);
    if (opts->admin_key_file != NULL) TRY(access_keys_read(&access->admin_keys, opts->admin_key_file));
    const char *host = opts->server.http.host;
    if (access->keys.n > 0 || access->is_open_to_all || access_is_loopback(host)) return 0;
    return ERR(INVALID,
               "--host %s is more than this machine, and nobody would need a key (give --api-key-file or "
               "CABINET_API_KEY, or --insecure)",
               host);
}

static void print_ready(const struct server *server, const struct serve_opts *opts,
                        const struct session *session) {
    struct kv_usage usage = kv_usage(engine_kv(session->engine));
    char bytes[CLI_BYTES_LENGTH], tokens[CLI_BYTES_LENGTH], longest[CLI_BYTES_LENGTH],
        users[CLI_BYTES_LENGTH], shorter[CLI_BYTES_LENGTH], more_users[CLI_BYTES_LENGTH];
    const struct kv_layout *layout = engine_kv_layout(session->engine);
    uint32_t length = session->max_tokens, quarter = length / 4 > 0 ? length / 4 : 1;
    uint64_t n_users = usage.arena_bytes / kv_least_bytes_for(layout, length, 1);
    uint64_t n_more = usage.arena_bytes / kv_least_bytes_for(layout, quarter, 1);
    bool is_six = strchr(opts->server.http.host, ':') != NULL;
    printf("Cabinet %s serves %s at %s://%s%s%s:%u (OpenAI API at /v1, a page at /)\n", CABINET_VERSION,
           opts->server.model_name, opts->server.http.tls_certificate != NULL ? "https" : "http",
           is_six ? "[" : "", opts->server.http.host, is_six ? "]" : "", server_port(server));
    printf("KV memory %s (%s): %s tokens", cli_format_bytes(bytes, (double)usage.arena_bytes),
           opts->session.kv.text,
           cli_format_count(tokens, usage.arena_bytes / kv_layout_bytes_per_token(layout)));
    if (kv_layout_demotes(layout))
        printf(", or %s when all but first and last blocks are demoted",
               cli_format_count(tokens, usage.arena_bytes / kv_layout_least_bytes_per_token(layout)));
    printf(", such as %s users of %s tokens or %s of %s\n", cli_format_count(users, n_users),
           cli_format_count(longest, length), cli_format_count(more_users, n_more),
           cli_format_count(shorter, quarter));
    fflush(stdout);
}

/* The planner's page knows the served model by its file, if the planner can read that, and this machine, if
 * it was calibrated. */
static void offer_plans(struct serve_opts *opts, struct plan_model *model, struct plan_hardware *hardware) {
    char path[4096];
    bool is_assumed;
    if (cli_model_path(opts->session.model, path, sizeof path) == 0 && plan_model_from_gguf(model, path) == 0)
        opts->server.plan_model = model;
    if (plan_subject_hardware(hardware, NULL, "this", &is_assumed) == 0)
        opts->server.plan_hardware = hardware;
}

static int serve(struct serve_opts *opts) {
    static struct plan_model planned; /* too much for the stack, as is */
    static struct plan_hardware here;
    struct session session;
    struct server *server;
    struct log log;
    log_open(&log, STDERR_FILENO, opts->log_format, LOG_INFO, clock_wall());
    opts->server.log = &log;
    TRY(read_keys(opts));
    opts->session.n_cached = CACHED_FOR_ONE * opts->session.max_sequences;
    TRY(session_open(&session, &opts->session));
    opts->server.engine = session.engine;
    opts->server.model = &session.model;
    opts->server.max_tokens = session.max_tokens;
    opts->server.price = opts->session.price;
    offer_plans(opts, &planned, &here);
    int result = server_open(&server, &opts->server);
    if (result == 0) {
        print_ready(server, opts, &session);
        result = server_run(server);
        server_close(server);
    }
    session_close(&session);
    return result;
}

/* Options of the file that --config names come before the command line's, which so wins. */
static int parse_all(int argc, char **argv, struct serve_opts *opts, struct config_file *config) {
    const char *path = opts->config_path = config_file_path(argc, argv, "config");
    if (path != NULL) {
        TRY(config_file_read(config, path, &argp, "config"));
        argv = config_file_argv(config, &argc, argv);
        if (argv == NULL) return ERR_NO_MEMORY;
    }
    cli_parse(&argp, argc, argv, opts);
    return 0;
}

int cli_serve(int argc, char **argv) {
    struct serve_opts opts = serve_defaults();
    struct config_file config = {0};
    int result = parse_all(argc, argv, &opts, &config);
    if (opts.server.model_name == NULL) opts.server.model_name = opts.session.model;
    if (result == 0) result = serve(&opts);
    config_file_free(&config);
    return result < 0 ? cli_fail() : EXIT_SUCCESS;
}
