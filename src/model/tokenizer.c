#include "model/tokenizer.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/bpe.h"
#include "model/byte_alphabet.h"
#include "model/pretokenizer.h"
#include "model/quote.h"
#include "model/special_set.h"
#include "model/utf8.h"
#include "model/vocabulary.h"

enum { ENDS_MAX = 16 };

struct tokenizer {
    struct vocabulary vocabulary;
    struct bpe bpe;
    const struct pretokenizer_rule *rule;
    const char *rule_name;
    struct pretokenizer *pretokenizer;
    struct special_set always;  /* user-defined tokens: text, wherever it comes from */
    struct special_set special; /* those and the control tokens: only where the caller parses them */
    token_id bos, eos;
    bool adds_bos;
    token_id ends[ENDS_MAX];
    unsigned n_ends;
};

int token_list_append(struct token_list *list, token_id id) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity < 32 ? 64 : list->capacity * 2;
        token_id *ids = mem_realloc(list->ids, capacity, sizeof *ids);
        if (ids == NULL) return ERR_NO_MEMORY;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return 0;
}

void token_list_free(struct token_list *list) {
    mem_free(list->ids);
    *list = (struct token_list){0};
}

/* --- open --- */

static int read_rule(struct tokenizer *tokenizer, const struct gguf *file) {
    struct gguf_string name;
    int found = gguf_get_string(file, "tokenizer.ggml.model", &name);
    if (found < 0) return found;
    if (found == 0)
        return ERR(CORRUPT, "the file does not say what kind its tokenizer is (tokenizer.ggml.model)");
    if (name.length != 4 || memcmp(name.bytes, "gpt2", 4) != 0)
        return ERR(UNSUPPORTED, "tokenizer.ggml.model '%s': only byte-level BPE ('gpt2') runs here",
                   QUOTE(name));
    found = gguf_get_string(file, "tokenizer.ggml.pre", &name);
    if (found < 0) return found;
    if (found == 0)
        return ERR(UNSUPPORTED,
                   "the file names no pre-tokenisation rule (tokenizer.ggml.pre); convert it again");
    tokenizer->rule = pretokenizer_find(name, &tokenizer->rule_name);
    if (tokenizer->rule == NULL)
        return ERR(UNSUPPORTED, "tokenizer.ggml.pre '%s' is a pre-tokenisation rule that does not run here",
                   QUOTE(name));
    return pretokenizer_open(&tokenizer->pretokenizer, tokenizer->rule);
}

/* A merge is "left right"; neither half has a space in the byte alphabet, but the left one may start with
 * one. */
static int read_merge(struct tokenizer *tokenizer, uint32_t rank, struct gguf_string text) {
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    const char *space = text.length < 3 ? NULL : memchr(text.bytes + 1, ' ', text.length - 2);
    if (space == NULL)
        return ERR(CORRUPT, "tokenizer.ggml.merges[%u] '%s' is not two pieces", rank, QUOTE(text));
    size_t n_left = (size_t)(space - text.bytes), n_right = text.length - n_left - 1;
    char joined[2 * TOKENIZER_STEP_MAX];
    token_id result = -1;
    if (n_left + n_right <= sizeof joined) {
        memcpy(joined, text.bytes, n_left);
        memcpy(joined + n_left, space + 1, n_right);
        result = vocabulary_find(vocabulary, joined, n_left + n_right);
    }
    struct bpe_merge merge = {.left = vocabulary_find(vocabulary, text.bytes, n_left),
                              .right = vocabulary_find(vocabulary, space + 1, n_right),
                              .result = result,
                              .rank = rank};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0)
        return ERR(CORRUPT, "tokenizer.ggml.merges[%u] '%s': %s not in the vocabulary", rank, QUOTE(text),
                   merge.left < 0    ? "its left half is"
                   : merge.right < 0 ? "its right half is"
                                     : "what it makes is");
    /* No ordinary text becomes a control token, whatever the file's merges say. */
    if (vocabulary->kinds[merge.result] != TOKEN_CONTROL) bpe_add(&tokenizer->bpe, merge);
    return 0;
}

static int read_merges(struct tokenizer *tokenizer, const struct gguf *file) {
    const struct gguf_value *merges = gguf_find(file, "tokenizer.ggml.merges");
    if (merges == NULL) return ERR(CORRUPT, "the file has no merges (tokenizer.ggml.merges)");
    if (merges->type != GGUF_ARRAY || merges->element_type != GGUF_STRING)
        return ERR(CORRUPT, "tokenizer.ggml.merges is not an array of strings");
    if (merges->length >= BPE_NO_RANK)
        return ERR(TOO_LARGE, "tokenizer.ggml.merges has %llu entries", (unsigned long long)merges->length);
    TRY(bpe_open(&tokenizer->bpe, (size_t)merges->length));
    for (unsigned byte = 0; byte < 256; byte++) {
        char piece[2];
        size_t length = byte_alphabet_spell(&(uint8_t){(uint8_t)byte}, 1, piece);
        token_id id = vocabulary_find(&tokenizer->vocabulary, piece, length);
        bool ordinary = id >= 0 && tokenizer->vocabulary.kinds[id] != TOKEN_CONTROL;
        tokenizer->bpe.of_byte[byte] = ordinary ? id : -1;
    }
    for (uint32_t rank = 0; rank < merges->length; rank++)
        TRY(read_merge(tokenizer, rank, merges->strings[rank]));
    return 0;
}

/* Reads the id of a named token; *id stays -1 if the file names none. */
static int read_id(const struct tokenizer *tokenizer, const struct gguf *file, const char *key,
                   token_id *id) {
    uint32_t value;
    *id = -1;
    int found = gguf_get_u32(file, key, &value);
    if (found <= 0) return found;
    if (value >= tokenizer->vocabulary.n)
        return ERR(CORRUPT, "%s is %u, but the vocabulary has %u tokens", key, value,
                   tokenizer->vocabulary.n);
    *id = (token_id)value;
    return 0;
}

static void add_end(struct tokenizer *tokenizer, token_id id) {
    if (id < 0 || tokenizer_is_end(tokenizer, id)) return;
    ASSERT(tokenizer->n_ends < ENDS_MAX);
    tokenizer->ends[tokenizer->n_ends++] = id;
}

/* Files often name one end only, while the model also stops with the end of a turn. */
static const char *const end_names[] = {
    "<|im_end|>",    "<|eot_id|>", "<|eom_id|>",    "<|end_of_text|>",
    "<|endoftext|>", "<|end|>",    "<end_of_turn>", "</s>",
};

static int read_named_tokens(struct tokenizer *tokenizer, const struct gguf *file) {
    token_id eot, eom;
    TRY(read_id(tokenizer, file, "tokenizer.ggml.bos_token_id", &tokenizer->bos));
    TRY(read_id(tokenizer, file, "tokenizer.ggml.eos_token_id", &tokenizer->eos));
    TRY(read_id(tokenizer, file, "tokenizer.ggml.eot_token_id", &eot));
    TRY(read_id(tokenizer, file, "tokenizer.ggml.eom_token_id", &eom));
    add_end(tokenizer, tokenizer->eos);
    add_end(tokenizer, eot);
    add_end(tokenizer, eom);
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++) {
        token_id id = tokenizer_find(tokenizer, end_names[i]);
        if (id >= 0 && tokenizer->vocabulary.kinds[id] == TOKEN_CONTROL) add_end(tokenizer, id);
    }
    int found = gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &tokenizer->adds_bos);
    if (found < 0) return found;
    if (found == 0) tokenizer->adds_bos = tokenizer->rule->adds_bos;
    if (tokenizer->bos < 0) tokenizer->adds_bos = false;
    return 0;
}

static int read_all(struct tokenizer *tokenizer, const struct gguf *file) {
    TRY(read_rule(tokenizer, file));
    TRY(vocabulary_open(&tokenizer->vocabulary, file));
    TRY(read_merges(tokenizer, file));
    TRY(read_named_tokens(tokenizer, file));
    const unsigned user = 1u << TOKEN_USER_DEFINED, control = 1u << TOKEN_CONTROL | 1u << TOKEN_UNKNOWN;
    TRY(special_set_open(&tokenizer->always, &tokenizer->vocabulary, user));
    return special_set_open(&tokenizer->special, &tokenizer->vocabulary, user | control);
}

int tokenizer_open(struct tokenizer **tokenizer, const struct gguf *file) {
    *tokenizer = NULL;
    struct tokenizer *opened = mem_alloc(1, sizeof *opened);
    if (opened == NULL) return ERR_NO_MEMORY;
    int result = read_all(opened, file);
    if (result < 0) {
        tokenizer_close(opened);
        return result;
    }
    *tokenizer = opened;
    return 0;
}

void tokenizer_close(struct tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    special_set_close(&tokenizer->special);
    special_set_close(&tokenizer->always);
    pretokenizer_close(tokenizer->pretokenizer);
    bpe_close(&tokenizer->bpe);
    vocabulary_close(&tokenizer->vocabulary);
    mem_free(tokenizer);
}

/* --- encode --- */

struct encoding {
    const struct tokenizer *tokenizer;
    struct token_list *list;
    struct bpe_work work;
};

/* A word that is in the vocabulary as a whole. A control token is never spelled by ordinary text. */
static token_id whole_word(const struct tokenizer *tokenizer, const char *word, size_t length) {
    char spelled[2 * TOKENIZER_STEP_MAX];
    if (length > TOKENIZER_STEP_MAX) return -1;
    size_t n = byte_alphabet_spell((const uint8_t *)word, length, spelled);
    token_id id =
        n > tokenizer->vocabulary.longest_piece ? -1 : vocabulary_find(&tokenizer->vocabulary, spelled, n);
    return id >= 0 && tokenizer->vocabulary.kinds[id] == TOKEN_NORMAL ? id : -1;
}

static int encode_word(void *receiver, const char *word, size_t length) {
    struct encoding *encoding = receiver;
    if (encoding->tokenizer->rule->ignores_merges) {
        token_id id = whole_word(encoding->tokenizer, word, length);
        if (id >= 0) return token_list_append(encoding->list, id);
    }
    return bpe_encode(&encoding->tokenizer->bpe, (const uint8_t *)word, length, &encoding->work,
                      encoding->list);
}

static int encode_pieces(struct encoding *encoding, const char *text, size_t length,
                         const struct special_set *set) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    size_t begin = 0, at = 0, matched = 0;
    while (set->n > 0 && at < length) {
        token_id id = special_set_match(set, &tokenizer->vocabulary, text + at, length - at, &matched);
        if (id < 0) {
            at++;
            continue;
        }
        TRY(pretokenizer_cut(tokenizer->pretokenizer, text + begin, at - begin, encode_word, encoding));
        TRY(token_list_append(encoding->list, id));
        begin = at += matched;
    }
    return pretokenizer_cut(tokenizer->pretokenizer, text + begin, length - begin, encode_word, encoding);
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool parse_special,
                     struct token_list *list) {
    enum { TEXT_MAX = 1 << 30 };
    if (length > TEXT_MAX)
        return ERR(TOO_LARGE, "a text of %zu bytes; at most %d are encoded at once", length, TEXT_MAX);
    size_t valid = utf8_valid_prefix(text, length);
    if (valid < length) return ERR(INVALID, "the text is not UTF-8 at byte %zu", valid);
    const size_t n_before = list->n;
    struct encoding encoding = {.tokenizer = tokenizer, .list = list};
    int result =
        encode_pieces(&encoding, text, length, parse_special ? &tokenizer->special : &tokenizer->always);
    bpe_work_free(&encoding.work);
    if (result < 0) list->n = n_before;
    return result;
}

/* --- decode --- */

static bool has(const struct tokenizer *tokenizer, token_id id) {
    return id >= 0 && (uint32_t)id < tokenizer->vocabulary.n;
}

struct gguf_string tokenizer_bytes(const struct tokenizer *tokenizer, token_id id) {
    if (!has(tokenizer, id)) return (struct gguf_string){"", 0};
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    uint32_t start = vocabulary->starts[id];
    return (struct gguf_string){(const char *)vocabulary->bytes + start, vocabulary->starts[id + 1] - start};
}

struct gguf_string tokenizer_piece(const struct tokenizer *tokenizer, token_id id) {
    return has(tokenizer, id) ? tokenizer->vocabulary.pieces[id] : (struct gguf_string){"", 0};
}

static size_t write_replacement(char *text) {
    memcpy(text, "\xef\xbf\xbd", 3);
    return 3;
}

/* One U+FFFD for the longest beginning of a character that goes no further (Unicode, "maximal subpart"). */
static size_t decode_byte(struct tokenizer_stream *stream, uint8_t byte, char *text) {
    size_t written = 0;
    stream->held[stream->n_held++] = byte;
    enum utf8_state state = utf8_state(stream->held, stream->n_held);
    if (state == UTF8_BAD && stream->n_held > 1) {
        written = write_replacement(text);
        stream->held[0] = byte;
        stream->n_held = 1;
        state = utf8_state(stream->held, 1);
    }
    if (state == UTF8_UNFINISHED) return written;
    if (state == UTF8_BAD) {
        written += write_replacement(text + written);
    } else {
        memcpy(text + written, stream->held, stream->n_held);
        written += stream->n_held;
    }
    stream->n_held = 0;
    return written;
}

size_t tokenizer_decode_step(const struct tokenizer *tokenizer, struct tokenizer_stream *stream, token_id id,
                             char *text) {
    struct gguf_string bytes = tokenizer_bytes(tokenizer, id);
    size_t written = 0;
    for (size_t i = 0; i < bytes.length; i++)
        written += decode_byte(stream, (uint8_t)bytes.bytes[i], text + written);
    return written;
}

size_t tokenizer_decode_end(struct tokenizer_stream *stream, char *text) {
    size_t written = stream->n_held > 0 ? write_replacement(text) : 0;
    stream->n_held = 0;
    return written;
}

/* --- questions --- */

uint32_t tokenizer_n_tokens(const struct tokenizer *tokenizer) { return tokenizer->vocabulary.n; }

enum token_kind tokenizer_kind(const struct tokenizer *tokenizer, token_id id) {
    return has(tokenizer, id) ? tokenizer->vocabulary.kinds[id] : TOKEN_UNUSED;
}

token_id tokenizer_bos(const struct tokenizer *tokenizer) { return tokenizer->bos; }
token_id tokenizer_eos(const struct tokenizer *tokenizer) { return tokenizer->eos; }
bool tokenizer_adds_bos(const struct tokenizer *tokenizer) { return tokenizer->adds_bos; }

bool tokenizer_is_end(const struct tokenizer *tokenizer, token_id id) {
    for (unsigned i = 0; i < tokenizer->n_ends; i++)
        if (tokenizer->ends[i] == id) return true;
    return false;
}

token_id tokenizer_find(const struct tokenizer *tokenizer, const char *piece) {
    return vocabulary_find(&tokenizer->vocabulary, piece, strlen(piece));
}

const char *tokenizer_model_name(const struct tokenizer *tokenizer) {
    (void)tokenizer;
    return "gpt2";
}

const char *tokenizer_rule_name(const struct tokenizer *tokenizer) { return tokenizer->rule_name; }
