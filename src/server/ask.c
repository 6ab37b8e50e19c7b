#include "server/ask.h"

#include <limits.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/ask_form.h"

/* Deeper than any schema or argument that makes sense, and shallow enough for everything that walks a tree by
 * recursion. */
enum { DEPTH_MAX = 128 };

static bool is_too_deep(const char *bytes, size_t length) {
    unsigned depth = 0;
    bool in_string = false;
    for (size_t at = 0; at < length; at++) {
        char byte = bytes[at];
        if (in_string) {
            if (byte == '\\')
                at++;
            else if (byte == '"')
                in_string = false;
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '{' || byte == '[') {
            if (++depth > DEPTH_MAX) return true;
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

/* In our own words: jansson's quote the body, which is not to appear in logs. */
static const char *why_not_json(enum json_error_code code) {
    switch (code) {
    case json_error_invalid_utf8: return "text that is not UTF-8";
    case json_error_premature_end_of_input: return "it ends too early";
    case json_error_end_of_input_expected: return "something follows the end of the JSON text";
    case json_error_null_byte_in_key:
    case json_error_null_character: return "a NUL character (\\u0000), which no text may hold";
    case json_error_numeric_overflow: return "a number that is too large";
    case json_error_out_of_memory: return "there is no memory for it";
    default: return "a syntax error";
    }
}

json_t *ask_load_json(const char *bytes, size_t length, const char **why, json_error_t *error) {
    *error = (json_error_t){.line = 1};
    *why = "it is nested deeper than 128 levels";
    if (is_too_deep(bytes, length)) return NULL;
    json_t *loaded = json_loadb(bytes, length, 0, error);
    if (loaded == NULL) *why = why_not_json(json_error_code(error));
    return loaded;
}

static int (*const readers[])(struct ask_reading *) = {
    [ASK_CHAT] = ask_read_chat,
    [ASK_COMPLETIONS] = ask_read_completions,
    [ASK_RESPONSES] = ask_read_responses,
    [ASK_MESSAGES] = ask_read_messages,
};

/* What every API means by a field that is not there. */
static int set_defaults(struct ask_reading *reading, enum ask_api api) {
    struct ask *ask = reading->ask;
    ask->api = api;
    ask->adds_generation_prompt = true;
    ask->parallel_tool_calls = true;
    ask->n = ask->best_of = 1;
    ask->max_tokens = UINT32_MAX;
    ask->sampling = sampler_defaults();
    ask->sampling.temperature = 1;
    TRY(place_copy(&reading->top, "", &ask->model));
    TRY(place_copy(&reading->top, "", &ask->user));
    TRY(place_copy(&reading->top, "", &ask->schema_name));
    reading->call_names = json_object();
    if (reading->call_names == NULL) return place_no_memory(&reading->top);
    return 0;
}

/* What holds between fields. */
static int check(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct ask_limits *limits = reading->limits;
    if (ask->best_of < ask->n)
        return place_refuse(&reading->top, "best_of", "is %u, less than n, which is %u", ask->best_of,
                            ask->n);
    if (ask->is_streamed && ask->best_of > ask->n)
        return place_refuse(&reading->top, "best_of", "cannot exceed n in a stream");
    uint64_t n_prompts = ask->n_prompts > 0 ? ask->n_prompts : 1;
    if (n_prompts * ask->best_of > limits->max_choices)
        return place_refuse(&reading->top, ask->n_prompts > 1 ? "prompt" : "n",
                            "asks for %llu answers in all; this server gives at most %u to one request",
                            (unsigned long long)(n_prompts * ask->best_of), limits->max_choices);
    if (ask->min_tokens > ask->max_tokens)
        return place_refuse(&reading->top, "min_tokens", "is %u, more than may be generated (%u)",
                            ask->min_tokens, ask->max_tokens);
    if (ask->continues_final_message) ask->adds_generation_prompt = false;
    return 0;
}

static int read_body(struct ask_reading *reading, enum ask_api api) {
    TRY(set_defaults(reading, api));
    TRY(readers[api](reading));
    return check(reading);
}

int ask_parse(enum ask_api api, const char *body, size_t length, const struct ask_limits *limits,
              struct ask **ask, struct api_error *error) {
    const char *why;
    json_error_t where;
    *ask = NULL;
    json_t *loaded = ask_load_json(body, length, &why, &where);
    if (loaded == NULL)
        return api_error_set(error, 400, NULL, NULL,
                             "the body is not JSON that can be read: %s (line %d, column %d)", why,
                             where.line, where.column);
    int result = 0;
    struct ask_reading reading = {.body = loaded, .limits = limits, .top = {.error = error}};
    if (!json_is_object(loaded))
        result = api_error_set(error, 400, NULL, NULL, "the body must be a JSON object");
    else if ((reading.ask = mem_alloc(1, sizeof *reading.ask)) == NULL)
        result = place_no_memory(&reading.top);
    if (result == 0) result = read_body(&reading, api);
    json_decref(reading.call_names);
    json_decref(loaded);
    if (result < 0)
        ask_free(reading.ask);
    else
        *ask = reading.ask;
    return result;
}

void ask_free(struct ask *ask) {
    if (ask == NULL) return;
    mem_free(ask->model);
    mem_free(ask->user);
    mem_free(ask->cache_salt);
    json_decref(ask->messages);
    json_decref(ask->tools);
    json_decref(ask->instructions);
    json_decref(ask->metadata);
    mem_free(ask->tool_name);
    for (uint32_t i = 0; i < ask->n_prompts; i++) {
        mem_free(ask->prompts[i].text);
        mem_free(ask->prompts[i].ids);
    }
    mem_free(ask->prompts);
    for (uint32_t i = 0; i < ask->n_stops; i++) mem_free(ask->stops[i]);
    mem_free(ask->stops);
    mem_free(ask->schema);
    mem_free(ask->schema_name);
    mem_free(ask->biases);
    mem_free(ask);
}
