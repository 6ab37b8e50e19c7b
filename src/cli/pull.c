/* cabinet pull: a model into the cache folder. */
#include "hub/pull.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/model_name.h"
#include "cli/progress.h"
#include "hub/store.h"

enum { OPTION_JSON = 256, OPTION_ENDPOINT, OPTION_RETRIES, OPTION_RETRY_DELAY, OPTION_TIMEOUT };

static const struct argp_option options[] = {
    {"json", OPTION_JSON, 0, 0, "print one JSON object (docs/json.md)", 1},
    {"endpoint", OPTION_ENDPOINT, "URL", 0,
     "the hub (default: $CABINET_ENDPOINT, else $HF_ENDPOINT, else https://huggingface.co)", 2},
    {"retries", OPTION_RETRIES, "N", 0, "attempts after one that the network ended (default 5)", 2},
    {"retry-delay", OPTION_RETRY_DELAY, "SECONDS", 0, "before the first of them; it doubles (default 1)", 2},
    {"timeout", OPTION_TIMEOUT, "SECONDS", 0, "to connect, and without a byte arriving (default 30)", 2},
    {0},
};

struct verb_opts {
    const char *model, *endpoint;
    bool is_json;
    struct pull_opts pull;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct verb_opts *opts = state->input;
    switch (key) {
    case OPTION_JSON: opts->is_json = true; return 0;
    case OPTION_ENDPOINT: opts->endpoint = argument; return 0;
    case OPTION_RETRIES:
        opts->pull.n_retries = (unsigned)cli_parse_count(state, "--retries", argument, 0, 1000);
        return 0;
    case OPTION_RETRY_DELAY:
        opts->pull.retry_delay_ms = 1000 * cli_parse_count(state, "--retry-delay", argument, 0, 60);
        return 0;
    case OPTION_TIMEOUT:
        opts->pull.http.timeout_s = (unsigned)cli_parse_count(state, "--timeout", argument, 1, 3600);
        return 0;
    default: return cli_parse_model(key, argument, state, &opts->model);
    }
}

static const struct argp argp = {
    options,
    parse,
    "OWNER/REPO[@REVISION][:FILE | :TAG]\nURL",
    "Fetch a GGUF model into the cache folder; its path is printed. Every verb that takes a MODEL then knows "
    "it by the "
    "same name.\n\nWithout FILE or TAG it is a Q4_K_M, else a Q4_0, Q4_1 or Q8_0, else the only model there "
    "is. A pull that "
    "was stopped goes on where it was. Published sizes and SHA-256 are checked. HF_TOKEN, if set, is sent to "
    "the endpoint "
    "alone.\v"
    "Examples:\n"
    "  cabinet pull Qwen/Qwen2.5-0.5B-Instruct-GGUF\n"
    "  cabinet pull Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0\n"
    "  cabinet pull OWNER/REPO@v1:model-q4_0.gguf --endpoint https://HUB\n"
    "  cabinet pull https://example.com/models/model.gguf\n"
    "  cabinet run Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0 -p 'Hello'",
    NULL,
    NULL,
    NULL};

static json_t *file_json(const struct pull_file *file) {
    json_t *object = json_object();
    json_object_set_new(object, "path", json_string(file->path));
    json_object_set_new(object, "bytes", json_integer((json_int_t)file->result.bytes));
    json_object_set_new(object, "downloaded_bytes", json_integer((json_int_t)file->result.downloaded_bytes));
    json_object_set_new(object, "resumed_bytes", json_integer((json_int_t)file->result.resumed_bytes));
    json_object_set_new(object, "was_there", json_boolean(file->was_there));
    json_object_set_new(object, "sha256", file->was_there ? json_null() : json_string(file->result.sha256));
    json_object_set_new(object, "is_sha256_checked", json_boolean(file->result.is_checked));
    return object;
}

static void print_json(const char *name, const struct pull_result *result) {
    json_t *object = json_object(), *files = json_array();
    for (unsigned i = 0; i < result->n_files; i++) json_array_append_new(files, file_json(&result->files[i]));
    json_object_set_new(object, "name", json_string(name));
    json_object_set_new(object, "files", files);
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_text(const char *name, const struct pull_result *result) {
    for (unsigned i = 0; i < result->n_files; i++) {
        const struct pull_file *file = &result->files[i];
        char size[CLI_BYTES_LENGTH];
        fprintf(stderr, "%s: %s, %s\n", file_path_base(file->path),
                cli_format_bytes(size, (double)file->result.bytes),
                file->was_there           ? "already there"
                : file->result.is_checked ? "SHA-256 as published"
                                          : "no SHA-256 is published");
    }
    puts(result->files[0].path);
    fflush(stdout);
    fprintf(stderr, "Next: cabinet run %s\n", name);
}

static int run(struct verb_opts *opts) {
    char endpoint[NAME_URL_LENGTH], folder[STORE_PATH_LENGTH], typed[NAME_URL_LENGTH];
    struct hub_name name;
    struct pull_result result;
    TRY(model_endpoint(opts->endpoint, endpoint, sizeof endpoint));
    TRY(hub_name_parse(&name, opts->model, endpoint));
    TRY(store_folder(folder, sizeof folder));
    struct progress progress = progress_make(clock_monotonic());
    struct pull_listener listener = progress_listener(&progress);
    opts->pull.http.endpoint = endpoint;
    opts->pull.http.token = getenv("HF_TOKEN");
    opts->pull.http.interrupt = &interrupted;
    opts->pull.listener = &listener;
    int code = pull(&name, &opts->pull, &result);
    progress_end(&progress);
    TRY(code);
    hub_name_of_path(typed, sizeof typed, result.files[0].path + strlen(folder) + 1);
    if (opts->is_json)
        print_json(typed, &result);
    else
        print_text(typed, &result);
    pull_result_free(&result);
    return 0;
}

int cli_pull(int argc, char **argv) {
    struct verb_opts opts = {.pull = {.n_retries = 5, .retry_delay_ms = 1000, .http = {.timeout_s = 30}}};
    cli_parse(&argp, argc, argv, &opts);
    interrupt_catch(SIGINT);
    interrupt_catch(SIGTERM);
    return run(&opts) < 0 ? cli_fail() : EXIT_SUCCESS;
}
