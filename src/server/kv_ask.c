#include "server/kv_ask.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "server/ask_form.h"

static int read_ids(const json_t *list, uint32_t n_vocab, struct kv_ask *ask, const struct place *place) {
    size_t n = json_array_size(list);
    if (n == 0 || n > INT32_MAX) return place_refuse(place, "tokens", "has %zu token ids", n);
    ask->ids = mem_alloc(n, sizeof *ask->ids);
    if (ask->ids == NULL) return place_no_memory(place);
    ask->n_ids = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
            return place_refuse(place, "tokens", "has at %zu what is no token id between 0 and %u", i,
                                n_vocab - 1);
        ask->ids[i] = (token_id)json_integer_value(id);
    }
    return 0;
}

/* A prompt and messages are read as by the routes that compute them, so that the same body is the same
 * prefix. */
static int read_prefix(const json_t *object, const char *body, size_t length, const struct ask_limits *limits,
                       struct kv_ask *ask, const struct place *top) {
    json_t *prompt, *messages, *tokens = NULL;
    bool has_prompt = field_any(object, "prompt", &prompt) > 0;
    bool has_messages = field_any(object, "messages", &messages) > 0;
    int has_tokens = field_array(object, "tokens", &tokens, top);
    if (has_tokens < 0) return has_tokens;
    if (has_prompt + has_messages + has_tokens > 1)
        return place_refuse(top, has_tokens ? "tokens" : "messages",
                            "stands beside another prefix: give one of prompt, messages and tokens");
    if (has_tokens) return read_ids(tokens, limits->n_vocab, ask, top);
    if (!has_prompt && !has_messages) return 0;
    TRY(ask_parse(has_prompt ? ASK_COMPLETIONS : ASK_CHAT, body, length, limits, &ask->ask, top->error));
    if (ask->ask->n_prompts > 1)
        return place_refuse(top, "prompt", "has %u prompts; a prefix is one", ask->ask->n_prompts);
    return 0;
}

static int read_fields(enum kv_ask_kind kind, const json_t *object, struct kv_ask *ask,
                       const struct place *top) {
    const char *model = "", *label = NULL;
    uint32_t priority = 0;
    TRY(field_string(object, "model", &model, top));
    TRY(place_copy(top, model, &ask->model));
    TRY(ask_read_cache_salt(object, &ask->cache_salt, top));
    if (kind == KV_ASK_PIN) {
        TRY(field_uint32(object, "ttl_seconds", 1, KV_TTL_SECONDS_MAX, &ask->ttl_seconds, top));
        TRY(field_uint32(object, "priority", 0, UINT8_MAX, &priority, top));
        ask->priority = (uint8_t)priority;
    }
    if (kind != KV_ASK_DROP) return 0;
    TRY(field_string(object, "salt", &label, top));
    if (label == NULL) return 0;
    if (ask->cache_salt != NULL) return place_refuse(top, "salt", "and cache_salt exclude each other");
    return place_copy(top, label, &ask->label);
}

int kv_ask_parse(enum kv_ask_kind kind, const char *body, size_t length, const struct ask_limits *limits,
                 struct kv_ask *ask, struct api_error *error) {
    *ask = (struct kv_ask){.ttl_seconds = KV_TTL_SECONDS, .max_tokens = UINT32_MAX};
    const struct place top = {.error = error};
    const char *why;
    json_error_t where;
    json_t *object = length == 0 ? json_object() : ask_load_json(body, length, &why, &where);
    if (object == NULL && length == 0) return place_no_memory(&top);
    if (object == NULL)
        return api_error_set(error, 400, NULL, NULL,
                             "the body is not JSON that can be read: %s (line %d, column %d)", why,
                             where.line, where.column);
    int result = 0;
    if (!json_is_object(object))
        result = api_error_set(error, 400, NULL, NULL, "the body must be a JSON object");
    if (result == 0) result = read_fields(kind, object, ask, &top);
    if (result >= 0) result = read_prefix(object, body, length, limits, ask, &top);
    if (result >= 0 && kind == KV_ASK_PLAN && ask->ids != NULL)
        result = field_uint32(object, "max_tokens", 1, INT32_MAX, &ask->max_tokens, &top);
    if (result >= 0 && kind != KV_ASK_DROP && ask->ask == NULL && ask->ids == NULL)
        result =
            api_error_set(error, 400, "prompt", NULL, "the prefix is missing: prompt, messages or tokens");
    json_decref(object);
    return result < 0 ? result : 0;
}

/* ---- a query ---- */

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place: text never grows. False for what is no percent-encoded UTF-8 without NULs. */
static bool decode_percent(char *text) {
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in != '%') {
            *out++ = *in == '+' ? ' ' : *in;
            continue;
        }
        int high = digit_of(in[1]), low = high < 0 ? -1 : digit_of(in[2]);
        if (low < 0 || high + low == 0) return false;
        *out++ = (char)(high * 16 + low);
        in += 2;
    }
    *out = '\0';
    return utf8_valid_prefix(text, (size_t)(out - text)) == (size_t)(out - text);
}

int kv_ask_parse_query(const char *query, struct kv_ask *ask, struct api_error *error) {
    static const char name[] = "cache_salt=";
    const struct place top = {.error = error};
    *ask = (struct kv_ask){0};
    if (*query == '\0') return 0;
    if (strncmp(query, name, sizeof name - 1) != 0 || strchr(query, '&') != NULL)
        return api_error_set(error, 400, NULL, NULL, "the query may hold cache_salt=TEXT and nothing else");
    TRY(place_copy(&top, query + sizeof name - 1, &ask->cache_salt));
    size_t length = decode_percent(ask->cache_salt) ? strlen(ask->cache_salt) : 0;
    if (length == 0 || length > CACHE_SALT_BYTES)
        return place_refuse(&top, "cache_salt", "must be 1 to %d bytes of percent-encoded UTF-8",
                            CACHE_SALT_BYTES);
    return 0;
}

void kv_ask_free(struct kv_ask *ask) {
    mem_free(ask->model);
    mem_free(ask->cache_salt);
    mem_free(ask->label);
    mem_free(ask->ids);
    ask_free(ask->ask);
    *ask = (struct kv_ask){0};
}
