/* Byte-pair encoding: the neighbours of lowest rank merge first, the leftmost of equal ones, until none is
 * left.
 *
 * Invariant: every id in the table is a token of the vocabulary (whoever adds merges has checked). */
#ifndef CABINET_MODEL_BPE_H
#define CABINET_MODEL_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer.h"

struct bpe_merge {
    token_id left, right, result;
    uint32_t rank; /* BPE_NO_RANK marks a free place of the table */
};
#define BPE_NO_RANK UINT32_MAX

struct bpe {
    token_id of_byte[256]; /* -1 where the vocabulary has no token of that byte */
    struct bpe_merge *table;
    size_t mask;
};

/* An empty table with room for `n_merges`; free with bpe_close. */
int bpe_open(struct bpe *bpe, size_t n_merges);
void bpe_close(struct bpe *bpe);
/* At most n_merges of them. The first of two merges of one pair counts. */
void bpe_add(struct bpe *bpe, struct bpe_merge merge);

/* Memory that one caller uses from word to word. Zero-initialise, free with bpe_work_free. */
struct bpe_work {
    struct bpe_symbol *symbols;
    uint64_t *queue;
    size_t capacity;
};
void bpe_work_free(struct bpe_work *work);

/* Appends the ids of one word of n bytes (n < 2^31). O(n log n). A byte without a token is left out, as both
 * PyPI tokenizers and llama.cpp do. */
int bpe_encode(const struct bpe *bpe, const uint8_t *word, size_t n, struct bpe_work *work,
               struct token_list *list);

#endif
