#include <string.h>

#include "base/err.h"
#include "model/quote.h"
#include "server/ask_form.h"

/* --- text --- */

static int append_part(struct text *joined, const json_t *part, const struct place *place) {
    const char *type, *text;
    if (!json_is_object(part)) return place_refuse(place, "", "must be an object with a type");
    TRY(field_required_string(part, "type", &type, place));
    bool is_refusal = strcmp(type, "refusal") == 0;
    if (!is_refusal && strcmp(type, "text") != 0 && strcmp(type, "input_text") != 0 &&
        strcmp(type, "output_text") != 0)
        return place_refuse(place, "type",
                            "is '%s': this server reads text only; vision, audio and files are not there",
                            QUOTE(((struct gguf_string){type, strlen(type)})));
    TRY(field_required_string(part, is_refusal ? "refusal" : "text", &text, place));
    if (joined->length > 0) text_append(joined, "\n", 1);
    text_append_string(joined, text);
    return 0;
}

static int join_parts(const json_t *parts, const char *name, struct text *joined, const struct place *place) {
    for (size_t i = 0; i < json_array_size(parts); i++) {
        struct place within = place_within(place, name, (long)i);
        TRY(append_part(joined, json_array_get(parts, i), &within));
    }
    return 0;
}

int ask_read_content(const json_t *object, const char *name, json_t **text, const struct place *place) {
    json_t *value;
    *text = NULL;
    if (!field_any(object, name, &value)) return 0;
    if (json_is_string(value)) {
        *text = json_incref(value);
        return 1;
    }
    if (!json_is_array(value)) return place_refuse(place, name, "must be a string or an array of text parts");
    struct text joined = {0};
    int result = join_parts(value, name, &joined, place);
    if (result == 0 && !joined.failed)
        *text = json_stringn(joined.length > 0 ? joined.bytes : "", joined.length);
    text_free(&joined);
    if (result < 0) return result;
    return *text != NULL ? 1 : place_no_memory(place);
}

/* --- messages --- */

/* Takes both references. */
static int set(json_t *object, const char *key, json_t *value) {
    return object != NULL && value != NULL ? json_object_set_new(object, key, value)
                                           : (json_decref(value), -1);
}

int ask_add_message(struct ask_reading *reading, const char *role, json_t *content, json_t **message) {
    struct ask *ask = reading->ask;
    if (ask->messages == NULL) ask->messages = json_array();
    json_t *made = json_object();
    int result = set(made, "role", json_string(role));
    if (content == NULL) content = json_string("");
    if (set(made, "content", content) < 0 || result < 0 || ask->messages == NULL) {
        json_decref(made);
        return place_no_memory(&reading->top);
    }
    if (message != NULL) *message = made;
    return json_array_append_new(ask->messages, made) < 0 ? place_no_memory(&reading->top) : 0;
}

int ask_add_call(struct ask_reading *reading, json_t *message, const char *id, const char *name,
                 json_t *arguments) {
    json_t *function = json_object(), *call = json_object();
    int result = set(function, "name", json_string(name));
    if (set(function, "arguments", arguments) < 0) result = -1;
    if (set(call, "id", json_string(id)) < 0) result = -1;
    if (set(call, "type", json_string("function")) < 0) result = -1;
    if (set(call, "function", function) < 0) result = -1;
    json_t *calls = json_object_get(message, "tool_calls");
    if (calls == NULL) {
        calls = json_array();
        if (set(message, "tool_calls", calls) < 0) result = -1;
    }
    if (result < 0) {
        json_decref(call);
        return place_no_memory(&reading->top);
    }
    if (json_array_append_new(calls, call) < 0 || set(reading->call_names, id, json_string(name)) < 0)
        return place_no_memory(&reading->top);
    return 0;
}

int ask_add_result(struct ask_reading *reading, const char *id, const char *name, json_t *content) {
    json_t *message;
    if (name == NULL) name = json_string_value(json_object_get(reading->call_names, id));
    TRY(ask_add_message(reading, "tool", content, &message));
    if (set(message, "tool_call_id", json_string(id)) < 0) return place_no_memory(&reading->top);
    if (name != NULL && set(message, "name", json_string(name)) < 0) return place_no_memory(&reading->top);
    return 0;
}

int ask_read_arguments(const json_t *object, const char *name, json_t **arguments,
                       const struct place *place) {
    json_t *value;
    if (!field_any(object, name, &value)) return place_refuse(place, name, "is missing");
    if (json_is_object(value)) {
        *arguments = json_incref(value);
        return 0;
    }
    if (!json_is_string(value)) return place_refuse(place, name, "must be a string that holds a JSON object");
    const char *why = "it is not an object";
    json_error_t where;
    size_t length = json_string_length(value);
    /* what some clients send for a function without parameters */
    json_t *loaded =
        length == 0 ? json_object() : ask_load_json(json_string_value(value), length, &why, &where);
    if (json_is_object(loaded)) {
        *arguments = loaded;
        return 0;
    }
    json_decref(loaded);
    return place_refuse(place, name, "is not the text of a JSON object: %s", why);
}
