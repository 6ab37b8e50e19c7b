/* Text to token ids and back, as the model's own vocabulary says. Special tokens are cut out first; what is
 * plain text depends on the kind of vocabulary (tokenizer_model.h). Invalid UTF-8 is refused.
 *
 * Decoding what was encoded gives the text again, but for this:
 *  - byte-level BPE leaves out bytes that the vocabulary has no token for (SmolLM2 lacks eight, of no
 * ordinary text);
 *  - SentencePiece's kind has one more space in front of text at the beginning and behind special tokens,
 * where the file wants it (add_space_prefix), turns U+2581 into a space, and loses what became unknown
 * tokens;
 *  - Phi-3's special tokens swallow the white space behind them;
 *  - control tokens have no text.
 * tokenizer.ggml.add_eos_token is not obeyed: a prompt is there to be continued. */
#ifndef CABINET_MODEL_TOKENIZER_H
#define CABINET_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"

typedef int32_t token_id;

struct tokenizer;

/* A growing list of ids; zero-initialise, free with token_list_free. Beyond `most` appending is TOO_LARGE,
 * and encoding too, as soon as it is sure to get there: a text that is far too long costs little. 0: no
 * limit. */
struct token_list {
    token_id *ids;
    size_t n, capacity, most;
};
int token_list_append(struct token_list *list, token_id id);
void token_list_free(struct token_list *list);

enum token_kind {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN,
    TOKEN_CONTROL,
    TOKEN_USER_DEFINED,
    TOKEN_UNUSED,
    TOKEN_BYTE
};

/* Reads the vocabulary. The tokenizer borrows the file's strings: close it before the file.
 * UNSUPPORTED names an unknown model or pre-tokenisation rule; CORRUPT an inconsistent vocabulary. */
int tokenizer_open(struct tokenizer **tokenizer, const struct gguf *file);
void tokenizer_close(struct tokenizer *tokenizer);

/* Appends the ids of `text` to *list. User-defined tokens are matched always. With parse_special the text of
 * control tokens becomes those tokens too; without it, it is ordinary text and can never become one. INVALID
 * for text that is not UTF-8, with the offset of the first bad byte. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool parse_special,
                     struct token_list *list);

/* The same for text of which some came from outside: control tokens are parsed, but none begins at the
 * `guards` (rising offsets). */
int tokenizer_encode_guarded(const struct tokenizer *tokenizer, const char *text, size_t length,
                             const size_t *guards, size_t n_guards, struct token_list *list);

/* Would the beginning of `text` be parsed as a control token (or the unknown one)? */
bool tokenizer_spells_control(const struct tokenizer *tokenizer, const char *text, size_t length);

/* The bytes of one token, without regard to characters. Control tokens have none. Owned by the tokenizer. */
struct gguf_string tokenizer_bytes(const struct tokenizer *tokenizer, token_id id);
/* A token's name as the vocabulary spells it. */
struct gguf_string tokenizer_piece(const struct tokenizer *tokenizer, token_id id);

/* Streaming decode: holds back the bytes of an unfinished character. Zero-initialise. */
struct tokenizer_stream {
    uint8_t held[4];
    unsigned n_held;
};
enum {
    TOKENIZER_STEP_MAX = 1024
}; /* longest text of one step, in bytes; longer tokens are refused at open */
/* Writes the text that became complete with `id` (perhaps none; at most TOKENIZER_STEP_MAX bytes) and returns
 * its length. Bytes that can never become UTF-8 are written as U+FFFD. */
size_t tokenizer_decode_step(const struct tokenizer *tokenizer, struct tokenizer_stream *stream, token_id id,
                             char *text);
/* The end of the stream: an unfinished character becomes U+FFFD. */
size_t tokenizer_decode_end(struct tokenizer_stream *stream, char *text);

uint32_t tokenizer_n_tokens(const struct tokenizer *tokenizer);
enum token_kind tokenizer_kind(const struct tokenizer *tokenizer, token_id id);
/* -1 where the file names none. */
token_id tokenizer_bos(const struct tokenizer *tokenizer);
token_id tokenizer_eos(const struct tokenizer *tokenizer);
/* Does the model want its bos in front of every prompt (tokenizer.ggml.add_bos_token)? */
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);
/* Does this token end an answer: eos, eot, eom, or a control token of a well-known end name? */
bool tokenizer_is_end(const struct tokenizer *tokenizer, token_id id);
/* The id of a piece spelled exactly so, or -1. */
token_id tokenizer_find(const struct tokenizer *tokenizer, const char *piece);
/* Names for `inspect`: "gpt2", "smollm"; "llama", "none". */
const char *tokenizer_model_name(const struct tokenizer *tokenizer);
const char *tokenizer_rule_name(const struct tokenizer *tokenizer);

#endif
