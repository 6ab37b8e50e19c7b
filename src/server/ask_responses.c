/* OpenAI's POST /v1/responses, text. Nothing is stored: a conversation comes whole with each request. */
#include <string.h>

#include "base/err.h"
#include "model/quote.h"
#include "server/ask_form.h"

/* The last message if it is the assistant's: consecutive items of one turn belong together. */
static json_t *open_turn(const struct ask *ask) {
    size_t n = json_array_size(ask->messages);
    json_t *last = n > 0 ? json_array_get(ask->messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    return role != NULL && strcmp(role, "assistant") == 0 ? last : NULL;
}

/* Templates take one system message: instructions and the ones at the beginning become one. */
static int join_system(struct ask_reading *reading, json_t *content) {
    json_t *first = json_array_get(reading->ask->messages, 0);
    json_t *joined = json_sprintf("%s\n\n%s", json_string_value(json_object_get(first, "content")),
                                  json_string_value(content));
    json_decref(content);
    return json_object_set_new(first, "content", joined) < 0 ? place_no_memory(&reading->top) : 0;
}

static int read_message(struct ask_reading *reading, const json_t *item, const struct place *place) {
    const char *role;
    json_t *content;
    TRY(field_required_string(item, "role", &role, place));
    if (strcmp(role, "developer") == 0) role = "system";
    if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0)
        return place_refuse(place, "role", "is '%s'; it may be system, developer, user or assistant",
                            QUOTE(((struct gguf_string){role, strlen(role)})));
    int found = ask_read_content(item, "content", &content, place);
    if (found == 0) return place_refuse(place, "content", "is missing");
    if (found < 0) return found;
    if (strcmp(role, "system") == 0 && json_array_size(reading->ask->messages) == 1 &&
        reading->ask->instructions != NULL)
        return join_system(reading, content);
    return ask_add_message(reading, role, content, NULL);
}

static int read_call(struct ask_reading *reading, const json_t *item, const struct place *place) {
    const char *id, *name;
    json_t *arguments, *message = open_turn(reading->ask);
    TRY(field_required_string(item, "call_id", &id, place));
    TRY(field_required_string(item, "name", &name, place));
    if (message == NULL) TRY(ask_add_message(reading, "assistant", NULL, &message));
    TRY(ask_read_arguments(item, "arguments", &arguments, place));
    return ask_add_call(reading, message, id, name, arguments);
}

static int read_call_output(struct ask_reading *reading, const json_t *item, const struct place *place) {
    const char *id;
    json_t *content;
    TRY(field_required_string(item, "call_id", &id, place));
    int found = ask_read_content(item, "output", &content, place);
    if (found == 0) return place_refuse(place, "output", "is missing");
    if (found < 0) return found;
    return ask_add_result(reading, id, NULL, content);
}

static int read_item(struct ask_reading *reading, const json_t *item, size_t index) {
    const char *type = "message";
    struct place place = place_within(&reading->top, "input", (long)index);
    if (!json_is_object(item)) return place_refuse(&place, "", "must be an object");
    TRY(field_string(item, "type", &type, &place));
    if (strcmp(type, "message") == 0) return read_message(reading, item, &place);
    if (strcmp(type, "function_call") == 0) return read_call(reading, item, &place);
    if (strcmp(type, "function_call_output") == 0) return read_call_output(reading, item, &place);
    if (strcmp(type, "reasoning") == 0) return 0; /* clients send back what they got; templates drop it */
    return place_refuse(&place, "type",
                        "is '%s'; it may be message, function_call, function_call_output or reasoning",
                        QUOTE(((struct gguf_string){type, strlen(type)})));
}

static int read_input(struct ask_reading *reading) {
    json_t *input;
    if (!field_any(reading->body, "input", &input)) return place_refuse(&reading->top, "input", "is missing");
    if (json_is_string(input)) return ask_add_message(reading, "user", json_incref(input), NULL);
    if (!json_is_array(input))
        return place_refuse(&reading->top, "input", "must be a string or an array of items");
    for (size_t i = 0; i < json_array_size(input); i++) TRY(read_item(reading, json_array_get(input, i), i));
    if (json_array_size(input) == 0 || json_array_size(reading->ask->messages) == 0)
        return place_refuse(&reading->top, "input", "is empty");
    return 0;
}

static int read_instructions(struct ask_reading *reading) {
    json_t *text = json_object_get(reading->body, "instructions"), *metadata = NULL;
    const char *instructions = NULL, *user = "";
    int found = field_string(reading->body, "instructions", &instructions, &reading->top);
    if (found < 0) return found;
    if (found > 0) {
        reading->ask->instructions = json_incref(text);
        TRY(ask_add_message(reading, "system", json_incref(text), NULL));
    }
    TRY(field_object(reading->body, "metadata", &metadata, &reading->top));
    reading->ask->metadata = json_incref(metadata);
    TRY(field_string(reading->body, "safety_identifier", &user, &reading->top));
    TRY(field_string(reading->body, "user", &user, &reading->top));
    return place_copy(&reading->top, user, &reading->ask->user);
}

static int read_tools(struct ask_reading *reading) {
    json_t *tools = NULL;
    TRY(field_array(reading->body, "tools", &tools, &reading->top));
    TRY(ask_begin_tools(reading, tools));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type;
        struct place place = place_within(&reading->top, "tools", (long)i);
        if (!json_is_object(tool)) return place_refuse(&place, "", "must be an object");
        TRY(field_required_string(tool, "type", &type, &place));
        if (strcmp(type, "function") != 0)
            return place_refuse(&place, "type", "must be \"function\": built-in tools are not there");
        TRY(ask_add_tool(reading, tool, "parameters", &place));
    }
    return ask_read_tool_choice(reading, NULL);
}

/* logprobs are asked for by naming them in `include` */
static int read_logprobs(struct ask_reading *reading) {
    json_t *include = NULL;
    TRY(field_array(reading->body, "include", &include, &reading->top));
    for (size_t i = 0; i < json_array_size(include); i++) {
        const char *what = json_string_value(json_array_get(include, i));
        if (what == NULL) return place_refuse(&reading->top, "include", "must hold strings");
        if (strcmp(what, "message.output_text.logprobs") == 0) reading->ask->wants_logprobs = true;
    }
    TRY(field_uint32(reading->body, "top_logprobs", 0, reading->limits->max_top_logprobs,
                     &reading->ask->n_top_logprobs, &reading->top));
    return 0;
}

static int refuse_what_is_stored(struct ask_reading *reading) {
    bool in_background = false;
    const char *truncation = "disabled";
    static const char reason[] = "is not there: responses are not stored";
    TRY(ask_refuse_field(reading, "previous_response_id", reason));
    TRY(ask_refuse_field(reading, "conversation", reason));
    TRY(ask_refuse_field(reading, "prompt", reason));
    TRY(field_bool(reading->body, "background", &in_background, &reading->top));
    if (in_background) return place_refuse(&reading->top, "background", "%s", reason);
    TRY(field_string(reading->body, "truncation", &truncation, &reading->top));
    if (strcmp(truncation, "disabled") != 0)
        return place_refuse(&reading->top, "truncation", "must be \"disabled\": nothing is cut off here");
    return 0;
}

int ask_read_responses(struct ask_reading *reading) {
    const struct place *top = &reading->top;
    json_t *text, *format;
    TRY(refuse_what_is_stored(reading));
    TRY(ask_read_options(reading));
    TRY(field_uint32(reading->body, "max_output_tokens", 1, INT32_MAX, &reading->ask->max_tokens, top));
    TRY(read_instructions(reading));
    TRY(read_input(reading));
    TRY(read_tools(reading));
    TRY(read_logprobs(reading));
    int found = field_object(reading->body, "text", &text, top);
    if (found <= 0) return found;
    struct place within = place_within(top, "text", -1);
    found = field_object(text, "format", &format, &within);
    if (found <= 0) return found;
    within = place_within(&within, "format", -1);
    return ask_read_format(reading, format, NULL, &within);
}
