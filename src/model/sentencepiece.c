#include "model/sentencepiece.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/tokenizer_model.h"

static const char mark[] = "\xe2\x96\x81";
enum { MARK_BYTES = sizeof mark - 1 };

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The byte of "<0x41>", or -1. */
static int byte_of(struct gguf_string piece) {
    if (piece.length != 6 || memcmp(piece.bytes, "<0x", 3) != 0 || piece.bytes[5] != '>') return -1;
    int high = hex_digit(piece.bytes[3]), low = hex_digit(piece.bytes[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t sentencepiece_spell(enum token_kind kind, struct gguf_string piece, uint8_t *bytes) {
    if (kind == TOKEN_BYTE) {
        int byte = byte_of(piece);
        if (byte < 0) return SIZE_MAX;
        bytes[0] = (uint8_t)byte;
        return 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < piece.length; n++) {
        bool is_mark = piece.length - i >= MARK_BYTES && memcmp(piece.bytes + i, mark, MARK_BYTES) == 0;
        bytes[n] = is_mark ? ' ' : (uint8_t)piece.bytes[i];
        i += is_mark ? MARK_BYTES : 1;
    }
    return n;
}

static int read_unknown(token_id *unknown, const struct vocabulary *vocabulary, const struct gguf *file) {
    TRY(vocabulary_read_id(vocabulary, file, "tokenizer.ggml.unknown_token_id", unknown));
    for (uint32_t id = 0; *unknown < 0 && id < vocabulary->n; id++)
        if (vocabulary->kinds[id] == TOKEN_UNKNOWN) *unknown = (token_id)id;
    return 0;
}

int sentencepiece_fallback_read(struct sentencepiece_fallback *fallback, const struct vocabulary *vocabulary,
                                const struct gguf *file) {
    int missing = -1;
    for (int byte = 0; byte < 256; byte++) {
        char piece[7];
        (void)snprintf(piece, sizeof piece, "<0x%02X>", (unsigned)byte);
        token_id id = vocabulary_find(vocabulary, piece, 6);
        bool is_byte = id >= 0 && vocabulary->kinds[id] == TOKEN_BYTE;
        fallback->of_byte[byte] = is_byte ? id : -1;
        if (!is_byte && missing < 0) missing = byte;
    }
    TRY(read_unknown(&fallback->unknown, vocabulary, file));
    if (missing >= 0 && fallback->unknown < 0)
        return ERR(CORRUPT, "the vocabulary has neither a byte token <0x%02X> nor an unknown token",
                   (unsigned)missing);
    return 0;
}

int sentencepiece_mark(const char *text, size_t length, bool adds_space, char **marked, size_t *n_marked) {
    size_t n_spaces = adds_space;
    for (size_t i = 0; i < length; i++) n_spaces += text[i] == ' ';
    size_t total = length + adds_space + n_spaces * (MARK_BYTES - 1);
    *n_marked = 0;
    *marked = mem_alloc(total, 1);
    if (*marked == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < length + adds_space; i++) {
        char c = i < adds_space ? ' ' : text[i - adds_space];
        size_t n = c == ' ' ? MARK_BYTES : 1;
        memcpy(*marked + *n_marked, c == ' ' ? mark : &c, n);
        *n_marked += n;
    }
    return 0;
}

bool sentencepiece_is_ordinary(const struct vocabulary *vocabulary, token_id id) {
    return vocabulary->kinds[id] == TOKEN_NORMAL || vocabulary->kinds[id] == TOKEN_USER_DEFINED;
}

int sentencepiece_split(const struct vocabulary *vocabulary, const char *word, size_t length,
                        const struct token_list *list, struct merge_work *work) {
    size_t most = token_list_room(list, vocabulary->longest_piece),
           n_known = 0; /* unknown ones may become one */
    TRY(merge_begin(work, length));
    for (size_t at = 0; at < length;) {
        size_t n = utf8_length((uint8_t)word[at]);
        token_id id = vocabulary_find(vocabulary, word + at, n);
        if (id >= 0 && !sentencepiece_is_ordinary(vocabulary, id)) id = -1;
        merge_append(work, id, at, at + n);
        at += n;
        n_known += id >= 0;
        if (n_known > most) return token_list_too_large(list);
    }
    return 0;
}

/* True if every byte of the symbol has a token: then they are appended. */
static int append_bytes(const struct sentencepiece_fallback *fallback, const char *bytes, size_t n,
                        struct token_list *list, bool *appended) {
    *appended = false;
    for (size_t i = 0; i < n; i++)
        if (fallback->of_byte[(uint8_t)bytes[i]] < 0) return 0;
    for (size_t i = 0; i < n; i++) TRY(token_list_append(list, fallback->of_byte[(uint8_t)bytes[i]]));
    *appended = true;
    return 0;
}

int sentencepiece_append(const struct sentencepiece_fallback *fallback, const char *word,
                         const struct merge_work *work, struct token_list *list) {
    bool was_unknown = false;
    const struct merge_symbol *symbol = NULL;
    for (uint32_t at = 0; at != MERGE_END; at = symbol->next) {
        symbol = &work->symbols[at];
        bool known = symbol->id >= 0;
        if (known)
            TRY(token_list_append(list, symbol->id));
        else
            TRY(append_bytes(fallback, word + symbol->begin, symbol->end - symbol->begin, list, &known));
        if (!known && !was_unknown) TRY(token_list_append(list, fallback->unknown));
        was_unknown = !known;
    }
    return 0;
}
