/* Arbitrary bytes as a request body, the first one choosing the API (a letter: pins and drops, or a query):
 * refused with a 400 that is JSON itself, or an ask that keeps what its header promises and can be told to a
 * template without tools. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "server/ask.h"
#include "server/kv_ask.h"
#include "server/tool_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct ask_limits limits = {
    .max_choices = 16, .max_stops = 16, .max_top_logprobs = 20, .n_vocab = 1000};

static void check_error(const struct api_error *error) {
    struct text out = {0};
    ASSERT(error->status == 400);
    for (int is_anthropic = 0; is_anthropic < 2; is_anthropic++) {
        text_clear(&out);
        api_error_write(error, is_anthropic, &out);
        json_t *parsed = json_loadb(out.bytes, out.length, 0, NULL);
        const char *message = json_string_value(json_object_get(json_object_get(parsed, "error"), "message"));
        ASSERT(message != NULL && strcmp(message, error->message) == 0 && strchr(message, '\n') == NULL);
        json_decref(parsed);
    }
    text_free(&out);
}

static void check_messages(const struct ask *ask) {
    ASSERT(json_array_size(ask->messages) > 0);
    for (size_t i = 0; i < json_array_size(ask->messages); i++) {
        const json_t *message = json_array_get(ask->messages, i);
        const json_t *calls = json_object_get(message, "tool_calls");
        ASSERT(json_is_string(json_object_get(message, "role")));
        ASSERT(json_is_string(json_object_get(message, "content")));
        for (size_t j = 0; j < json_array_size(calls); j++) {
            const json_t *function = json_object_get(json_array_get(calls, j), "function");
            ASSERT(json_is_string(json_object_get(function, "name")));
            ASSERT(json_is_object(json_object_get(function, "arguments")));
        }
    }
    json_t *told = tool_format_messages(ask->messages, ask->tools);
    ASSERT(json_array_size(told) > 0);
    json_decref(told);
}

static void check_ask(const struct ask *ask) {
    uint32_t n_prompts = ask->n_prompts > 0 ? ask->n_prompts : 1;
    ASSERT(ask->n >= 1 && ask->n <= ask->best_of && ask->best_of * n_prompts <= limits.max_choices);
    ASSERT(ask->n_stops <= limits.max_stops && ask->n_top_logprobs <= limits.max_top_logprobs);
    ASSERT(ask->min_tokens <= ask->max_tokens);
    ASSERT(sampler_check(&ask->sampling) == 0);
    ASSERT(!ask->continues_final_message || !ask->adds_generation_prompt);
    for (uint32_t i = 0; i < ask->n_stops; i++) ASSERT(ask->stops[i][0] != '\0');
    for (size_t i = 0; i < ask->sampling.n_biases; i++)
        ASSERT((uint32_t)ask->biases[i].token < limits.n_vocab);
    ASSERT((ask->tools != NULL) == (json_array_size(ask->tools) > 0));
    ASSERT(ask->tools != NULL || ask->tool_choice == ASK_TOOLS_NONE);
    ASSERT((ask->tool_name != NULL) == (ask->tool_choice == ASK_TOOLS_NAMED));
    ASSERT((ask->schema != NULL) == (ask->format == ASK_JSON_SCHEMA));
    if (ask->api != ASK_COMPLETIONS) check_messages(ask);
    for (uint32_t i = 0; i < ask->n_prompts; i++)
        ASSERT((ask->prompts[i].text != NULL) == (ask->prompts[i].n_ids == 0));
}

static void check_kv_ask(enum kv_ask_kind kind, const struct kv_ask *ask) {
    if (ask->ask != NULL) check_ask(ask->ask);
    ASSERT(ask->ask == NULL || ask->ids == NULL);
    ASSERT(kind == KV_ASK_DROP || ask->ask != NULL || ask->ids != NULL);
    ASSERT(ask->ask == NULL || ask->ask->n_prompts <= 1);
    ASSERT(ask->ttl_seconds >= 1 && ask->ttl_seconds <= KV_TTL_SECONDS_MAX);
    for (uint32_t i = 0; i < ask->n_ids; i++) ASSERT((uint32_t)ask->ids[i] < limits.n_vocab);
}

static void try_kv_ask(enum kv_ask_kind kind, const char *bytes, size_t length) {
    struct kv_ask ask;
    struct api_error error;
    if (kv_ask_parse(kind, bytes, length, &limits, &ask, &error) < 0)
        check_error(&error);
    else
        check_kv_ask(kind, &ask);
    kv_ask_free(&ask);
}

/* A query holds no NUL: it ends at the first. */
static void try_query(const char *bytes, size_t length) {
    struct kv_ask ask;
    struct api_error error;
    struct text query = {0};
    text_append(&query, bytes, length);
    if (kv_ask_parse_query(query.bytes == NULL ? "" : query.bytes, &ask, &error) < 0)
        check_error(&error);
    else if (ask.cache_salt != NULL)
        ASSERT(strlen(ask.cache_salt) >= 1 && strlen(ask.cache_salt) <= CACHE_SALT_BYTES);
    kv_ask_free(&ask);
    text_free(&query);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static const char kinds[] = {[KV_ASK_PIN] = 'p', [KV_ASK_UNPIN] = 'u', [KV_ASK_DROP] = 'd'};
    struct ask *ask;
    struct api_error error;
    if (length == 0) return 0;
    for (int kind = 0; kind < (int)sizeof kinds; kind++)
        if (bytes[0] == kinds[kind]) {
            try_kv_ask((enum kv_ask_kind)kind, (const char *)bytes + 1, length - 1);
            return 0;
        }
    if (bytes[0] == 'q') {
        try_query((const char *)bytes + 1, length - 1);
        return 0;
    }
    if (ask_parse((enum ask_api)(bytes[0] % 4), (const char *)bytes + 1, length - 1, &limits, &ask, &error) <
        0) {
        check_error(&error);
        return 0;
    }
    check_ask(ask);
    ask_free(ask);
    return 0;
}
