/* The tokens of a model as its file lists them: their pieces, kinds and bytes, and the way back from piece to
 * id.
 *
 * Everything in the file is checked here, once: after vocabulary_open every id in 0 .. n - 1 has a piece, a
 * kind and bytes, and no two tokens share a piece. */
#ifndef CABINET_MODEL_VOCABULARY_H
#define CABINET_MODEL_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"
#include "model/tokenizer.h"

struct vocabulary {
    const struct gguf_string *pieces; /* borrowed from the file */
    uint32_t n;
    uint8_t *kinds;                /* enum token_kind */
    uint8_t *bytes;                /* of token i: bytes[starts[i]] .. bytes[starts[i + 1]] */
    uint32_t *starts;              /* n + 1 */
    struct vocabulary_slot *slots; /* piece -> id, open addressing */
    size_t mask;
    size_t longest_piece;
};

/* Reads tokenizer.ggml.tokens and token_type. CORRUPT, TOO_LARGE or UNSUPPORTED as tokenizer_open says. */
int vocabulary_open(struct vocabulary *vocabulary, const struct gguf *file);
void vocabulary_close(struct vocabulary *vocabulary);

/* The id of a piece spelled exactly so, or -1. */
token_id vocabulary_find(const struct vocabulary *vocabulary, const char *piece, size_t length);

#endif
