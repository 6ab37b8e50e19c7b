/* Typed readers of JSON objects that came from a client: what is absent or null stays as it was, what has the
 * wrong type or is out of range is a 400 that names the field. */
#ifndef CABINET_SERVER_ASK_FIELDS_H
#define CABINET_SERVER_ASK_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/api_error.h"

/* Where in the body an object is, for the error. */
struct place {
    struct api_error *error;
    const char *param; /* the field of the body that it is in; NULL for the body itself */
    char path[80];     /* "messages[3].", "" */
};

/* The object `name` (or, with index >= 0, its element) within `outer`. */
struct place place_within(const struct place *outer, const char *name, long index);
/* Refuses: 400 with "PATH NAME TEXT". Returns a negative number. */
int place_refuse(const struct place *place, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* No memory: 503. */
int place_no_memory(const struct place *place);

/* Each gives 1 with the value set, 0 if the field is absent or null, or negative after place_refuse. Values
 * are borrowed from the object. */
int field_bool(const json_t *object, const char *name, bool *value, const struct place *place);
int field_integer(const json_t *object, const char *name, int64_t low, int64_t high, int64_t *value,
                  const struct place *place);
int field_uint32(const json_t *object, const char *name, uint32_t low, uint32_t high, uint32_t *value,
                 const struct place *place);
int field_float(const json_t *object, const char *name, double low, double high, float *value,
                const struct place *place);
int field_string(const json_t *object, const char *name, const char **value, const struct place *place);
int field_object(const json_t *object, const char *name, json_t **value, const struct place *place);
int field_array(const json_t *object, const char *name, json_t **value, const struct place *place);
/* Any type; 1 if it is there and not null. */
int field_any(const json_t *object, const char *name, json_t **value);

/* As above, but absence is refused. */
int field_required_string(const json_t *object, const char *name, const char **value,
                          const struct place *place);
int field_required_object(const json_t *object, const char *name, json_t **value, const struct place *place);

/* A copy of a string in *copy, in place of what was there. */
int place_copy(const struct place *place, const char *text, char **copy);

#endif
