/* Can a model still find in its context what it is asked for? Forced choice by probability, without
 * generation: a question counts as answered if, of the possible answers, the right one is the most likely
 * next token.
 *
 *   repeat    random tokens, and the same once more: what came next the first time?
 *   passkey   one sentence in a text names a word, the text's end asks for it
 *   lookup    a table of eight names and words stands in a text; each name's word is asked for
 *
 * The context is computed, and stored in the setting's form, before the question is seen; the questions on
 * one context share it. */
#ifndef CABINET_CLI_RECALL_H
#define CABINET_CLI_RECALL_H

#include "cli/lineup.h"

enum recall_task { RECALL_repeat, RECALL_passkey, RECALL_lookup, RECALL_TASKS };
const char *recall_task_name(enum recall_task task);

enum { RECALL_CHOICES = 16, RECALL_MIN_TOKENS = 64 };

struct recall {
    const struct tokenizer *tokenizer;
    const token_id *filler; /* (n_filler) the text around what is to be found */
    size_t n_filler;
    uint32_t n_vocab, n_contexts; /* passkey: contexts; the others have one for every four */
    /* common words that are one token behind a space */
    const char *words[RECALL_CHOICES];
    token_id tokens[RECALL_CHOICES];
    unsigned n_words;
};

/* Looks for words in the vocabulary. */
int recall_open(struct recall *recall, const struct tokenizer *tokenizer, uint32_t n_vocab,
                const token_id *filler, size_t n_filler, uint32_t n_contexts);
/* Whether the task can be asked of this vocabulary, in n_tokens of context. */
bool recall_is_possible(const struct recall *recall, enum recall_task task, uint32_t n_tokens);

struct recall_score {
    uint32_t n_questions, n_right;
};
/* Asks one setting of a line-up, in contexts of less than n_tokens, question included. */
int recall_ask(const struct recall *recall, enum recall_task task, uint32_t n_tokens, struct lineup *lineup,
               unsigned setting, struct recall_score *score);

#endif
