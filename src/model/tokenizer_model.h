/* What depends on the kind of vocabulary (tokenizer.ggml.model): how plain text becomes ids, and which bytes
 * a piece stands for. tokenizer.c does the rest alike for all: special tokens, streams, ends. One file each,
 * one line in TOKENIZER_LIST. */
#ifndef CABINET_MODEL_TOKENIZER_MODEL_H
#define CABINET_MODEL_TOKENIZER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/merge.h"
#include "model/vocabulary.h"

/* What opening finds out for tokenizer.c. */
struct tokenizer_traits {
    const char *rule_name;     /* of the pre-tokenisation; "none" without */
    bool adds_bos;             /* what the model wants if its file does not say */
    bool strips_after_special; /* white space behind a special token belongs to it */
};

struct tokenizer_model {
    const char *name; /* tokenizer.ggml.model */
    vocabulary_spell spell;
    /* Reads what the vocabulary alone does not say. The state borrows the vocabulary. On failure *state is
     * whatever close must see, perhaps NULL. */
    int (*open)(void **state, const struct vocabulary *vocabulary, const struct gguf *file,
                struct tokenizer_traits *traits);
    void (*close)(void *state);
    /* Appends the ids of plain text (UTF-8, length > 0), which begins behind a special token or nothing.
     * Never those of control tokens, whatever the text says. */
    int (*encode)(const void *state, const char *text, size_t length, struct merge_work *work,
                  struct token_list *list);
};

/* The symbols that become more tokens than the list may hold, however they merge: more than so many, if no
 * token has more than `longest` of them. */
size_t token_list_room(const struct token_list *list, size_t longest);
/* The error of a list that is full. */
int token_list_too_large(const struct token_list *list);

#define TOKENIZER_LIST(X) X(gpt2) X(llama) X(gemma4)

#endif
