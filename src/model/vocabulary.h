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

/* What a token of this kind (a normal, user-defined or byte one) and piece stands for: writes it to `bytes`
 * (room for the piece) and returns its length, SIZE_MAX if it makes no sense. */
typedef size_t (*vocabulary_spell)(enum token_kind kind, struct gguf_string piece, uint8_t *bytes);

/* Reads tokenizer.ggml.tokens and token_type. CORRUPT, TOO_LARGE or UNSUPPORTED as tokenizer_open says. */
int vocabulary_open(struct vocabulary *vocabulary, const struct gguf *file, vocabulary_spell spell);
void vocabulary_close(struct vocabulary *vocabulary);

/* The id of a piece spelled exactly so, or -1. */
token_id vocabulary_find(const struct vocabulary *vocabulary, const char *piece, size_t length);

/* Reads the id that the file gives under `key`; *id is -1 if it gives none. CORRUPT if there is no such
 * token. */
int vocabulary_read_id(const struct vocabulary *vocabulary, const struct gguf *file, const char *key,
                       token_id *id);

#endif
