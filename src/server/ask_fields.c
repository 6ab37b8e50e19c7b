#include "server/ask_fields.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct place place_within(const struct place *outer, const char *name, long index) {
    struct place inner = {.error = outer->error, .param = outer->param != NULL ? outer->param : name};
    /* A path that does not fit is cut: it is for people. */
    int n = index < 0 ? snprintf(inner.path, sizeof inner.path, "%s%s.", outer->path, name)
                      : snprintf(inner.path, sizeof inner.path, "%s%s[%ld].", outer->path, name, index);
    if (n >= (int)sizeof inner.path) memcpy(inner.path + sizeof inner.path - 5, "....", 5);
    return inner;
}

int place_refuse(const struct place *place, const char *name, const char *format, ...) {
    char what[API_ERROR_MESSAGE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    /* The place itself: its path without the dot. */
    int n_path = (int)strlen(place->path);
    if (name[0] == '\0' && n_path > 0) n_path--;
    return api_error_set(place->error, 400, place->param != NULL ? place->param : name, NULL, "%.*s%s %s",
                         n_path, place->path, name, what);
}

int place_no_memory(const struct place *place) {
    return api_error_set(place->error, 503, NULL, NULL, "no memory for this request");
}

int field_any(const json_t *object, const char *name, json_t **value) {
    *value = json_object_get(object, name);
    return *value != NULL && !json_is_null(*value);
}

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

static int refuse_type(const struct place *place, const char *name, const char *wanted, const json_t *value) {
    return place_refuse(place, name, "must be %s, not %s", wanted, type_name(value));
}

int field_bool(const json_t *object, const char *name, bool *value, const struct place *place) {
    json_t *found;
    if (!field_any(object, name, &found)) return 0;
    if (!json_is_boolean(found)) return refuse_type(place, name, "a boolean", found);
    *value = json_is_true(found);
    return 1;
}

int field_integer(const json_t *object, const char *name, int64_t low, int64_t high, int64_t *value,
                  const struct place *place) {
    json_t *found;
    if (!field_any(object, name, &found)) return 0;
    if (!json_is_integer(found)) return refuse_type(place, name, "an integer", found);
    int64_t integer = json_integer_value(found);
    if (integer < low || integer > high)
        return place_refuse(place, name, "is %" PRId64 ", outside %" PRId64 " .. %" PRId64, integer, low,
                            high);
    *value = integer;
    return 1;
}

int field_uint32(const json_t *object, const char *name, uint32_t low, uint32_t high, uint32_t *value,
                 const struct place *place) {
    int64_t integer;
    int found = field_integer(object, name, low, high, &integer, place);
    if (found > 0) *value = (uint32_t)integer;
    return found;
}

int field_float(const json_t *object, const char *name, double low, double high, float *value,
                const struct place *place) {
    json_t *found;
    if (!field_any(object, name, &found)) return 0;
    if (!json_is_number(found)) return refuse_type(place, name, "a number", found);
    double number = json_number_value(found);
    if (number < low || number > high)
        return place_refuse(place, name, "is %g, outside %g .. %g", number, low, high);
    *value = (float)number;
    return 1;
}

int field_string(const json_t *object, const char *name, const char **value, const struct place *place) {
    json_t *found;
    if (!field_any(object, name, &found)) return 0;
    if (!json_is_string(found)) return refuse_type(place, name, "a string", found);
    *value = json_string_value(found);
    return 1;
}

int field_object(const json_t *object, const char *name, json_t **value, const struct place *place) {
    json_t *found;
    if (!field_any(object, name, &found)) return 0;
    if (!json_is_object(found)) return refuse_type(place, name, "an object", found);
    *value = found;
    return 1;
}

int field_array(const json_t *object, const char *name, json_t **value, const struct place *place) {
    json_t *found;
    if (!field_any(object, name, &found)) return 0;
    if (!json_is_array(found)) return refuse_type(place, name, "an array", found);
    *value = found;
    return 1;
}

static int require(int found, const char *name, const struct place *place) {
    return found == 0 ? place_refuse(place, name, "is missing") : found;
}

int field_required_string(const json_t *object, const char *name, const char **value,
                          const struct place *place) {
    return require(field_string(object, name, value, place), name, place);
}

int field_required_object(const json_t *object, const char *name, json_t **value, const struct place *place) {
    return require(field_object(object, name, value, place), name, place);
}

int place_copy(const struct place *place, const char *text, char **copy) {
    char *made = mem_strndup(text, strlen(text));
    if (made == NULL) return place_no_memory(place);
    mem_free(*copy);
    *copy = made;
    return 0;
}
