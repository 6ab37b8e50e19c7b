/* Words of a name, for matching names that people write in many ways. */
#ifndef CABINET_PLAN_WORDS_H
#define CABINET_PLAN_WORDS_H

#include <stdbool.h>
#include <stddef.h>

enum { WORDS_MAX = 16, WORD_LENGTH = 24 };

/* Lower-case runs of letters, digits and points; longer names are cut. */
struct words {
    size_t n;
    char words[WORDS_MAX][WORD_LENGTH];
};

/* `splits_numbers`: also between two or more letters and a digit, as in "llama3.1" and "qwen3"; "7b", "8x7b"
 * and "a3b" stay whole. */
struct words words_of(const char *name, bool splits_numbers);
bool words_have(const struct words *words, const char *word);
bool word_has_digit(const char *word);
/* "70b", "1.5b", "135m" in units of one, "8x7b" as the product; 0: not a size. */
double word_size(const char *word);

#endif
