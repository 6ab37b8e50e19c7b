/* OpenAI's POST /v1/completions. */
#include "base/err.h"
#include "base/mem.h"
#include "server/ask_form.h"

enum { MAX_TOKENS_UNLESS_SAID = 16 }; /* OpenAI's */

static int read_ids(struct ask_reading *reading, const json_t *list, struct ask_prompt *prompt) {
    size_t n = json_array_size(list);
    if (n == 0) return place_refuse(&reading->top, "prompt", "has an empty array of token ids");
    if (n > INT32_MAX) return place_refuse(&reading->top, "prompt", "is too long");
    prompt->ids = mem_alloc(n, sizeof *prompt->ids);
    if (prompt->ids == NULL) return place_no_memory(&reading->top);
    prompt->n_ids = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id))
            return place_refuse(&reading->top, "prompt", "must not mix token ids with something else");
        if (json_integer_value(id) < 0 || json_integer_value(id) >= reading->limits->n_vocab)
            return place_refuse(&reading->top, "prompt", "has %lld, which is no token id between 0 and %u",
                                (long long)json_integer_value(id), reading->limits->n_vocab - 1);
        prompt->ids[i] = (token_id)json_integer_value(id);
    }
    return 0;
}

static int read_prompt(struct ask_reading *reading, const json_t *value, struct ask_prompt *prompt) {
    if (json_is_string(value)) return place_copy(&reading->top, json_string_value(value), &prompt->text);
    if (json_is_array(value)) return read_ids(reading, value, prompt);
    return place_refuse(&reading->top, "prompt", "must be a string, token ids, or an array of either");
}

static int read_prompts(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    json_t *value;
    if (!field_any(reading->body, "prompt", &value))
        return place_refuse(&reading->top, "prompt", "is missing");
    bool is_list = json_is_array(value) && !json_is_integer(json_array_get(value, 0));
    size_t n = is_list ? json_array_size(value) : 1;
    if (n == 0) return place_refuse(&reading->top, "prompt", "is empty");
    if (n > reading->limits->max_choices)
        return place_refuse(&reading->top, "prompt", "has %zu prompts; %u are the limit", n,
                            reading->limits->max_choices);
    ask->prompts = mem_alloc(n, sizeof *ask->prompts);
    if (ask->prompts == NULL) return place_no_memory(&reading->top);
    ask->n_prompts = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        TRY(read_prompt(reading, is_list ? json_array_get(value, i) : value, &ask->prompts[i]));
    return 0;
}

int ask_read_completions(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct place *top = &reading->top;
    const char *suffix = "";
    json_t *format;
    ask->max_tokens = MAX_TOKENS_UNLESS_SAID;
    TRY(ask_read_options(reading));
    TRY(ask_read_choices(reading));
    TRY(field_bool(reading->body, "echo", &ask->echo, top));
    TRY(field_uint32(reading->body, "max_tokens", ask->echo ? 0 : 1, INT32_MAX, &ask->max_tokens, top));
    TRY(field_string(reading->body, "suffix", &suffix, top));
    if (suffix[0] != '\0') return place_refuse(top, "suffix", "is not there: text cannot be filled in");
    int found = field_uint32(reading->body, "logprobs", 0, reading->limits->max_top_logprobs,
                             &ask->n_top_logprobs, top);
    if (found < 0) return found;
    ask->wants_logprobs = found > 0;
    TRY(read_prompts(reading));
    found = field_object(reading->body, "response_format", &format, top);
    if (found <= 0) return found;
    struct place within = place_within(top, "response_format", -1);
    return ask_read_format(reading, format, "json_schema", &within);
}
