#include "hub/file_path.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char suffix[] = ".gguf";
enum { SUFFIX = sizeof suffix - 1 };

bool file_path_is_safe(const char *path, size_t length) {
    if (length == 0 || length >= FILE_PATH_LENGTH) return false;
    size_t start = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i == length || path[i] == '/') {
            if (i == start || i - start > FILE_PATH_COMPONENT || path[start] == '.') return false;
            start = i + 1;
        } else if (path[i] < ' ' || path[i] > '~' || path[i] == '\\') {
            return false;
        }
    }
    return true;
}

bool file_path_is_gguf(const char *path) {
    size_t length = strlen(path);
    return length > SUFFIX && strcmp(path + length - SUFFIX, suffix) == 0;
}

const char *file_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

enum { SPLIT_DIGITS = 5, SPLIT_SUFFIX = sizeof "-00001-of-00003.gguf" - 1 };

static bool read_digits(const char *text, unsigned *number) {
    *number = 0;
    for (int i = 0; i < SPLIT_DIGITS; i++) {
        if (!isdigit((unsigned char)text[i])) return false;
        *number = *number * 10 + (unsigned)(text[i] - '0');
    }
    return true;
}

bool file_path_split(const char *path, struct file_split *split) {
    size_t length = strlen(path);
    if (length <= SPLIT_SUFFIX || !file_path_is_gguf(path)) return false;
    split->stem_length = length - SPLIT_SUFFIX;
    const char *text = path + split->stem_length;
    return text[0] == '-' && read_digits(text + 1, &split->index) &&
           strncmp(text + 1 + SPLIT_DIGITS, "-of-", 4) == 0 &&
           read_digits(text + 5 + SPLIT_DIGITS, &split->count) && split->index >= 1 &&
           split->index <= split->count;
}

bool file_path_of_part(char *part, size_t size, const char *path, const struct file_split *split,
                       unsigned index) {
    int n = snprintf(part, size, "%.*s-%05u-of-%05u%s", (int)split->stem_length, path, index, split->count,
                     suffix);
    return (size_t)n < size;
}

static bool ends_word(char c) { return c == '\0' || c == '-' || c == '.'; }

bool file_path_has_tag(const char *path, const char *tag) {
    const char *name = file_path_base(path);
    size_t length = strlen(tag);
    if (length == 0) return false;
    for (const char *at = name; *at != '\0'; at++) {
        /* "IQ4_XS" is no "Q4_XS" and "Q4_K_M" no "Q4_K", but "model_q4_0.gguf" is a Q4_0 */
        bool begins_word = at == name || ends_word(at[-1]) || at[-1] == '_';
        if (begins_word && strncasecmp(at, tag, length) == 0 && ends_word(at[length])) return true;
    }
    return false;
}
