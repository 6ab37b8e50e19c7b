#include <string.h>

#include "base/err.h"
#include "server/ask_form.h"

enum { TOOLS_MAX = 128, NAME_MAX_BYTES = 128 };

int ask_begin_tools(struct ask_reading *reading, const json_t *list) {
    size_t n = json_array_size(list);
    if (n > TOOLS_MAX)
        return place_refuse(&reading->top, "tools", "has %zu entries; %d are the limit", n, TOOLS_MAX);
    if (n == 0) return 0;
    reading->ask->tool_choice = ASK_TOOLS_AUTO;
    reading->ask->tools = json_array();
    return reading->ask->tools == NULL ? place_no_memory(&reading->top) : 0;
}

/* Names become part of grammars and of prompts. */
static bool is_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return n > 0 && n <= NAME_MAX_BYTES && name[n] == '\0';
}

static const json_t *find_tool(const struct ask *ask, const char *name) {
    for (size_t i = 0; i < json_array_size(ask->tools); i++) {
        const json_t *function = json_object_get(json_array_get(ask->tools, i), "function");
        if (strcmp(json_string_value(json_object_get(function, "name")), name) == 0) return function;
    }
    return NULL;
}

int ask_add_tool(struct ask_reading *reading, const json_t *object, const char *parameters_key,
                 const struct place *place) {
    const char *name, *description = NULL;
    json_t *parameters = NULL;
    bool is_strict = false;
    TRY(field_required_string(object, "name", &name, place));
    if (!is_name(name))
        return place_refuse(place, "name", "must be 1 to %d of the characters A-Z a-z 0-9 _ - .",
                            NAME_MAX_BYTES);
    if (find_tool(reading->ask, name) != NULL)
        return place_refuse(place, "name", "'%s' is there twice", name);
    TRY(field_string(object, "description", &description, place));
    TRY(field_object(object, parameters_key, &parameters, place));
    TRY(field_bool(object, "strict", &is_strict, place));
    json_t *tool = json_pack("{s:s, s:{s:s, s:s*, s:O*}}", "type", "function", "function", "name", name,
                             "description", description, "parameters", parameters);
    json_t *function = json_object_get(tool, "function");
    int result = tool == NULL ? -1 : 0;
    if (result == 0 && parameters == NULL)
        result = json_object_set_new(function, "parameters",
                                     json_pack("{s:s, s:{}}", "type", "object", "properties"));
    if (result == 0 && is_strict) result = json_object_set_new(function, "strict", json_true());
    if (result == 0) return json_array_append_new(reading->ask->tools, tool) < 0 ? place_no_memory(place) : 0;
    json_decref(tool);
    return place_no_memory(place);
}

int ask_choose_tool(struct ask_reading *reading, const char *name, const struct place *place) {
    if (find_tool(reading->ask, name) == NULL)
        return place_refuse(place, "name", "must name one of the tools");
    reading->ask->tool_choice = ASK_TOOLS_NAMED;
    return place_copy(place, name, &reading->ask->tool_name);
}

static int choose_word(struct ask_reading *reading, const char *word) {
    static const char *const words[] = {
        [ASK_TOOLS_NONE] = "none", [ASK_TOOLS_AUTO] = "auto", [ASK_TOOLS_REQUIRED] = "required"};
    struct ask *ask = reading->ask;
    for (int i = 0; i <= ASK_TOOLS_REQUIRED; i++) {
        if (strcmp(words[i], word) != 0) continue;
        if (i == ASK_TOOLS_REQUIRED && ask->tools == NULL)
            return place_refuse(&reading->top, "tool_choice", "is \"required\", but there are no tools");
        /* Without tools "auto" is no choice at all. */
        ask->tool_choice = ask->tools == NULL ? ASK_TOOLS_NONE : (enum ask_tool_choice)i;
        return 0;
    }
    return place_refuse(&reading->top, "tool_choice",
                        "must be \"none\", \"auto\", \"required\" or a function");
}

int ask_read_tool_choice(struct ask_reading *reading, const char *name_key) {
    json_t *choice;
    const char *type, *name;
    TRY(field_bool(reading->body, "parallel_tool_calls", &reading->ask->parallel_tool_calls, &reading->top));
    if (!field_any(reading->body, "tool_choice", &choice)) return 0;
    if (json_is_string(choice)) return choose_word(reading, json_string_value(choice));
    if (!json_is_object(choice))
        return place_refuse(&reading->top, "tool_choice", "must be a string or an object");
    struct place within = place_within(&reading->top, "tool_choice", -1);
    TRY(field_required_string(choice, "type", &type, &within));
    if (strcmp(type, "function") != 0)
        return place_refuse(&within, "type", "must be \"function\": other kinds are not there");
    if (name_key != NULL) {
        TRY(field_required_object(choice, name_key, &choice, &within));
        within = place_within(&within, name_key, -1);
    }
    TRY(field_required_string(choice, "name", &name, &within));
    return ask_choose_tool(reading, name, &within);
}
