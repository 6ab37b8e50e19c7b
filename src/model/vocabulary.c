#include "model/vocabulary.h"

#include <string.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/quote.h"

/* `tag` is the other half of the hash, so that most wrong places are passed without looking at their piece.
 */
struct vocabulary_slot {
    uint32_t tag;
    token_id id_plus_1; /* 0: free */
};

/* The place of a piece: its own, or the free one where it would go. At most half of the table is in use. */
static struct vocabulary_slot *place(const struct vocabulary *vocabulary, const char *piece, size_t length,
                                     uint32_t *tag) {
    uint64_t hash = XXH3_64bits(piece, length);
    *tag = (uint32_t)(hash >> 32);
    size_t at = (size_t)hash & vocabulary->mask;
    for (;; at = (at + 1) & vocabulary->mask) {
        struct vocabulary_slot *slot = &vocabulary->slots[at];
        if (slot->id_plus_1 == 0) return slot;
        if (slot->tag != *tag) continue;
        const struct gguf_string *own = &vocabulary->pieces[slot->id_plus_1 - 1];
        if (own->length == length && memcmp(own->bytes, piece, length) == 0) return slot;
    }
}

token_id vocabulary_find(const struct vocabulary *vocabulary, const char *piece, size_t length) {
    uint32_t tag;
    return place(vocabulary, piece, length, &tag)->id_plus_1 - 1;
}

/* The most that one decoding step can write: each byte that is no UTF-8 becomes U+FFFD, 3 bytes, and so does
 * an unfinished character held back from the step before. Only tokens so long that it could matter are
 * decoded. */
static bool fits_in_a_step(const uint8_t *bytes, size_t n) {
    enum { REPLACEMENT = 3 };
    if (n > TOKENIZER_STEP_MAX) return false;
    if ((n + 1) * REPLACEMENT <= TOKENIZER_STEP_MAX) return true;
    size_t written = REPLACEMENT, at = 0;
    while (at < n) {
        size_t valid = utf8_valid_prefix((const char *)bytes + at, n - at);
        written += valid;
        at += valid;
        if (at < n) written += REPLACEMENT;
        at++;
    }
    return written <= TOKENIZER_STEP_MAX;
}

static int read_kinds(struct vocabulary *vocabulary, const struct gguf *file) {
    const struct gguf_value *types = gguf_find(file, "tokenizer.ggml.token_type");
    memset(vocabulary->kinds, TOKEN_NORMAL, vocabulary->n);
    if (types == NULL) return 0;
    if (types->type != GGUF_ARRAY || (types->element_type != GGUF_I32 && types->element_type != GGUF_U32))
        return ERR(CORRUPT, "tokenizer.ggml.token_type is not an array of 32-bit integers");
    if (types->length != vocabulary->n)
        return ERR(CORRUPT, "tokenizer.ggml.token_type has %llu entries for %u tokens",
                   (unsigned long long)types->length, vocabulary->n);
    for (uint32_t id = 0; id < vocabulary->n; id++) {
        int64_t kind = gguf_array_int(types, id);
        if (kind < TOKEN_NORMAL || kind > TOKEN_BYTE)
            return ERR(CORRUPT, "tokenizer.ggml.token_type[%u] is %lld, not 1 to 6", id, (long long)kind);
        vocabulary->kinds[id] = (uint8_t)kind;
    }
    return 0;
}

/* Other tokens than these say something about text, but are none. */
static bool has_text(enum token_kind kind) {
    return kind == TOKEN_NORMAL || kind == TOKEN_USER_DEFINED || kind == TOKEN_BYTE;
}

static int read_pieces(struct vocabulary *vocabulary, vocabulary_spell spell) {
    uint32_t used = 0;
    for (uint32_t id = 0; id < vocabulary->n; id++) {
        struct gguf_string piece = vocabulary->pieces[id];
        vocabulary->starts[id] = used;
        enum token_kind kind = vocabulary->kinds[id];
        size_t n_bytes = has_text(kind) ? spell(kind, piece, vocabulary->bytes + used) : 0;
        if (n_bytes == SIZE_MAX)
            return ERR(CORRUPT, "token %u '%s' is marked as a byte, but not spelled <0x00> to <0xFF>", id,
                       QUOTE(piece));
        if (!fits_in_a_step(vocabulary->bytes + used, n_bytes))
            return ERR(UNSUPPORTED, "token %u '%s' is %zu bytes long; at most %d bytes of text are supported",
                       id, QUOTE(piece), n_bytes, TOKENIZER_STEP_MAX);
        used += (uint32_t)n_bytes;
        if (piece.length == 0) continue; /* a hole in the numbering; nothing spells it */
        if (piece.length > vocabulary->longest_piece) vocabulary->longest_piece = piece.length;
        uint32_t tag;
        struct vocabulary_slot *slot = place(vocabulary, piece.bytes, piece.length, &tag);
        if (slot->id_plus_1 != 0)
            return ERR(CORRUPT, "tokens %d and %u are both '%s'", slot->id_plus_1 - 1, id, QUOTE(piece));
        *slot = (struct vocabulary_slot){.tag = tag, .id_plus_1 = (token_id)id + 1};
    }
    vocabulary->starts[vocabulary->n] = used;
    return 0;
}

static int find_pieces(struct vocabulary *vocabulary, const struct gguf *file, size_t *total) {
    const struct gguf_value *tokens = gguf_find(file, "tokenizer.ggml.tokens");
    if (tokens == NULL) return ERR(CORRUPT, "the file has no vocabulary (tokenizer.ggml.tokens)");
    if (tokens->type != GGUF_ARRAY || tokens->element_type != GGUF_STRING)
        return ERR(CORRUPT, "tokenizer.ggml.tokens is not an array of strings");
    if (tokens->length == 0) return ERR(CORRUPT, "tokenizer.ggml.tokens is empty");
    if (tokens->length >= INT32_MAX)
        return ERR(TOO_LARGE, "tokenizer.ggml.tokens has %llu entries", (unsigned long long)tokens->length);
    vocabulary->pieces = tokens->strings;
    vocabulary->n = (uint32_t)tokens->length;
    for (uint32_t id = 0; id < vocabulary->n; id++) *total += vocabulary->pieces[id].length;
    if (*total > UINT32_MAX) return ERR(TOO_LARGE, "the vocabulary is %zu bytes long", *total);
    return 0;
}

int vocabulary_open(struct vocabulary *vocabulary, const struct gguf *file, vocabulary_spell spell) {
    *vocabulary = (struct vocabulary){0};
    size_t total = 0, capacity = 8;
    TRY(find_pieces(vocabulary, file, &total));
    while (capacity < 2 * (size_t)vocabulary->n) capacity *= 2;
    vocabulary->mask = capacity - 1;
    vocabulary->slots = mem_alloc(capacity, sizeof *vocabulary->slots);
    vocabulary->kinds = mem_alloc(vocabulary->n, 1);
    vocabulary->starts = mem_alloc((size_t)vocabulary->n + 1, sizeof *vocabulary->starts);
    vocabulary->bytes = mem_alloc(total, 1);
    int result = 0;
    if (vocabulary->slots == NULL || vocabulary->kinds == NULL || vocabulary->starts == NULL ||
        vocabulary->bytes == NULL)
        result = ERR_NO_MEMORY;
    if (result == 0) result = read_kinds(vocabulary, file);
    if (result == 0) result = read_pieces(vocabulary, spell);
    if (result < 0) vocabulary_close(vocabulary);
    return result;
}

void vocabulary_close(struct vocabulary *vocabulary) {
    mem_free(vocabulary->slots);
    mem_free(vocabulary->kinds);
    mem_free(vocabulary->starts);
    mem_free(vocabulary->bytes);
    *vocabulary = (struct vocabulary){0};
}

int vocabulary_read_id(const struct vocabulary *vocabulary, const struct gguf *file, const char *key,
                       token_id *id) {
    uint32_t value;
    *id = -1;
    int found = gguf_get_u32(file, key, &value);
    if (found <= 0) return found;
    if (value >= vocabulary->n)
        return ERR(CORRUPT, "%s is %u, but the vocabulary has %u tokens", key, value, vocabulary->n);
    *id = (token_id)value;
    return 0;
}
