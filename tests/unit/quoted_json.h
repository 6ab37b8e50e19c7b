/* JSON in tests, written with ' for ". Comes after cmocka.h. */
#ifndef CABINET_TESTS_QUOTED_JSON_H
#define CABINET_TESTS_QUOTED_JSON_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Free it with free. */
static inline char *quoted(const char *body) {
    char *copy = strdup(body);
    for (char *byte = copy; *byte != '\0'; byte++)
        if (*byte == '\'') *byte = '"';
    return copy;
}

static inline void assert_json(const json_t *value, const char *expected) {
    char *copy = quoted(expected);
    json_error_t where;
    json_t *wanted = json_loads(copy, JSON_DECODE_ANY, &where);
    if (wanted == NULL) fail_msg("%s: %s", expected, where.text);
    if (!json_equal((json_t *)(uintptr_t)value, wanted)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        fail_msg("%s\nis not\n%s", text, copy);
    }
    json_decref(wanted);
    free(copy);
}

#endif
