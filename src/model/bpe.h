/* The merges of byte-pair encoding: a table of pairs of tokens, their ranks and results.
 *
 * Invariant: every id in the table is a token of the vocabulary, and no result is a control token. */
#ifndef CABINET_MODEL_BPE_H
#define CABINET_MODEL_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "model/merge.h"
#include "model/vocabulary.h"

struct bpe {
    struct bpe_merge *table; /* open addressing; at least a third is free */
    size_t mask;
};

/* Reads tokenizer.ggml.merges; the first of two merges of one pair counts. CORRUPT names the merge. Close it
 * even if it failed. */
int bpe_open(struct bpe *bpe, const struct vocabulary *vocabulary, const struct gguf *file);
void bpe_close(struct bpe *bpe);

/* A merge_look_up; `bpe` is a struct bpe. */
struct merge_pair bpe_look_up(const void *bpe, const struct merge_symbol *left,
                              const struct merge_symbol *right);

#endif
