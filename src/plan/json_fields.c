#include "plan/json_fields.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "plan/json_line.h"

int json_place_error(const struct json_place *place, const char *part, const char *key, const char *text) {
    char line[24] = "";
    const struct json_way way = {place->array, part, key, place->index};
    if (place->text != NULL) snprintf(line, sizeof line, ":%zu", json_line_of(place->text, &way));
    const char *name = place->name != NULL ? place->name : "";
    return ERR(CORRUPT, "%s%s: %s%s%s%s%s: %s", place->file, line, QUOTE_TEXT(name),
               *name != '\0' ? ": " : "", part != NULL ? part : "", part != NULL ? "." : "", QUOTE_TEXT(key),
               text);
}

static int read_number(const struct json_place *place, const char *part, const json_t *value,
                       const struct json_field *field, double *number) {
    char text[128];
    *number = json_number_value(value);
    if (!json_is_number(value)) return json_place_error(place, part, field->key, "must be a number");
    if (field->kind == JSON_FIELD_COUNT && *number != floor(*number))
        return json_place_error(place, part, field->key, "must be a whole number");
    if (*number >= field->low && *number <= field->high) return 0;
    snprintf(text, sizeof text, "%g is not within %g and %g", *number, field->low, field->high);
    return json_place_error(place, part, field->key, text);
}

static int read_text(const struct json_place *place, const char *part, const json_t *value,
                     const struct json_field *field, char *into) {
    char text[64];
    if (!json_is_string(value)) return json_place_error(place, part, field->key, "must be a string");
    if (json_string_length(value) >= field->size) {
        snprintf(text, sizeof text, "is longer than %zu bytes", field->size - 1);
        return json_place_error(place, part, field->key, text);
    }
    for (const char *at = json_string_value(value); *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return json_place_error(place, part, field->key, "holds control characters");
    memcpy(into, json_string_value(value), json_string_length(value) + 1);
    return 0;
}

static int read_field(const struct json_place *place, const char *part, const json_t *object,
                      const struct json_field *field, void *into) {
    const json_t *value = json_object_get(object, field->key);
    void *member = (char *)into + field->offset;
    double number;
    if (value == NULL || json_is_null(value))
        return field->is_needed ? json_place_error(place, part, field->key, "is missing") : 0;
    switch (field->kind) {
    case JSON_FIELD_TEXT: return read_text(place, part, value, field, member);
    case JSON_FIELD_COUNT:
        TRY(read_number(place, part, value, field, &number));
        *(uint32_t *)member = (uint32_t)number;
        return 0;
    case JSON_FIELD_NUMBER: return read_number(place, part, value, field, member);
    case JSON_FIELD_TRUTH:
        if (!json_is_boolean(value))
            return json_place_error(place, part, field->key, "must be true or false");
        *(bool *)member = json_is_true(value);
        return 0;
    case JSON_FIELD_OTHER: return 0;
    }
    return 0;
}

int json_fields_read(const struct json_place *place, const char *part, const json_t *object,
                     const struct json_field *fields, size_t n, void *into, bool is_strict) {
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return json_place_error(place, NULL, part != NULL ? part : "entry", "must be an object");
    for (size_t i = 0; i < n; i++) TRY(read_field(place, part, object, &fields[i], into));
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        size_t i = 0;
        while (i < n && strcmp(fields[i].key, key) != 0) i++;
        if (i == n && is_strict) return json_place_error(place, part, key, "is not a known member");
    }
    return 0;
}
