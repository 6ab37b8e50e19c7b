/* cabinet kv: what of a server's cache is one's own, kept and forgotten from the shell. */
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/remote.h"
#include "server/kv_ask.h"

enum { TIMEOUT_SECONDS = 30 };

struct kv_verb {
    const char *url, *action;
    const char *key_path, *cache_salt, *prompt, *prompt_path, *messages_path, *salt;
    uint32_t ttl_seconds, priority;
    bool is_json;
};

enum {
    OPTION_API_KEY_FILE = 256,
    OPTION_CACHE_SALT,
    OPTION_MESSAGES,
    OPTION_TTL,
    OPTION_PRIORITY,
    OPTION_SALT,
    OPTION_JSON
};

static const struct argp_option options[] = {
    {"api-key-file", OPTION_API_KEY_FILE, "FILE", 0, REMOTE_KEY_HELP, 0},
    {"cache-salt", OPTION_CACHE_SALT, "TEXT", 0, "the cache_salt that the requests had", 0},
    {"prompt", 'p', "TEXT", 0, "pin, unpin, drop: the prefix, as /v1/completions takes it", 0},
    {"file", 'f', "FILE", 0, "the same from a file; '-' is standard input", 0},
    {"messages", OPTION_MESSAGES, "FILE", 0,
     "the prefix as a conversation: JSON, an array of messages or a whole body of /v1/chat/completions", 0},
    {"ttl", OPTION_TTL, "SECONDS", 0, "pin: for so long (default 3600)", 0},
    {"priority", OPTION_PRIORITY, "N", 0, "pin: 0 to 255; what is higher is evicted later (default 0)", 0},
    {"salt", OPTION_SALT, "LABEL", 0, "drop, with an admin key: of whoever has this salt in the list", 0},
    {"json", OPTION_JSON, 0, 0, "the server's answer as it is", 0},
    {0},
};

static bool is_one_of(const char *word, const char *const *words) {
    while (*words != NULL && strcmp(word, *words) != 0) words++;
    return *words != NULL;
}

static void check(const struct kv_verb *opts, struct argp_state *state) {
    unsigned n_prefixes =
        (opts->prompt != NULL) + (opts->prompt_path != NULL) + (opts->messages_path != NULL);
    bool is_list = strcmp(opts->action, "list") == 0, is_pin = strcmp(opts->action, "pin") == 0;
    bool is_drop = strcmp(opts->action, "drop") == 0;
    if (n_prefixes > 1) argp_error(state, "one of --prompt, --file and --messages is enough");
    if (is_list && n_prefixes > 0) argp_error(state, "list shows all that is yours and takes no prefix");
    if (!is_list && !is_drop && n_prefixes == 0)
        argp_error(state, "%s needs a prefix: --prompt, --file or --messages", opts->action);
    if (!is_pin && (opts->ttl_seconds > 0 || opts->priority > 0))
        argp_error(state, "--ttl and --priority belong to pin");
    if (!is_drop && opts->salt != NULL) argp_error(state, "--salt belongs to drop");
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    static const char *const actions[] = {"list", "pin", "unpin", "drop", NULL};
    struct kv_verb *opts = state->input;
    switch (key) {
    case OPTION_API_KEY_FILE: opts->key_path = argument; return 0;
    case OPTION_CACHE_SALT: opts->cache_salt = argument; return 0;
    case 'p': opts->prompt = argument; return 0;
    case 'f': opts->prompt_path = argument; return 0;
    case OPTION_MESSAGES: opts->messages_path = argument; return 0;
    case OPTION_TTL:
        opts->ttl_seconds = (uint32_t)cli_parse_count(state, "--ttl", argument, 1, KV_TTL_SECONDS_MAX);
        return 0;
    case OPTION_PRIORITY:
        opts->priority = (uint32_t)cli_parse_count(state, "--priority", argument, 0, UINT8_MAX);
        return 0;
    case OPTION_SALT: opts->salt = argument; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            opts->url = argument;
        else if (state->arg_num == 1 && is_one_of(argument, actions))
            opts->action = argument;
        else
            argp_error(state, "'%s' is none of list, pin, unpin and drop", argument);
        return 0;
    case ARGP_KEY_END:
        if (opts->url == NULL) argp_error(state, "URL is missing");
        check(opts, state);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse,
    "URL [list|pin|unpin|drop]",
    "What a running server has cached of your requests: prefixes with their tokens, bytes, users, hits and "
    "age. "
    "Pinned ones stay until their time is over; dropped ones are forgotten, unless somebody uses or pins "
    "them. "
    "With an admin key list and drop mean everybody's.\v"
    "Examples:\n"
    "  cabinet kv http://127.0.0.1:8080\n"
    "  cabinet kv http://127.0.0.1:8080 pin --messages system.json --ttl 86400 --priority 10\n"
    "  cabinet kv http://127.0.0.1:8080 unpin --messages system.json\n"
    "  cabinet kv http://127.0.0.1:8080 drop -f contract.txt\n"
    "  cabinet kv https://box.example --api-key-file key list --json\n"
    "What is pinned has to be cached already: ask it once. docs/api.md has the routes behind this.",
    NULL,
    NULL,
    NULL};

/* ---- the request ---- */

static int read_messages(const struct kv_verb *opts, json_t **body) {
    char *text;
    json_error_t error;
    TRY(cli_read_text(opts->messages_path, &text));
    json_t *loaded = json_loads(text, 0, &error);
    mem_free(text);
    if (json_is_array(loaded)) loaded = json_pack("{s:o}", "messages", loaded);
    *body = loaded;
    if (json_is_object(loaded)) return 0;
    return ERR(INVALID, "%s holds neither a JSON array of messages nor a request with them",
               opts->messages_path);
}

static int make_body(const struct kv_verb *opts, json_t **body) {
    char *text = NULL;
    *body = NULL;
    if (opts->messages_path != NULL) TRY(read_messages(opts, body));
    if (*body == NULL) *body = json_object();
    if (opts->prompt_path != NULL) TRY(cli_read_text(opts->prompt_path, &text));
    const char *prompt = text != NULL ? text : opts->prompt;
    json_t *told = prompt == NULL ? NULL : json_string(prompt);
    mem_free(text);
    if (prompt != NULL && told == NULL) return ERR(INVALID, "the prompt is no UTF-8");
    if (told != NULL) json_object_set_new(*body, "prompt", told);
    if (strcmp(opts->action, "pin") == 0) {
        json_object_set_new(*body, "priority", json_integer(opts->priority));
        json_object_set_new(*body, "ttl_seconds",
                            json_integer(opts->ttl_seconds > 0 ? opts->ttl_seconds : KV_TTL_SECONDS));
    } else {
        json_object_del(*body, "priority"); /* a request's own means something else */
    }
    if (opts->cache_salt != NULL) json_object_set_new(*body, "cache_salt", json_string(opts->cache_salt));
    if (opts->salt != NULL) json_object_set_new(*body, "salt", json_string(opts->salt));
    return 0;
}

static int call(const struct kv_verb *opts, struct api_client *client, struct text *answer) {
    if (strcmp(opts->action, "list") == 0) {
        struct text path = {0};
        text_append_string(&path, "/v1/kv");
        if (opts->cache_salt != NULL) text_append_string(&path, "?cache_salt=");
        for (const char *c = opts->cache_salt; c != NULL && *c != '\0'; c++)
            text_printf(&path, isalnum((unsigned char)*c) ? "%c" : "%%%02X", (unsigned char)*c);
        int result = path.failed ? ERR_NO_MEMORY : api_client_call(client, "GET", path.bytes, NULL, answer);
        text_free(&path);
        return result;
    }
    json_t *body;
    int result = make_body(opts, &body);
    char *text = result < 0 ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (result == 0 && text == NULL) result = ERR(NO_MEMORY, "no memory for a request");
    bool is_drop = strcmp(opts->action, "drop") == 0, is_pin = strcmp(opts->action, "pin") == 0;
    if (result == 0)
        result = api_client_call(client, is_drop ? "DELETE" : "POST",
                                 is_drop  ? "/v1/kv"
                                 : is_pin ? "/v1/kv/pin"
                                          : "/v1/kv/unpin",
                                 text, answer);
    free(text); /* jansson's */
    return result;
}

/* ---- what is shown ---- */

static uint64_t number(const json_t *object, const char *name) {
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}

/* "37 s", "5 min", "3 h", "2 d" */
static const char *format_time(char buffer[CLI_BYTES_LENGTH], uint64_t seconds) {
    static const struct {
        uint64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t i = 0;
    while (i < 3 && seconds < 2 * units[i].seconds) i++;
    snprintf(buffer, CLI_BYTES_LENGTH, "%" PRIu64 " %s", seconds / units[i].seconds, units[i].unit);
    return buffer;
}

static void print_row(const json_t *row, bool has_salts) {
    char tokens[CLI_BYTES_LENGTH], bytes[CLI_BYTES_LENGTH], age[CLI_BYTES_LENGTH], idle[CLI_BYTES_LENGTH],
        pinned[CLI_BYTES_LENGTH] = "-";
    const char *salt = json_string_value(json_object_get(row, "salt"));
    if (json_is_integer(json_object_get(row, "pinned_seconds")))
        format_time(pinned, number(row, "pinned_seconds"));
    printf("%9s  %10s  %5" PRIu64 "  %6" PRIu64 "  %7s  %7s  %7s  %8" PRIu64 "%s",
           cli_format_count(tokens, number(row, "tokens")),
           cli_format_bytes(bytes, (double)number(row, "bytes")), number(row, "users"), number(row, "hits"),
           format_time(age, number(row, "age_seconds")), format_time(idle, number(row, "idle_seconds")),
           pinned, number(row, "priority"), has_salts ? "  " : "\n");
    if (has_salts)
        printf("%.16s\n", salt == NULL || strspn(salt, "0123456789abcdef") != strlen(salt) ? "?" : salt);
}

static int print_list(const json_t *answer) {
    const json_t *data = json_object_get(answer, "data");
    size_t n = json_array_size(data);
    if (!json_is_array(data)) return ERR(INVALID, "the server's answer is no list of prefixes");
    if (n == 0) {
        puts("Nothing of yours is cached.");
        return 0;
    }
    bool has_salts = json_object_get(json_array_get(data, 0), "salt") != NULL;
    printf("%9s  %10s  %5s  %6s  %7s  %7s  %7s  %8s%s\n", "TOKENS", "OWN BYTES", "USERS", "HITS", "AGE",
           "IDLE", "PINNED", "PRIORITY", has_salts ? "  SALT" : "");
    for (size_t i = 0; i < n; i++) print_row(json_array_get(data, i), has_salts);
    if (!json_is_true(json_object_get(answer, "is_complete"))) puts("... and more");
    return 0;
}

static int print_answer(const struct kv_verb *opts, const json_t *answer) {
    char count[CLI_BYTES_LENGTH], asked[CLI_BYTES_LENGTH];
    if (strcmp(opts->action, "list") == 0) return print_list(answer);
    cli_format_count(asked, number(answer, "prompt_tokens"));
    if (strcmp(opts->action, "pin") == 0)
        printf("%s of %s tokens are pinned for %" PRIu64 " s\n",
               cli_format_count(count, number(answer, "pinned_tokens")), asked,
               number(answer, "ttl_seconds"));
    else if (strcmp(opts->action, "unpin") == 0)
        printf("%s of %s tokens are pinned no more\n",
               cli_format_count(count, number(answer, "unpinned_tokens")), asked);
    else
        printf("%s freed\n", cli_format_bytes(count, (double)number(answer, "freed_bytes")));
    return 0;
}

static int show(const struct kv_verb *opts, const struct text *answer) {
    json_t *loaded = answer->bytes == NULL ? NULL : json_loadb(answer->bytes, answer->length, 0, NULL);
    int result = 0;
    if (!json_is_object(loaded))
        result =
            ERR(INVALID, "%.200s answers with something else than JSON: is it a Cabinet server?", opts->url);
    else if (opts->is_json)
        result =
            json_dumpf(loaded, stdout, JSON_INDENT(2)) < 0 ? ERR(IO, "standard output fails") : (puts(""), 0);
    else
        result = print_answer(opts, loaded);
    json_decref(loaded);
    return result;
}

/* ---- the verb ---- */

static int run(const struct kv_verb *opts) {
    struct api_client *client;
    struct text answer = {0};
    TRY(remote_open(&client, opts->url, opts->key_path, TIMEOUT_SECONDS));
    int result = call(opts, client, &answer);
    if (result == 0) result = show(opts, &answer);
    api_client_close(client);
    text_free(&answer);
    return result;
}

int cli_kv(int argc, char **argv) {
    struct kv_verb opts = {.action = "list"};
    cli_parse(&argp, argc, argv, &opts);
    return run(&opts) < 0 ? cli_fail() : EXIT_SUCCESS;
}
