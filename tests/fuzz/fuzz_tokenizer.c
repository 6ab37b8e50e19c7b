/* Arbitrary text through tiny vocabularies: refused as no UTF-8, or encoded and decoded to the same text. The
 * first byte says which vocabulary and whether special tokens are parsed. Then the same bytes as token ids:
 * any stream decodes to whole characters. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"
#include "model/tokenizer.h"

#include "../unit/tiny_sentencepiece.h"
#include "../unit/tiny_vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { N_RULES = 12, N_SENTENCEPIECES = 4, N_TOKENIZERS = N_RULES + N_SENTENCEPIECES };

static const struct tiny_sentencepiece sentencepieces[N_SENTENCEPIECES] = {
    {0},
    {.no_space_prefix = true, .piece_of_hole = "d_a", .kind_of_hole = 1},
    {.kind_of_bytes = 1},
    {.model = "gemma4", .no_space_prefix = true, .piece_of_hole = "\n\n", .kind_of_hole = 1},
};

/* Opened by the first input and kept. */
static struct tokenizer *tokenizers[N_TOKENIZERS];

static void open_tokenizers(void) {
    static const char *const rules[N_RULES] = {"gpt-2",  "smollm", "llama-bpe",   "qwen2",
                                               "qwen35", "tekken", "gpt-4o",      "deepseek-llm",
                                               "falcon", "bloom",  "deepseek-v3", "bailingmoe"};
    static struct gguf_writer writers[N_TOKENIZERS];
    static struct gguf *files[N_TOKENIZERS];
    if (tokenizers[0] != NULL) return;
    for (unsigned i = 0; i < N_TOKENIZERS; i++) {
        if (i < N_RULES)
            put_tiny_vocabulary(&writers[i], &(struct tiny_vocabulary){.pre = rules[i]});
        else
            put_tiny_sentencepiece(&writers[i], &sentencepieces[i - N_RULES]);
        ASSERT(gguf_open_bytes(&files[i], writers[i].bytes, writers[i].length, "tiny.gguf") == 0);
        ASSERT(tokenizer_open(&tokenizers[i], files[i]) == 0);
    }
}

/* What is still to be spelled of a text. */
struct rest {
    const char *text;
    size_t length;
};

static void take(struct rest *rest, const char *bytes, size_t n) {
    ASSERT(n <= rest->length && memcmp(bytes, rest->text, n) == 0);
    rest->text += n;
    rest->length -= n;
}

/* The bytes of a token of SentencePiece's kind: a space is one, or U+2581. */
static void take_marked(struct rest *rest, struct gguf_string bytes) {
    static const char mark[] = "\xe2\x96\x81";
    for (size_t i = 0; i < bytes.length; i++) {
        bool is_mark = bytes.bytes[i] == ' ' && rest->length >= 3 && memcmp(rest->text, mark, 3) == 0;
        take(rest, is_mark ? mark : bytes.bytes + i, is_mark ? 3 : 1);
    }
}

/* The ids spell the text: special tokens by their piece, others by their bytes. */
static void check_ids(const struct tokenizer *tokenizer, const struct tiny_sentencepiece *sentencepiece,
                      const struct token_list *list, struct rest rest, bool parse_special) {
    bool adds_space = sentencepiece != NULL && !sentencepiece->no_space_prefix, is_added = false;
    for (size_t i = 0; i < list->n; i++) {
        token_id id = list->ids[i];
        enum token_kind kind = tokenizer_kind(tokenizer, id);
        bool is_named = kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN;
        ASSERT(!is_named || parse_special);
        struct gguf_string part = is_named ? tokenizer_piece(tokenizer, id) : tokenizer_bytes(tokenizer, id);
        ASSERT(part.length > 0);
        if (is_named || kind == TOKEN_USER_DEFINED) {
            take(&rest, part.bytes, part.length);
            is_added = false;
            continue;
        }
        if (adds_space && !is_added) {
            ASSERT(part.bytes[0] == ' ');
            part.bytes++;
            part.length--;
            is_added = true;
        }
        if (sentencepiece != NULL)
            take_marked(&rest, part);
        else
            take(&rest, part.bytes, part.length);
    }
    ASSERT(rest.length == 0);
}

static void check_stream(const struct tokenizer *tokenizer, const uint8_t *bytes, size_t length) {
    struct tokenizer_stream stream = {0};
    char text[TOKENIZER_STEP_MAX];
    for (size_t i = 0; i + 1 < length; i += 2) {
        token_id id = (bytes[i] | bytes[i + 1] << 8) % ((token_id)tokenizer_n_tokens(tokenizer) + 2) -
                      1; /* also one below and one above */
        size_t n = tokenizer_decode_step(tokenizer, &stream, id, text);
        ASSERT(n <= sizeof text && utf8_valid_prefix(text, n) == n && stream.n_held < UTF8_MAX);
    }
    size_t n = tokenizer_decode_end(&stream, text);
    ASSERT(utf8_valid_prefix(text, n) == n && stream.n_held == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    open_tokenizers();
    if (length == 0) return 0;
    unsigned which = bytes[0] % N_TOKENIZERS;
    const struct tokenizer *tokenizer = tokenizers[which];
    const struct tiny_sentencepiece *sentencepiece =
        which < N_RULES ? NULL : &sentencepieces[which - N_RULES];
    bool parse_special = (bytes[0] & 0x80) != 0;
    const char *text = (const char *)bytes + 1;
    struct token_list list = {0};
    int result = tokenizer_encode(tokenizer, text, length - 1, parse_special, &list);
    bool is_utf8 = utf8_valid_prefix(text, length - 1) == length - 1;
    ASSERT(result == (is_utf8 ? 0 : ERR_INVALID));
    /* without byte tokens the unknown one stands for anything */
    if (result == 0 && (sentencepiece == NULL || sentencepiece->kind_of_bytes == 0))
        check_ids(tokenizer, sentencepiece, &list, (struct rest){text, length - 1}, parse_special);
    token_list_free(&list);
    check_stream(tokenizer, bytes + 1, length - 1);
    return 0;
}
