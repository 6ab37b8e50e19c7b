/* Anthropic's POST /v1/messages, text. */
#include <string.h>

#include "base/err.h"
#include "model/quote.h"
#include "server/ask_form.h"

/* --- the blocks of a message --- */

/* A message's text so far, and the assistant's message with its calls. */
struct turn {
    const char *role;
    json_t *parts;   /* text blocks that wait to become a message */
    json_t *message; /* the assistant's, borrowed */
};

/* What waits becomes a message, or, if calls of the assistant stand between, part of its message: templates
 * write a message's text before its calls. */
static int flush_text(struct ask_reading *reading, struct turn *turn, const struct place *place) {
    json_t *text, *holder;
    bool is_assistant = strcmp(turn->role, "assistant") == 0;
    if (json_array_size(turn->parts) == 0) return 0;
    holder = json_pack("{s:O}", "content", turn->parts);
    if (holder == NULL) return place_no_memory(place);
    int found = ask_read_content(holder, "content", &text, place);
    json_decref(holder);
    (void)json_array_clear(turn->parts);
    if (found < 0) return found;
    if (turn->message == NULL)
        return ask_add_message(reading, turn->role, text, is_assistant ? &turn->message : NULL);
    const char *before = json_string_value(json_object_get(turn->message, "content"));
    json_t *joined = json_sprintf("%s%s%s", before, before[0] != '\0' ? "\n" : "", json_string_value(text));
    json_decref(text);
    return json_object_set_new(turn->message, "content", joined) < 0 ? place_no_memory(place) : 0;
}

static int read_use(struct ask_reading *reading, struct turn *turn, const json_t *block,
                    const struct place *place) {
    const char *id, *name;
    json_t *input;
    if (strcmp(turn->role, "assistant") != 0)
        return place_refuse(place, "type", "\"tool_use\" belongs to the assistant");
    TRY(field_required_string(block, "id", &id, place));
    TRY(field_required_string(block, "name", &name, place));
    TRY(field_required_object(block, "input", &input, place));
    TRY(flush_text(reading, turn, place));
    if (turn->message == NULL) TRY(ask_add_message(reading, "assistant", NULL, &turn->message));
    return ask_add_call(reading, turn->message, id, name, json_incref(input));
}

static int read_result(struct ask_reading *reading, struct turn *turn, const json_t *block,
                       const struct place *place) {
    const char *id;
    json_t *content;
    bool is_error = false;
    if (strcmp(turn->role, "user") != 0)
        return place_refuse(place, "type", "\"tool_result\" belongs to the user");
    TRY(field_required_string(block, "tool_use_id", &id, place));
    TRY(field_bool(block, "is_error", &is_error, place));
    TRY(flush_text(reading, turn, place));
    int found = ask_read_content(block, "content", &content, place);
    if (found < 0) return found;
    return ask_add_result(reading, id, NULL, content);
}

static int read_block(struct ask_reading *reading, struct turn *turn, json_t *block,
                      const struct place *place) {
    const char *type;
    if (!json_is_object(block)) return place_refuse(place, "", "must be an object");
    TRY(field_required_string(block, "type", &type, place));
    if (strcmp(type, "tool_use") == 0) return read_use(reading, turn, block, place);
    if (strcmp(type, "tool_result") == 0) return read_result(reading, turn, block, place);
    /* clients send back what they got; templates drop it */
    if (strcmp(type, "thinking") == 0 || strcmp(type, "redacted_thinking") == 0) return 0;
    if (strcmp(type, "text") != 0)
        return place_refuse(place, "type",
                            "is '%s': this server reads text only; vision, audio and files are not there",
                            QUOTE(((struct gguf_string){type, strlen(type)})));
    return json_array_append(turn->parts, block) < 0 ? place_no_memory(place) : 0;
}

static int read_blocks(struct ask_reading *reading, struct turn *turn, const json_t *blocks,
                       const struct place *place) {
    size_t n_before = json_array_size(reading->ask->messages);
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        struct place within = place_within(place, "content", (long)i);
        TRY(read_block(reading, turn, json_array_get(blocks, i), &within));
    }
    TRY(flush_text(reading, turn, place));
    if (json_array_size(reading->ask->messages) == n_before)
        return ask_add_message(reading, turn->role, NULL, NULL);
    return 0;
}

static int read_message(struct ask_reading *reading, const json_t *object, size_t index) {
    struct turn turn = {0};
    json_t *content;
    struct place place = place_within(&reading->top, "messages", (long)index);
    if (!json_is_object(object)) return place_refuse(&place, "", "must be an object");
    TRY(field_required_string(object, "role", &turn.role, &place));
    if (strcmp(turn.role, "user") != 0 && strcmp(turn.role, "assistant") != 0)
        return place_refuse(&place, "role", "is '%s'; it may be user or assistant",
                            QUOTE(((struct gguf_string){turn.role, strlen(turn.role)})));
    if (!field_any(object, "content", &content)) return place_refuse(&place, "content", "is missing");
    if (json_is_string(content)) return ask_add_message(reading, turn.role, json_incref(content), NULL);
    if (!json_is_array(content))
        return place_refuse(&place, "content", "must be a string or an array of blocks");
    turn.parts = json_array();
    if (turn.parts == NULL) return place_no_memory(&place);
    int result = read_blocks(reading, &turn, content, &place);
    json_decref(turn.parts);
    return result;
}

static int read_conversation(struct ask_reading *reading) {
    json_t *messages = NULL, *system;
    int found = ask_read_content(reading->body, "system", &system, &reading->top);
    if (found < 0) return found;
    if (found > 0) TRY(ask_add_message(reading, "system", system, NULL));
    found = field_array(reading->body, "messages", &messages, &reading->top);
    if (found < 0) return found;
    if (found == 0) return place_refuse(&reading->top, "messages", "is missing");
    if (json_array_size(messages) == 0) return place_refuse(&reading->top, "messages", "is empty");
    for (size_t i = 0; i < json_array_size(messages); i++)
        TRY(read_message(reading, json_array_get(messages, i), i));
    const json_t *all = reading->ask->messages;
    const json_t *last = json_array_get(all, json_array_size(all) - 1);
    reading->ask->continues_final_message =
        strcmp(json_string_value(json_object_get(last, "role")), "assistant") == 0;
    return 0;
}

/* --- tools --- */

static int read_choice(struct ask_reading *reading) {
    struct ask *ask = reading->ask;
    json_t *choice;
    const char *type, *name;
    bool one_only = false;
    int found = field_object(reading->body, "tool_choice", &choice, &reading->top);
    if (found <= 0) return found;
    struct place within = place_within(&reading->top, "tool_choice", -1);
    TRY(field_required_string(choice, "type", &type, &within));
    TRY(field_bool(choice, "disable_parallel_tool_use", &one_only, &within));
    ask->parallel_tool_calls = !one_only;
    if (strcmp(type, "tool") == 0) {
        TRY(field_required_string(choice, "name", &name, &within));
        return ask_choose_tool(reading, name, &within);
    }
    bool is_any = strcmp(type, "any") == 0;
    if (is_any && ask->tools == NULL)
        return place_refuse(&within, "type", "is \"any\", but there are no tools");
    if (is_any)
        ask->tool_choice = ASK_TOOLS_REQUIRED;
    else if (strcmp(type, "none") == 0)
        ask->tool_choice = ASK_TOOLS_NONE;
    else if (strcmp(type, "auto") != 0)
        return place_refuse(&within, "type", "must be \"auto\", \"any\", \"tool\" or \"none\"");
    return 0;
}

static int read_tools(struct ask_reading *reading) {
    json_t *tools = NULL;
    TRY(field_array(reading->body, "tools", &tools, &reading->top));
    TRY(ask_begin_tools(reading, tools));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type = "custom";
        struct place place = place_within(&reading->top, "tools", (long)i);
        if (!json_is_object(tool)) return place_refuse(&place, "", "must be an object");
        TRY(field_string(tool, "type", &type, &place));
        if (strcmp(type, "custom") != 0)
            return place_refuse(&place, "type", "must be \"custom\": built-in tools are not there");
        TRY(ask_add_tool(reading, tool, "input_schema", &place));
    }
    return read_choice(reading);
}

int ask_read_messages(struct ask_reading *reading) {
    const struct place *top = &reading->top;
    json_t *metadata;
    const char *user = "";
    TRY(ask_read_options(reading));
    int found = field_uint32(reading->body, "max_tokens", 1, INT32_MAX, &reading->ask->max_tokens, top);
    if (found < 0) return found;
    if (found == 0) return place_refuse(top, "max_tokens", "is missing");
    TRY(ask_read_stops(reading, "stop_sequences"));
    TRY(read_conversation(reading));
    TRY(read_tools(reading));
    found = field_object(reading->body, "metadata", &metadata, top);
    if (found <= 0) return found;
    struct place within = place_within(top, "metadata", -1);
    TRY(field_string(metadata, "user_id", &user, &within));
    return place_copy(top, user, &reading->ask->user);
}
