/* A set of tokens that are found in text as they are spelled, before any pre-tokenisation.
 *
 * The ids are sorted by piece, so that all pieces with a common beginning lie together: a search narrows that
 * range byte by byte, like walking down a trie. */
#ifndef CABINET_MODEL_SPECIAL_SET_H
#define CABINET_MODEL_SPECIAL_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/vocabulary.h"

struct special_set {
    token_id *ids;
    uint32_t n;
    uint32_t first[257]; /* the pieces that begin with byte b: ids[first[b]] .. ids[first[b + 1]] */
};

/* The tokens of the vocabulary whose kind has its bit (1 << kind) in `kinds`, except empty ones. */
int special_set_open(struct special_set *set, const struct vocabulary *vocabulary, unsigned kinds);
void special_set_close(struct special_set *set);

/* The longest token that `text` begins with, and its length; -1 if there is none. */
token_id special_set_match(const struct special_set *set, const struct vocabulary *vocabulary,
                           const char *text, size_t length, size_t *matched);

#endif
