/* Members of JSON objects into a struct, by a table: what is missing, of another type or out of range is an
 * error that says file, line and member, and so is a member that no table knows. */
#ifndef CABINET_PLAN_JSON_FIELDS_H
#define CABINET_PLAN_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "model/quote.h"

enum json_field_kind {
    JSON_FIELD_TEXT,   /* char[size] */
    JSON_FIELD_COUNT,  /* uint32_t, a whole number */
    JSON_FIELD_NUMBER, /* double */
    JSON_FIELD_TRUTH,  /* bool */
    JSON_FIELD_OTHER   /* for its own reader: only its name is known here */
};

struct json_field {
    const char *key;
    enum json_field_kind kind;
    bool is_needed; /* else it may be null or missing: 0, "" or false */
    size_t offset, size;
    double low, high; /* of numbers */
};

#define JSON_TEXT(key, type, member, needed)                                                                 \
    {key, JSON_FIELD_TEXT, needed, offsetof(type, member), sizeof((type *)0)->member, 0, 0}
#define JSON_COUNT(key, type, member, needed, high)                                                          \
    {key, JSON_FIELD_COUNT, needed, offsetof(type, member), 0, 0, high}
#define JSON_NUMBER(key, type, member, needed, low, high)                                                    \
    {key, JSON_FIELD_NUMBER, needed, offsetof(type, member), 0, low, high}
#define JSON_TRUTH(key, type, member) {key, JSON_FIELD_TRUTH, false, offsetof(type, member), 0, 0, 0}
#define JSON_OTHER(key) {key, JSON_FIELD_OTHER, false, 0, 0, 0, 0}

/* Where an object is, for messages: in the file's text, an element of the root's member `array`, or the root
 * where that is NULL. `name`: what it calls itself, or NULL. */
struct json_place {
    const char *file, *text, *array, *name;
    size_t index;
};

/* Reads what `fields` say into `into`. `is_strict`: members that no field has are errors. `part` names the
 * object within the place ("attention"), or is NULL. */
int json_fields_read(const struct json_place *place, const char *part, const json_t *object,
                     const struct json_field *fields, size_t n, void *into, bool is_strict);
/* CORRUPT, with the place in front: "models.json:12: Llama 3 8B: layers: ...". */
int json_place_error(const struct json_place *place, const char *part, const char *key, const char *text);

/* Text of a stranger's file, for a message. */
#define QUOTE_TEXT(text) QUOTE(((struct gguf_string){(text), strlen(text)}))

#endif
