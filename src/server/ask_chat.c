/* OpenAI's POST /v1/chat/completions. */
#include <string.h>

#include "base/err.h"
#include "model/quote.h"
#include "server/ask_form.h"

static int read_calls(struct ask_reading *reading, const json_t *calls, json_t *message,
                      const struct place *place) {
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        const char *id, *name, *type = "function";
        json_t *function, *arguments;
        struct place within = place_within(place, "tool_calls", (long)i);
        if (!json_is_object(call)) return place_refuse(&within, "", "must be an object");
        TRY(field_string(call, "type", &type, &within));
        if (strcmp(type, "function") != 0) return place_refuse(&within, "type", "must be \"function\"");
        TRY(field_required_string(call, "id", &id, &within));
        TRY(field_required_object(call, "function", &function, &within));
        struct place inner = place_within(&within, "function", -1);
        TRY(field_required_string(function, "name", &name, &inner));
        TRY(ask_read_arguments(function, "arguments", &arguments, &inner));
        TRY(ask_add_call(reading, message, id, name, arguments));
    }
    return 0;
}

static int read_assistant(struct ask_reading *reading, const json_t *object, const struct place *place) {
    json_t *content, *message, *calls = NULL, *legacy;
    if (field_any(object, "function_call", &legacy))
        return place_refuse(place, "function_call", "is not there any more: use tool_calls");
    TRY(field_array(object, "tool_calls", &calls, place));
    TRY(ask_read_content(object, "content", &content, place));
    TRY(ask_add_message(reading, "assistant", content, &message));
    return read_calls(reading, calls, message, place);
}

static int read_result(struct ask_reading *reading, const json_t *object, const struct place *place) {
    const char *id, *name = NULL;
    json_t *content;
    TRY(field_required_string(object, "tool_call_id", &id, place));
    TRY(field_string(object, "name", &name, place));
    int found = ask_read_content(object, "content", &content, place);
    if (found == 0) return place_refuse(place, "content", "is missing");
    if (found < 0) return found;
    return ask_add_result(reading, id, name, content);
}

static int read_plain(struct ask_reading *reading, const char *role, const json_t *object,
                      const struct place *place) {
    const char *name = NULL;
    json_t *content, *message;
    TRY(field_string(object, "name", &name, place));
    int found = ask_read_content(object, "content", &content, place);
    if (found == 0) return place_refuse(place, "content", "is missing");
    if (found < 0) return found;
    TRY(ask_add_message(reading, role, content, &message));
    if (name != NULL && json_object_set_new(message, "name", json_string(name)) < 0)
        return place_no_memory(place);
    return 0;
}

static int read_message(struct ask_reading *reading, const json_t *object, size_t index) {
    const char *role;
    struct place place = place_within(&reading->top, "messages", (long)index);
    if (!json_is_object(object)) return place_refuse(&place, "", "must be an object");
    TRY(field_required_string(object, "role", &role, &place));
    if (strcmp(role, "assistant") == 0) return read_assistant(reading, object, &place);
    if (strcmp(role, "tool") == 0) return read_result(reading, object, &place);
    if (strcmp(role, "developer") == 0) role = "system";
    if (strcmp(role, "system") == 0 || strcmp(role, "user") == 0)
        return read_plain(reading, role, object, &place);
    return place_refuse(&place, "role", "is '%s'; it may be system, developer, user, assistant or tool",
                        QUOTE(((struct gguf_string){role, strlen(role)})));
}

static int read_messages(struct ask_reading *reading) {
    json_t *messages;
    int found = field_array(reading->body, "messages", &messages, &reading->top);
    if (found < 0) return found;
    if (found == 0) return place_refuse(&reading->top, "messages", "is missing");
    if (json_array_size(messages) == 0) return place_refuse(&reading->top, "messages", "is empty");
    for (size_t i = 0; i < json_array_size(messages); i++)
        TRY(read_message(reading, json_array_get(messages, i), i));
    return 0;
}

static int read_tools(struct ask_reading *reading) {
    json_t *tools = NULL;
    TRY(ask_refuse_field(reading, "functions", "is not there any more: use tools"));
    TRY(ask_refuse_field(reading, "function_call", "is not there any more: use tool_choice"));
    TRY(field_array(reading->body, "tools", &tools, &reading->top));
    TRY(ask_begin_tools(reading, tools));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type;
        json_t *function;
        struct place place = place_within(&reading->top, "tools", (long)i);
        if (!json_is_object(tool)) return place_refuse(&place, "", "must be an object");
        TRY(field_required_string(tool, "type", &type, &place));
        if (strcmp(type, "function") != 0)
            return place_refuse(&place, "type", "must be \"function\": other kinds of tools are not there");
        TRY(field_required_object(tool, "function", &function, &place));
        struct place within = place_within(&place, "function", -1);
        TRY(ask_add_tool(reading, function, "parameters", &within));
    }
    return ask_read_tool_choice(reading, "function");
}

/* continue_final_message and add_generation_prompt, as vLLM has them, and its echo. */
static int read_continuation(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct place *top = &reading->top;
    bool begins = false, repeats = false;
    TRY(field_bool(reading->body, "continue_final_message", &ask->continues_final_message, top));
    int found = field_bool(reading->body, "add_generation_prompt", &begins, top);
    if (found < 0) return found;
    if (found > 0) ask->adds_generation_prompt = begins;
    TRY(field_bool(reading->body, "echo", &repeats, top));
    if (!ask->continues_final_message) return 0;
    if (begins)
        return place_refuse(top, "add_generation_prompt", "and continue_final_message exclude each other");
    const json_t *last = json_array_get(ask->messages, json_array_size(ask->messages) - 1);
    if (strcmp(json_string_value(json_object_get(last, "role")), "assistant") != 0)
        return place_refuse(top, "continue_final_message", "needs a last message of the assistant");
    ask->repeats_final_message = repeats;
    return 0;
}

static int read_logprobs(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct place *top = &reading->top;
    TRY(field_bool(reading->body, "logprobs", &ask->wants_logprobs, top));
    TRY(field_uint32(reading->body, "top_logprobs", 0, reading->limits->max_top_logprobs,
                     &ask->n_top_logprobs, top));
    if (ask->n_top_logprobs > 0 && !ask->wants_logprobs)
        return place_refuse(top, "top_logprobs", "needs logprobs to be true");
    return 0;
}

int ask_read_chat(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    const struct place *top = &reading->top;
    json_t *format;
    TRY(ask_read_options(reading));
    TRY(ask_read_choices(reading));
    TRY(field_uint32(reading->body, "max_tokens", 1, INT32_MAX, &ask->max_tokens, top));
    TRY(field_uint32(reading->body, "max_completion_tokens", 1, INT32_MAX, &ask->max_tokens, top));
    TRY(ask_refuse_field(reading, "audio", "is not there: this server answers in text"));
    TRY(read_logprobs(reading));
    TRY(read_messages(reading));
    TRY(read_tools(reading));
    TRY(read_continuation(reading));
    int found = field_object(reading->body, "response_format", &format, top);
    if (found <= 0) return found;
    struct place within = place_within(top, "response_format", -1);
    return ask_read_format(reading, format, "json_schema", &within);
}
