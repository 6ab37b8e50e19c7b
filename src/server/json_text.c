#include "server/json_text.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"

/* How many bytes from the beginning need no escape and are ASCII. */
static size_t plain_run(const char *bytes, size_t length) {
    size_t n = 0;
    while (n < length && (unsigned char)bytes[n] >= 0x20 && (unsigned char)bytes[n] < 0x7f &&
           bytes[n] != '"' && bytes[n] != '\\')
        n++;
    return n;
}

static void escape_ascii(struct text *out, char byte) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *found = byte == 0 ? NULL : strchr(from, byte);
    if (found != NULL)
        text_append(out, (const char[]){'\\', to[found - from]}, 2);
    else
        text_printf(out, "\\u%04x", (unsigned)(unsigned char)byte);
}

void json_text_escape(struct text *out, const char *bytes, size_t length) {
    for (size_t at = 0; at < length;) {
        size_t n = plain_run(bytes + at, length - at);
        text_append(out, bytes + at, n);
        at += n;
        if (at == length) return;
        if ((unsigned char)bytes[at] < 0x80) {
            escape_ascii(out, bytes[at++]);
            continue;
        }
        size_t character = utf8_length((uint8_t)bytes[at]);
        if (character > 0 && character <= length - at &&
            utf8_valid_prefix(bytes + at, character) == character) {
            text_append(out, bytes + at, character);
            at += character;
        } else {
            text_append_string(out, "\xef\xbf\xbd");
            at++;
        }
    }
}

void json_text_bytes(struct text *out, const char *bytes, size_t length) {
    text_append(out, "\"", 1);
    json_text_escape(out, bytes, length);
    text_append(out, "\"", 1);
}

void json_text_string(struct text *out, const char *string) {
    if (string == NULL)
        text_append_string(out, "null");
    else
        json_text_bytes(out, string, strlen(string));
}

void json_text_float(struct text *out, float number) {
    if (isnan(number))
        text_append_string(out, "null");
    else
        text_printf(out, "%.9g", (double)(isinf(number) ? copysignf(9999, number) : number));
}

static int append_dumped(const char *bytes, size_t length, void *out) {
    text_append(out, bytes, length);
    return ((struct text *)out)->failed ? -1 : 0;
}

void json_text_value(struct text *out, const json_t *value) {
    if (value == NULL)
        text_append_string(out, "null");
    else if (json_dump_callback(value, append_dumped, out, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
        out->failed = true;
}
