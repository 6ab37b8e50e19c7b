/* Merging: symbols in a row of which two neighbours become one, the pair of lowest rank first and the
 * leftmost of equal ones, until no pair has a rank. Which pairs have one is the caller's business.
 *
 * O(n log n) look-ups and steps for n symbols, whatever the ranks. */
#ifndef CABINET_MODEL_MERGE_H
#define CABINET_MODEL_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer.h"

#define MERGE_NEVER UINT32_MAX /* the rank of a pair that stays two */
#define MERGE_END UINT32_MAX   /* no neighbour on that side */

/* The symbols are a doubly linked list that lies in order in an array. A merge keeps the left one. */
struct merge_symbol {
    token_id id;         /* -1: text without a token of its own */
    uint32_t begin, end; /* its bytes in the word */
    uint32_t prev, next;
    uint32_t rank;   /* of the pair (this, next) */
    token_id result; /* what that pair becomes */
};

/* Memory that one caller uses from word to word. Zero-initialise, free with merge_work_free. */
struct merge_work {
    struct merge_symbol *symbols;
    uint64_t *queue;
    size_t capacity;
    uint32_t n; /* symbols of the present word */
};
void merge_work_free(struct merge_work *work);

/* Begins a word of at most n symbols (n < 2^32 - 1), whose bytes lie below 2^32. */
int merge_begin(struct merge_work *work, size_t n);
void merge_append(struct merge_work *work, token_id id, size_t begin, size_t end);

struct merge_pair {
    uint32_t rank;
    token_id result;
};
typedef struct merge_pair (*merge_look_up)(const void *rules, const struct merge_symbol *left,
                                           const struct merge_symbol *right);
/* Merges the word. What is left: symbols[0] and those that follow it by `next`. */
void merge_run(struct merge_work *work, merge_look_up look_up, const void *rules);

#endif
