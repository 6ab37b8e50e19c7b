#include "plan/words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter(char c) { return isalpha((unsigned char)c) != 0; }
static bool is_digit(char c) { return isdigit((unsigned char)c) != 0; }

/* Whether a word ends before name[at]. */
static bool ends_before(const char *name, size_t start, size_t at, bool splits_numbers) {
    const char c = name[at];
    if (c == '.') return !(at > start && is_digit(name[at - 1]) && is_digit(name[at + 1]));
    if (!is_letter(c) && !is_digit(c)) return true;
    if (!splits_numbers || at < start + 2 || !is_digit(c)) return false;
    return is_letter(name[at - 1]) && is_letter(name[at - 2]) && is_letter(name[start]);
}

struct words words_of(const char *name, bool splits_numbers) {
    struct words words = {0};
    size_t start = 0;
    for (size_t at = 0;; at++) {
        if (name[at] != '\0' && !ends_before(name, start, at, splits_numbers)) continue;
        const size_t length = at - start < WORD_LENGTH - 1 ? at - start : WORD_LENGTH - 1;
        if (length > 0 && words.n < WORDS_MAX) {
            for (size_t i = 0; i < length; i++)
                words.words[words.n][i] = (char)tolower((unsigned char)name[start + i]);
            words.n++;
        }
        if (name[at] == '\0') return words;
        start = is_letter(name[at]) || is_digit(name[at]) ? at : at + 1;
    }
}

bool words_have(const struct words *words, const char *word) {
    for (size_t i = 0; i < words->n; i++)
        if (strcmp(words->words[i], word) == 0) return true;
    return false;
}

bool word_has_digit(const char *word) { return strpbrk(word, "0123456789") != NULL; }

double word_size(const char *word) {
    char *end;
    if (!is_digit(word[0])) return 0;
    double size = strtod(word, &end);
    if (*end == 'x' && is_digit(end[1])) size *= strtod(end + 1, &end);
    const double unit = *end == 'b' ? 1e9 : *end == 'm' ? 1e6 : 0;
    return end[0] != '\0' && end[1] == '\0' ? size * unit : 0;
}
