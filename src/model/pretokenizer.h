/* Cuts text into the words that are merged on their own, by the rule that a model's vocabulary was trained
 * with.
 *
 * A rule is data: a few regular expressions (PCRE2, UTF and Unicode properties on). Each expression in turn
 * cuts every piece that the one before it left: a match is a piece, and so is the text between two matches.
 * An expression sees one piece only, so a look-ahead ends where the piece ends. */
#ifndef CABINET_MODEL_PRETOKENIZER_H
#define CABINET_MODEL_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "model/gguf.h"

enum { PRETOKENIZER_PATTERNS_MAX = 6, PRETOKENIZER_NAMES_MAX = 12 };

struct pretokenizer_rule {
    const char *names[PRETOKENIZER_NAMES_MAX]; /* values of tokenizer.ggml.pre, NULL after the last */
    const char *patterns[PRETOKENIZER_PATTERNS_MAX];
    bool ignores_merges; /* a whole word of the vocabulary is taken as it is, however it merges */
    bool adds_bos;       /* what the model wants if its file does not say */
};

/* The rule that has `name`, and *spelling its own copy of that name; NULL if there is none. */
const struct pretokenizer_rule *pretokenizer_find(struct gguf_string name, const char **spelling);

struct pretokenizer;

/* Compiles the rule's expressions. It may be used by several threads at once. */
int pretokenizer_open(struct pretokenizer **pretokenizer, const struct pretokenizer_rule *rule);
void pretokenizer_close(struct pretokenizer *pretokenizer);

/* Receives one word, never empty; a failure ends the cut. */
typedef int (*pretokenizer_word)(void *receiver, const char *word, size_t length);

/* Hands the words of `text`, which is valid UTF-8, to `receive` in order. The words joined are the text.
 * TOO_LARGE if an expression exceeds the limit on its search: no text can make this hang. */
int pretokenizer_cut(const struct pretokenizer *pretokenizer, const char *text, size_t length,
                     pretokenizer_word receive, void *receiver);

#endif
