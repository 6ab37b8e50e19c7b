#include "plan/kept_fields.h"

#include <math.h>
#include <string.h>

#include "base/err.h"

int kept_number(const json_t *object, const char *key, double limit, double *number) {
    const json_t *value = json_object_get(object, key);
    *number = json_number_value(value);
    if (json_is_number(value) && isfinite(*number) && *number >= 0 && *number < limit) return 0;
    return ERR(CORRUPT, "\"%s\" is no number of 0 or more", key);
}

int kept_text(const json_t *object, const char *key, char *text, size_t size) {
    const char *value = json_string_value(json_object_get(object, key));
    if (value == NULL || strlen(value) >= size)
        return ERR(CORRUPT, "\"%s\" is no text of less than %zu bytes", key, size);
    for (const char *at = value; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return ERR(CORRUPT, "\"%s\" holds control characters", key);
    memcpy(text, value, strlen(value) + 1);
    return 0;
}
