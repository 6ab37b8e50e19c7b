#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

bool text_reserve(struct text *text, size_t length) {
    if (text->failed) return false;
    if (text->capacity > text->length && length < text->capacity - text->length) return true;
    size_t capacity = text->capacity < 64 ? 64 : text->capacity * 2;
    while (capacity - text->length <= length && capacity < SIZE_MAX / 4) capacity *= 2;
    char *grown = capacity - text->length > length ? mem_realloc(text->bytes, capacity, 1) : NULL;
    if (grown == NULL) {
        text->failed = true;
        return false;
    }
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

void text_append(struct text *text, const char *bytes, size_t length) {
    if (!text_reserve(text, length)) return;
    if (length > 0) memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_append_string(struct text *text, const char *string) { text_append(text, string, strlen(string)); }

void text_printf(struct text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0)
        text->failed = true;
    else if (text_reserve(text, (size_t)length))
        text->length += (size_t)vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
}

void text_clear(struct text *text) {
    text->length = 0;
    text->failed = false;
    if (text->bytes != NULL) text->bytes[0] = '\0';
}

void text_free(struct text *text) {
    mem_free(text->bytes);
    *text = (struct text){0};
}
