#include "plan/json_line.h"

#include <stdbool.h>
#include <string.h>

/* A place in the text, and its line. */
struct place {
    const char *at;
    size_t line;
};

static void skip_space(struct place *place) {
    for (; *place->at != '\0' && strchr(" \t\r\n", *place->at) != NULL; place->at++)
        place->line += *place->at == '\n';
}

/* Behind the string that begins here. */
static const char *string_end(const char *at) {
    for (at++; *at != '"' && *at != '\0'; at++)
        if (*at == '\\' && at[1] != '\0') at++;
    return *at == '"' ? at + 1 : at;
}

/* Over a value, to what follows it within the object or array. */
static void skip_value(struct place *place) {
    size_t depth = 0;
    for (; *place->at != '\0'; place->at++) {
        const char c = *place->at;
        if (c == '"') {
            place->at = string_end(place->at) - 1;
            continue;
        }
        if (depth == 0 && strchr(",]}", c) != NULL) return;
        depth += c == '[' || c == '{';
        depth -= c == ']' || c == '}';
        place->line += c == '\n';
    }
}

/* To the element of an array; false, and nowhere else, if it is not there. */
static bool enter_element(struct place *place, size_t index) {
    struct place at = *place;
    if (*at.at != '[') return false;
    at.at++;
    for (size_t i = 0; i < index; i++) {
        skip_value(&at);
        if (*at.at != ',') return false;
        at.at++;
    }
    skip_space(&at);
    *place = at;
    return true;
}

/* To the value of an object's member, `line` to its name's; false, and nowhere else, if it is not there. */
static bool enter_member(struct place *place, const char *key, size_t *line) {
    struct place at = *place;
    const size_t length = strlen(key);
    if (*at.at != '{') return false;
    for (at.at++;; at.at++) {
        skip_space(&at);
        if (*at.at != '"') return false;
        const char *name = at.at + 1;
        const size_t of_name = at.line;
        at.at = string_end(at.at);
        const bool is_it = (size_t)(at.at - name) == length + 1 && strncmp(name, key, length) == 0;
        skip_space(&at);
        if (*at.at != ':') return false;
        at.at++;
        skip_space(&at);
        if (is_it) {
            *place = at;
            *line = of_name;
            return true;
        }
        skip_value(&at);
        if (*at.at != ',') return false;
    }
}

size_t json_line_of(const char *text, const struct json_way *way) {
    struct place place = {text, 1};
    skip_space(&place);
    size_t line = place.line;
    if (way->array != NULL) {
        if (!enter_member(&place, way->array, &line) || !enter_element(&place, way->index)) return line;
        line = place.line;
    }
    if (way->part == NULL || enter_member(&place, way->part, &line))
        (void)enter_member(&place, way->key, &line);
    return line;
}
