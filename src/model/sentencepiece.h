/* What vocabularies that come from SentencePiece share, however they merge: a space is written U+2581 ("▁"),
 * and a character without a piece is spelled in tokens <0x00> .. <0xFF>, one a byte. */
#ifndef CABINET_MODEL_SENTENCEPIECE_H
#define CABINET_MODEL_SENTENCEPIECE_H

#include "model/merge.h"
#include "model/vocabulary.h"

/* A vocabulary_spell: U+2581 is a space, a byte token is its byte. */
size_t sentencepiece_spell(enum token_kind kind, struct gguf_string piece, uint8_t *bytes);

/* What a character without a piece becomes. */
struct sentencepiece_fallback {
    token_id of_byte[256]; /* -1 where there is none */
    token_id unknown;      /* -1 likewise */
};
/* CORRUPT if there are characters that could become nothing: neither all byte tokens nor an unknown one. */
int sentencepiece_fallback_read(struct sentencepiece_fallback *fallback, const struct vocabulary *vocabulary,
                                const struct gguf *file);

/* The text with U+2581 for each space, and one more in front if wanted. Free *marked with mem_free. */
int sentencepiece_mark(const char *text, size_t length, bool adds_space, char **marked, size_t *n_marked);

/* Begins a word in `work`: a symbol for each character of `word`, with the id of its piece or -1. TOO_LARGE
 * if it is sure to be more than `list` may hold. */
int sentencepiece_split(const struct vocabulary *vocabulary, const char *word, size_t length,
                        const struct token_list *list, struct merge_work *work);
/* Appends the ids of the merged symbols of `word`. A run of characters that the fallback has no bytes for is
 * one unknown token. */
int sentencepiece_append(const struct sentencepiece_fallback *fallback, const char *word,
                         const struct merge_work *work, struct token_list *list);

/* Can ordinary text become this token? */
bool sentencepiece_is_ordinary(const struct vocabulary *vocabulary, token_id id);

#endif
