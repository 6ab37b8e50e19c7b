/* Arbitrary text through a tiny vocabulary: refused as no UTF-8, or encoded and decoded to the same text. The
 * first byte says which rule and whether special tokens are parsed. Then the same bytes as token ids: any
 * stream decodes to whole characters. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "model/tokenizer.h"
#include "model/utf8.h"

#include "../unit/tiny_vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { N_RULES = 4 };

/* Opened by the first input and kept. */
static struct tokenizer *tokenizers[N_RULES];

static void open_tokenizers(void) {
    static const char *const rules[N_RULES] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    static struct gguf_writer writers[N_RULES];
    static struct gguf *files[N_RULES];
    if (tokenizers[0] != NULL) return;
    for (unsigned i = 0; i < N_RULES; i++) {
        put_tiny_vocabulary(&writers[i], &(struct tiny_vocabulary){.pre = rules[i]});
        ASSERT(gguf_open_bytes(&files[i], writers[i].bytes, writers[i].length, "tiny.gguf") == 0);
        ASSERT(tokenizer_open(&tokenizers[i], files[i]) == 0);
    }
}

/* The ids spell the text: control tokens by their piece, others by their bytes. */
static void check_ids(const struct tokenizer *tokenizer, const struct token_list *list, const char *text,
                      size_t length, bool parse_special) {
    size_t at = 0;
    for (size_t i = 0; i < list->n; i++) {
        token_id id = list->ids[i];
        enum token_kind kind = tokenizer_kind(tokenizer, id);
        bool is_named = kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN;
        ASSERT(!is_named || parse_special);
        struct gguf_string part = is_named ? tokenizer_piece(tokenizer, id) : tokenizer_bytes(tokenizer, id);
        ASSERT(part.length > 0 && part.length <= length - at &&
               memcmp(part.bytes, text + at, part.length) == 0);
        at += part.length;
    }
    ASSERT(at == length);
}

static void check_stream(const struct tokenizer *tokenizer, const uint8_t *bytes, size_t length) {
    struct tokenizer_stream stream = {0};
    char text[TOKENIZER_STEP_MAX];
    for (size_t i = 0; i + 1 < length; i += 2) {
        token_id id = (bytes[i] | bytes[i + 1] << 8) % (TINY_N + 2) - 1; /* also one below and one above */
        size_t n = tokenizer_decode_step(tokenizer, &stream, id, text);
        ASSERT(n <= sizeof text && utf8_valid_prefix(text, n) == n && stream.n_held < UTF8_MAX);
    }
    size_t n = tokenizer_decode_end(&stream, text);
    ASSERT(utf8_valid_prefix(text, n) == n && stream.n_held == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    open_tokenizers();
    if (length == 0) return 0;
    const struct tokenizer *tokenizer = tokenizers[bytes[0] % N_RULES];
    bool parse_special = (bytes[0] & 0x80) != 0;
    const char *text = (const char *)bytes + 1;
    struct token_list list = {0};
    int result = tokenizer_encode(tokenizer, text, length - 1, parse_special, &list);
    bool is_utf8 = utf8_valid_prefix(text, length - 1) == length - 1;
    ASSERT(result == (is_utf8 ? 0 : ERR_INVALID));
    if (result == 0) check_ids(tokenizer, &list, text, length - 1, parse_special);
    token_list_free(&list);
    check_stream(tokenizer, bytes + 1, length - 1);
    return 0;
}
