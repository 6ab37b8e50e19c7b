/* Byte-level BPE: text is cut into words by the pre-tokenisation rule that the file names, each word's bytes
 * are written in the GPT-2 byte alphabet and merged by rank. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/bpe.h"
#include "model/byte_alphabet.h"
#include "model/pretokenizer.h"
#include "model/quote.h"
#include "model/tokenizer_model.h"

struct gpt2 {
    const struct vocabulary *vocabulary;
    const struct pretokenizer_rule *rule;
    struct pretokenizer *pretokenizer;
    struct bpe bpe;
    token_id of_byte[256]; /* -1 where the vocabulary has no token of that byte */
};

/* Added tokens are plain text: the user-defined ones, and in some vocabularies (Command R) a few of the
 * normal kind, which show it by characters that the alphabet does not have. */
static size_t gpt2_spell(enum token_kind kind, struct gguf_string piece, uint8_t *bytes) {
    if (kind != TOKEN_USER_DEFINED) {
        size_t n = byte_alphabet_read(piece.bytes, piece.length, bytes);
        if (n != SIZE_MAX) return n;
    }
    memcpy(bytes, piece.bytes, piece.length);
    return piece.length;
}

static int read_rule(struct gpt2 *gpt2, const struct gguf *file, struct tokenizer_traits *traits) {
    struct gguf_string name;
    int found = gguf_get_string(file, "tokenizer.ggml.pre", &name);
    if (found < 0) return found;
    if (found == 0)
        return ERR(UNSUPPORTED,
                   "the file names no pre-tokenisation rule (tokenizer.ggml.pre); convert it again");
    gpt2->rule = pretokenizer_find(name, &traits->rule_name);
    if (gpt2->rule == NULL)
        return ERR(UNSUPPORTED, "tokenizer.ggml.pre '%s' is a pre-tokenisation rule that does not run here",
                   QUOTE(name));
    traits->adds_bos = gpt2->rule->adds_bos;
    return pretokenizer_open(&gpt2->pretokenizer, gpt2->rule);
}

static void find_bytes(struct gpt2 *gpt2) {
    for (unsigned byte = 0; byte < 256; byte++) {
        char piece[2];
        size_t length = byte_alphabet_spell(&(uint8_t){(uint8_t)byte}, 1, piece);
        token_id id = vocabulary_find(gpt2->vocabulary, piece, length);
        bool is_ordinary = id >= 0 && gpt2->vocabulary->kinds[id] != TOKEN_CONTROL;
        gpt2->of_byte[byte] = is_ordinary ? id : -1;
    }
}

static int gpt2_open(void **state, const struct vocabulary *vocabulary, const struct gguf *file,
                     struct tokenizer_traits *traits) {
    struct gpt2 *gpt2 = *state = mem_alloc(1, sizeof *gpt2);
    if (gpt2 == NULL) return ERR_NO_MEMORY;
    gpt2->vocabulary = vocabulary;
    TRY(read_rule(gpt2, file, traits));
    find_bytes(gpt2);
    return bpe_open(&gpt2->bpe, vocabulary, file);
}

static void gpt2_close(void *state) {
    struct gpt2 *gpt2 = state;
    if (gpt2 == NULL) return;
    pretokenizer_close(gpt2->pretokenizer);
    bpe_close(&gpt2->bpe);
    mem_free(gpt2);
}

struct encoding {
    const struct gpt2 *gpt2;
    struct merge_work *work;
    struct token_list *list;
};

/* A word that is in the vocabulary as a whole. A control token is never spelled by ordinary text. */
static token_id whole_word(const struct gpt2 *gpt2, const char *word, size_t length) {
    char spelled[2 * TOKENIZER_STEP_MAX];
    if (length > TOKENIZER_STEP_MAX) return -1;
    size_t n = byte_alphabet_spell((const uint8_t *)word, length, spelled);
    token_id id = n > gpt2->vocabulary->longest_piece ? -1 : vocabulary_find(gpt2->vocabulary, spelled, n);
    return id >= 0 && gpt2->vocabulary->kinds[id] == TOKEN_NORMAL ? id : -1;
}

/* A byte without a token is left out, as both PyPI tokenizers and llama.cpp do. */
static int encode_word(void *receiver, const char *word, size_t length) {
    const struct encoding *encoding = receiver;
    const struct gpt2 *gpt2 = encoding->gpt2;
    struct merge_work *work = encoding->work;
    if (gpt2->rule->ignores_merges) {
        token_id id = whole_word(gpt2, word, length);
        if (id >= 0) return token_list_append(encoding->list, id);
    }
    size_t most = token_list_room(encoding->list, gpt2->vocabulary->longest_piece);
    TRY(merge_begin(work, length));
    for (size_t i = 0; i < length; i++) {
        token_id id = gpt2->of_byte[(uint8_t)word[i]];
        if (id >= 0) merge_append(work, id, i, i + 1);
        if (work->n > most) return token_list_too_large(encoding->list);
    }
    if (work->n == 0) return 0;
    merge_run(work, bpe_look_up, &gpt2->bpe);
    for (uint32_t at = 0; at != MERGE_END; at = work->symbols[at].next)
        TRY(token_list_append(encoding->list, work->symbols[at].id));
    return 0;
}

static int gpt2_encode(const void *state, const char *text, size_t length, struct merge_work *work,
                       struct token_list *list) {
    struct encoding encoding = {.gpt2 = state, .work = work, .list = list};
    return pretokenizer_cut(encoding.gpt2->pretokenizer, text, length, encode_word, &encoding);
}

const struct tokenizer_model tokenizer_gpt2 = {
    .name = "gpt2", .spell = gpt2_spell, .open = gpt2_open, .close = gpt2_close, .encode = gpt2_encode};
