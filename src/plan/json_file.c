#include "plan/json_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "plan/json_fields.h"

static int read_stream(char **text, size_t *length, const char *path, FILE *file) {
    size_t capacity = 1 << 14;
    *length = 0;
    *text = mem_alloc(capacity + 1, 1);
    while (*text != NULL) {
        *length += fread(*text + *length, 1, capacity - *length, file);
        if (ferror(file) != 0) return ERR(IO, "%s: %s", path, strerror(errno));
        if (*length > JSON_FILE_MOST_BYTES)
            return ERR(TOO_LARGE, "%s is larger than %d MiB", path, JSON_FILE_MOST_BYTES >> 20);
        if (*length < capacity) {
            (*text)[*length] = '\0';
            return 0;
        }
        capacity *= 2;
        char *grown = mem_realloc(*text, capacity + 1, 1);
        if (grown == NULL) return ERR_NO_MEMORY;
        *text = grown;
    }
    return ERR_NO_MEMORY;
}

int json_file_text(char **text, size_t *length, const char *path) {
    FILE *file = fopen(path, "rbe");
    *text = NULL;
    if (file == NULL && errno == ENOENT) return ERR(NOT_FOUND, "%s: there is no such file", path);
    if (file == NULL) return ERR(IO, "%s: %s", path, strerror(errno));
    const int result = read_stream(text, length, path, file);
    fclose(file);
    if (result < 0) {
        mem_free(*text);
        *text = NULL;
    }
    return result;
}

int json_text_parse(json_t **root, const char *text, size_t length, const char *file) {
    json_error_t error;
    *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    return *root != NULL ? 0 : ERR(CORRUPT, "%s:%d: %s", file, error.line, QUOTE_TEXT(error.text));
}

int json_file_load(json_t **root, const char *path) {
    char *text;
    size_t length;
    *root = NULL;
    TRY(json_file_text(&text, &length, path));
    const int result = json_text_parse(root, text, length, path);
    mem_free(text);
    return result;
}
