/* What an answer must be, as the tokens that may come next: JSON, JSON of a schema, or of a grammar.
 *
 * The work is crate llguidance's, behind the Rust shim. Schemas and grammars come from strangers: what they
 * may cost is bounded. Compiling takes a second at worst, mostly milliseconds, on a thread of its own; a mask
 * less than a millisecond, some tenths of a second at worst. A vocabulary may be used by several threads, a
 * constraint by one at a time. */
#ifndef CABINET_MODEL_CONSTRAINT_H
#define CABINET_MODEL_CONSTRAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer.h"

/* A tokenizer's tokens as bytes, in a tree. Made once for a model, which takes a fraction of a second. */
struct constraint_vocabulary;
int constraint_vocabulary_open(struct constraint_vocabulary **vocabulary, const struct tokenizer *tokenizer);
void constraint_vocabulary_close(struct constraint_vocabulary *vocabulary);
/* 32-bit words of a mask. */
uint32_t constraint_mask_words(const struct constraint_vocabulary *vocabulary);

enum constraint_kind {
    CONSTRAINT_JSON_OBJECT, /* any; no source */
    CONSTRAINT_JSON_SCHEMA, /* JSON text of a schema */
    CONSTRAINT_LARK,        /* a grammar as llguidance takes it */
    CONSTRAINT_REGEX,
};

/* One answer on its way. */
struct constraint;
/* INVALID says in a line what is wrong with the source: also that it would take too much, or that no text
 * fits. The vocabulary stays open as long as the constraint. */
int constraint_open(struct constraint **constraint, const struct constraint_vocabulary *vocabulary,
                    enum constraint_kind kind, const char *source, size_t length);
void constraint_close(struct constraint *constraint);
/* A second answer in the same state. */
int constraint_fork(struct constraint **fork, const struct constraint *constraint);
/* Fills mask (constraint_mask_words): bit t set if token t may come next. End tokens may where the answer may
 * end. INVALID when the next token takes too much to find. */
int constraint_mask(struct constraint *constraint, uint32_t *mask);
/* The answer goes on with this token. INVALID if it may not, which changes nothing, or, rarely for one that
 * the mask has, when going on takes too much. */
int constraint_accept(struct constraint *constraint, int32_t token);
/* Nothing but an end may follow. */
bool constraint_is_finished(const struct constraint *constraint);

#endif
