/* cabinet top: a running server's cache, live in the terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/remote.h"
#include "cli/top_view.h"

enum { TIMEOUT_SECONDS = 10, ROWS_ABOVE = 7, DEFAULT_ROWS = 1000 };

struct top_verb {
    const char *url, *key_path;
    double interval_seconds;
    bool is_once, is_json;
};

enum { OPTION_API_KEY_FILE = 256, OPTION_INTERVAL, OPTION_ONCE, OPTION_JSON };

static const struct argp_option options[] = {
    {"api-key-file", OPTION_API_KEY_FILE, "FILE", 0, REMOTE_KEY_HELP, 0},
    {"interval", OPTION_INTERVAL, "SECONDS", 0, "time between two looks, 0.1 to 3600 (default 2)", 0},
    {"once", OPTION_ONCE, 0, 0, "look once and exit", 0},
    {"json", OPTION_JSON, 0, 0, "one JSON object a look (docs/json.md)", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct top_verb *opts = state->input;
    switch (key) {
    case OPTION_API_KEY_FILE: opts->key_path = argument; return 0;
    case OPTION_INTERVAL:
        opts->interval_seconds = (double)cli_parse_float(state, "--interval", argument);
        if (opts->interval_seconds < 0.1 || opts->interval_seconds > 3600)
            argp_failure(state, EXIT_USAGE, 0, "--interval '%s' is not from 0.1 to 3600", argument);
        return 0;
    case OPTION_ONCE: opts->is_once = true; return 0;
    case OPTION_JSON: opts->is_json = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) argp_error(state, "one URL is enough; '%s' is too much", argument);
        opts->url = argument;
        return 0;
    case ARGP_KEY_END:
        if (opts->url == NULL) argp_error(state, "URL is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse,
    "URL",
    "Watch a running server: how full its KV memory is, what runs in it with blocks, shared ones and speed, "
    "and "
    "how many prompt tokens the cache had. Ctrl-C ends it. With keys, sequences are yours only, or with an "
    "admin key everybody's.\v"
    "Examples:\n"
    "  cabinet top http://127.0.0.1:8080\n"
    "  cabinet top https://box.example --api-key-file key --interval 0.5\n"
    "  cabinet top http://127.0.0.1:8080 --once --json",
    NULL,
    NULL,
    NULL};

static int look(struct api_client *client, const struct top_verb *opts, struct top_look *found) {
    struct text live = {0}, metrics = {0};
    *found = (struct top_look){0};
    int result = api_client_call(client, "GET", "/v1/kv/live", NULL, &live);
    if (result == 0) result = api_client_call(client, "GET", "/metrics", NULL, &metrics);
    if (result == 0) result = top_look_read(found, opts->url, &live, &metrics);
    text_free(&live);
    text_free(&metrics);
    return result;
}

static size_t max_rows(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return DEFAULT_ROWS;
    return size.ws_row > ROWS_ABOVE ? (size_t)size.ws_row - ROWS_ABOVE : 1;
}

static void show(const struct top_verb *opts, const struct top_look *now, const struct top_look *before) {
    if (opts->is_json) {
        top_print_json(now, stdout);
    } else {
        /* On a terminal each look replaces the one before: home, clear. */
        if (!opts->is_once && isatty(STDOUT_FILENO)) fputs("\033[H\033[2J", stdout);
        top_print(now, before, opts->is_once ? DEFAULT_ROWS : max_rows(), stdout);
    }
    fflush(stdout);
}

static void pause_for(double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    (void)nanosleep(&time, NULL); /* a signal ends it */
}

static int watch(struct api_client *client, const struct top_verb *opts) {
    struct top_look now, before = {0};
    int result = 0;
    while (!interrupted && !ferror(stdout)) {
        result = look(client, opts, &now);
        if (result == 0) show(opts, &now, before.live == NULL ? NULL : &before);
        top_look_free(&before);
        before = now;
        if (result < 0 || opts->is_once) break;
        pause_for(opts->interval_seconds);
    }
    top_look_free(&before);
    return interrupted ? 0 : result;
}

static int run(const struct top_verb *opts) {
    struct api_client *client;
    TRY(remote_open(&client, opts->url, opts->key_path, TIMEOUT_SECONDS));
    int result = watch(client, opts);
    api_client_close(client);
    return result;
}

int cli_top(int argc, char **argv) {
    struct top_verb opts = {.interval_seconds = 2};
    cli_parse(&argp, argc, argv, &opts);
    interrupt_catch(SIGINT);
    interrupt_catch(SIGTERM);
    return run(&opts) < 0 ? cli_fail() : EXIT_SUCCESS;
}
