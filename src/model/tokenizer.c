#include "model/tokenizer.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/quote.h"
#include "model/special_set.h"
#include "model/tokenizer_model.h"

#define X(name) extern const struct tokenizer_model tokenizer_##name;
TOKENIZER_LIST(X)
#undef X

static const struct tokenizer_model *const models[] = {
#define X(name) &tokenizer_##name,
    TOKENIZER_LIST(X)
#undef X
};

#define X(name) ", " #name
static const char model_names[] = TOKENIZER_LIST(X);
#undef X

enum { ENDS_MAX = 16 };

struct tokenizer {
    struct vocabulary vocabulary;
    const struct tokenizer_model *model;
    void *state; /* the model's */
    struct tokenizer_traits traits;
    struct special_set always;  /* user-defined tokens: text, wherever it comes from */
    struct special_set special; /* those and the control tokens: only where the caller parses them */
    token_id bos, eos;
    bool adds_bos;
    token_id ends[ENDS_MAX];
    unsigned n_ends;
};

int token_list_too_large(const struct token_list *list) {
    return ERR(TOO_LARGE,
               "the prompt has more than %zu tokens, which is all that the context holds (shorten it)",
               list->most);
}

size_t token_list_room(const struct token_list *list, size_t longest) {
    size_t left = list->most > list->n ? list->most - list->n : 0, room;
    return list->most == 0 || __builtin_mul_overflow(left, longest, &room) ? SIZE_MAX : room;
}

int token_list_append(struct token_list *list, token_id id) {
    if (list->most != 0 && list->n >= list->most) return token_list_too_large(list);
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

static int find_model(struct tokenizer *tokenizer, const struct gguf *file) {
    struct gguf_string name;
    int found = gguf_get_string(file, "tokenizer.ggml.model", &name);
    if (found < 0) return found;
    if (found == 0)
        return ERR(CORRUPT, "the file does not say what kind its tokenizer is (tokenizer.ggml.model)");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strlen(models[i]->name) == name.length && memcmp(models[i]->name, name.bytes, name.length) == 0)
            tokenizer->model = models[i];
    if (tokenizer->model == NULL)
        return ERR(UNSUPPORTED, "tokenizer.ggml.model '%s' does not run here; these do: %s", QUOTE(name),
                   model_names + 2);
    return 0;
}

static void add_end(struct tokenizer *tokenizer, token_id id) {
    if (id < 0 || tokenizer_is_end(tokenizer, id)) return;
    ASSERT(tokenizer->n_ends < ENDS_MAX);
    tokenizer->ends[tokenizer->n_ends++] = id;
}

/* Files often name one end only, while the model also stops with the end of a turn. */
static const char *const end_names[] = {
    "<|im_end|>",    "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>",
    "<end_of_turn>", "<turn|>",    "</s>",
};

/* Early files of Gemma mark <end_of_turn> as user-defined, so that any text could end a turn. */
static void add_named_ends(struct tokenizer *tokenizer) {
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++) {
        token_id id = tokenizer_find(tokenizer, end_names[i]);
        if (id < 0) continue;
        uint8_t *kind = &tokenizer->vocabulary.kinds[id];
        if (*kind == TOKEN_USER_DEFINED) *kind = TOKEN_CONTROL;
        if (*kind == TOKEN_CONTROL) add_end(tokenizer, id);
    }
}

static int read_named_tokens(struct tokenizer *tokenizer, const struct gguf *file) {
    token_id eot, eom;
    TRY(vocabulary_read_id(&tokenizer->vocabulary, file, "tokenizer.ggml.bos_token_id", &tokenizer->bos));
    TRY(vocabulary_read_id(&tokenizer->vocabulary, file, "tokenizer.ggml.eos_token_id", &tokenizer->eos));
    TRY(vocabulary_read_id(&tokenizer->vocabulary, file, "tokenizer.ggml.eot_token_id", &eot));
    TRY(vocabulary_read_id(&tokenizer->vocabulary, file, "tokenizer.ggml.eom_token_id", &eom));
    add_end(tokenizer, tokenizer->eos);
    add_end(tokenizer, eot);
    add_end(tokenizer, eom);
    add_named_ends(tokenizer);
    return 0;
}

static int read_adds_bos(struct tokenizer *tokenizer, const struct gguf *file) {
    int found = gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &tokenizer->adds_bos);
    if (found < 0) return found;
    if (found == 0) tokenizer->adds_bos = tokenizer->traits.adds_bos;
    if (tokenizer->bos < 0) tokenizer->adds_bos = false;
    return 0;
}

static int read_all(struct tokenizer *tokenizer, const struct gguf *file) {
    TRY(find_model(tokenizer, file));
    TRY(vocabulary_open(&tokenizer->vocabulary, file, tokenizer->model->spell));
    TRY(read_named_tokens(tokenizer, file));
    TRY(tokenizer->model->open(&tokenizer->state, &tokenizer->vocabulary, file, &tokenizer->traits));
    TRY(read_adds_bos(tokenizer, file));
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
    if (tokenizer->model != NULL) tokenizer->model->close(tokenizer->state);
    vocabulary_close(&tokenizer->vocabulary);
    mem_free(tokenizer);
}

/* --- encode --- */

struct encoding {
    const struct tokenizer *tokenizer;
    struct token_list *list;
    const struct special_set *set; /* what is parsed */
    const size_t *guards;          /* rising offsets where no control token begins */
    size_t n_guards;
    struct merge_work work;
};

static int encode_plain(struct encoding *encoding, const char *text, size_t length) {
    if (length == 0) return 0;
    const struct tokenizer *tokenizer = encoding->tokenizer;
    return tokenizer->model->encode(tokenizer->state, text, length, &encoding->work, encoding->list);
}

/* How much white space behind a special token belongs to it. */
static size_t stripped(const struct tokenizer *tokenizer, token_id id, const char *text, size_t length) {
    static const char *const exceptions[] = {"<unk>", "<s>", "<|endoftext|>"}; /* Phi-3's */
    if (!tokenizer->traits.strips_after_special) return 0;
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
        if (tokenizer_find(tokenizer, exceptions[i]) == id) return 0;
    size_t n = 0;
    while (n < length && memchr(" \t\n\v\f\r", text[n], 6) != NULL) n++;
    return n;
}

/* The special token that the text begins with at `at`, or -1. */
static token_id match(const struct encoding *encoding, const char *text, size_t length, size_t at,
                      bool is_guarded, size_t *matched) {
    const struct special_set *set = is_guarded ? &encoding->tokenizer->always : encoding->set;
    return special_set_match(set, &encoding->tokenizer->vocabulary, text + at, length - at, matched);
}

static int encode_parts(struct encoding *encoding, const char *text, size_t length) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    size_t begin = 0, at = 0, guard = 0, matched = 0;
    while (encoding->set->n > 0 && at < length) {
        while (guard < encoding->n_guards && encoding->guards[guard] < at) guard++;
        bool is_guarded = guard < encoding->n_guards && encoding->guards[guard] == at;
        token_id id = match(encoding, text, length, at, is_guarded, &matched);
        if (id < 0) {
            at++;
            continue;
        }
        TRY(encode_plain(encoding, text + begin, at - begin));
        TRY(token_list_append(encoding->list, id));
        at += matched;
        begin = at += stripped(tokenizer, id, text + at, length - at);
    }
    return encode_plain(encoding, text + begin, length - begin);
}

static int encode(struct encoding encoding, const char *text, size_t length) {
    enum { TEXT_MAX = 1 << 30 };
    if (length > TEXT_MAX)
        return ERR(TOO_LARGE, "a text of %zu bytes; at most %d are encoded at once", length, TEXT_MAX);
    size_t valid = utf8_valid_prefix(text, length);
    if (valid < length) return ERR(INVALID, "the text is not UTF-8 at byte %zu", valid);
    const size_t n_before = encoding.list->n;
    int result = encode_parts(&encoding, text, length);
    merge_work_free(&encoding.work);
    if (result < 0) encoding.list->n = n_before;
    return result;
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool parse_special,
                     struct token_list *list) {
    const struct special_set *set = parse_special ? &tokenizer->special : &tokenizer->always;
    return encode((struct encoding){.tokenizer = tokenizer, .list = list, .set = set}, text, length);
}

int tokenizer_encode_guarded(const struct tokenizer *tokenizer, const char *text, size_t length,
                             const size_t *guards, size_t n_guards, struct token_list *list) {
    struct encoding encoding = {.tokenizer = tokenizer,
                                .list = list,
                                .set = &tokenizer->special,
                                .guards = guards,
                                .n_guards = n_guards};
    return encode(encoding, text, length);
}

bool tokenizer_spells_control(const struct tokenizer *tokenizer, const char *text, size_t length) {
    size_t matched;
    token_id id = special_set_match(&tokenizer->special, &tokenizer->vocabulary, text, length, &matched);
    return id >= 0 && tokenizer->vocabulary.kinds[id] != TOKEN_USER_DEFINED;
}

/* --- decode --- */

static bool has(const struct tokenizer *tokenizer, token_id id) {
    return id >= 0 && (uint32_t)id < tokenizer->vocabulary.n;
}

struct gguf_string tokenizer_bytes(const struct tokenizer *tokenizer, token_id id) {
    const struct vocabulary *vocabulary = &tokenizer->vocabulary;
    if (!has(tokenizer, id) || vocabulary->kinds[id] == TOKEN_CONTROL) return (struct gguf_string){"", 0};
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

const char *tokenizer_model_name(const struct tokenizer *tokenizer) { return tokenizer->model->name; }

const char *tokenizer_rule_name(const struct tokenizer *tokenizer) { return tokenizer->traits.rule_name; }
