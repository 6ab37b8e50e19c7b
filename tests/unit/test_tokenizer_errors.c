/* Vocabularies that must be refused: the code, and a message of one line that says what and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "model/tokenizer.h"

#include "tiny_vocabulary.h"

static struct gguf_writer writer;

static int open_written(struct gguf **file, struct tokenizer **tokenizer) {
    if (gguf_open_bytes(file, writer.bytes, writer.length, "bad.gguf") < 0) fail_msg("%s", err_message());
    *tokenizer = (struct tokenizer *)(void *)&writer;
    return tokenizer_open(tokenizer, *file);
}

static void assert_refused(int code, const char *const *words, size_t n_words) {
    struct gguf *file;
    struct tokenizer *tokenizer;
    int result = open_written(&file, &tokenizer);
    gguf_close(file);
    if (result != code) fail_msg("%s instead of %s: %s", err_name(result), err_name(code), err_message());
    assert_null(tokenizer);
    for (const char *c = err_message(); *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) fail_msg("control byte in: %s", err_message());
    for (size_t i = 0; i < n_words; i++)
        if (strstr(err_message(), words[i]) == NULL) fail_msg("no '%s' in: %s", words[i], err_message());
}

/* The vocabulary with these fields is refused with `code`, and the message has the words. */
#define REFUSED(code, fields, ...)                                                                           \
    do {                                                                                                     \
        const char *const words_[] = {__VA_ARGS__};                                                          \
        put_tiny_vocabulary(&writer, &(struct tiny_vocabulary)fields);                                       \
        assert_refused(ERR_##code, words_, sizeof words_ / sizeof words_[0]);                                \
    } while (0)
#define FIELDS(...) {__VA_ARGS__}

static void other_kinds_and_rules(void **state) {
    (void)state;
    REFUSED(UNSUPPORTED, FIELDS(.model = "bert"), "tokenizer.ggml.model", "'bert'", "gpt2, llama, gemma4");
    REFUSED(UNSUPPORTED, FIELDS(.model = "gpt2x"), "'gpt2x'");
    REFUSED(UNSUPPORTED, FIELDS(.model = ""), "''");
    REFUSED(UNSUPPORTED, FIELDS(.pre = "no such rule"), "tokenizer.ggml.pre", "'no such rule'");
    REFUSED(UNSUPPORTED, FIELDS(.pre = "gpt-"), "'gpt-'");
    REFUSED(UNSUPPORTED, FIELDS(.pre = "evil\n\x1b[2J"), "'evil");
    REFUSED(UNSUPPORTED,
            FIELDS(.pre = "0123456789012345678901234567890123456789"
                          "0123456789012345678901234567890123456789\xe2\x82\xac\xe2\x82\xac"),
            "56789...'");
    REFUSED(CORRUPT, FIELDS(.no_key = "tokenizer.ggml.model"), "tokenizer.ggml.model");
    REFUSED(UNSUPPORTED, FIELDS(.no_key = "tokenizer.ggml.pre"), "tokenizer.ggml.pre");
}

static void lists_of_the_wrong_kind(void **state) {
    (void)state;
    REFUSED(CORRUPT, FIELDS(.no_key = "tokenizer.ggml.tokens"), "no vocabulary", "tokenizer.ggml.tokens");
    REFUSED(CORRUPT, FIELDS(.no_key = "tokenizer.ggml.merges"), "no merges", "tokenizer.ggml.merges");
    REFUSED(CORRUPT, FIELDS(.tokens_type = 4), "tokenizer.ggml.tokens", "strings");
    REFUSED(CORRUPT, FIELDS(.tokens_type = 8), "tokenizer.ggml.tokens", "empty");
    REFUSED(CORRUPT, FIELDS(.merges_type = 5), "tokenizer.ggml.merges", "strings");
    REFUSED(CORRUPT, FIELDS(.types_type = 6), "tokenizer.ggml.token_type", "integers");
    REFUSED(CORRUPT, FIELDS(.types_type = 8), "tokenizer.ggml.token_type", "integers");
}

static void counts_and_numbers_that_disagree(void **state) {
    (void)state;
    REFUSED(CORRUPT, FIELDS(.n_types_off = 1), "token_type has 275 entries for 274 tokens");
    REFUSED(CORRUPT, FIELDS(.n_types_off = -1), "token_type has 273 entries for 274 tokens");
    REFUSED(CORRUPT, FIELDS(.kind_of_hole = 7), "token_type[272] is 7");
    REFUSED(CORRUPT, FIELDS(.kind_of_hole = -1), "token_type[272] is -1");
    REFUSED(CORRUPT, FIELDS(.bos_plus_1 = TINY_N + 1), "tokenizer.ggml.bos_token_id is 274", "274 tokens");
    REFUSED(CORRUPT, FIELDS(.eos_plus_1 = UINT32_MAX), "tokenizer.ggml.eos_token_id is 4294967294");
}

static void merges_that_make_no_sense(void **state) {
    (void)state;
    REFUSED(CORRUPT, FIELDS(.first_merge = "zz c"), "merges[0] 'zz c'", "left half");
    REFUSED(CORRUPT, FIELDS(.first_merge = "b zz"), "merges[0] 'b zz'", "right half");
    REFUSED(CORRUPT, FIELDS(.first_merge = "b z"), "merges[0] 'b z'", "what it makes");
    REFUSED(CORRUPT, FIELDS(.first_merge = "bc"), "merges[0] 'bc'", "two pieces");
    REFUSED(CORRUPT, FIELDS(.first_merge = ""), "merges[0] ''", "two pieces");
    REFUSED(CORRUPT, FIELDS(.first_merge = " "), "two pieces");
    REFUSED(CORRUPT, FIELDS(.first_merge = "b "), "two pieces");
    REFUSED(CORRUPT, FIELDS(.first_merge = " b"), "two pieces");
    REFUSED(CORRUPT, FIELDS(.first_merge = "b c d"), "right half");
    char longest[5001];
    memset(longest, 'x', 5000);
    longest[2500] = ' ';
    longest[5000] = '\0';
    REFUSED(CORRUPT, FIELDS(.first_merge = longest), "merges[0] 'xxx", "...'");
}

static void pieces_that_make_no_sense(void **state) {
    (void)state;
    REFUSED(CORRUPT, FIELDS(.piece_of_hole = "xyz"), "tokens 262 and 272 are both 'xyz'");
    REFUSED(CORRUPT, FIELDS(.piece_of_hole = "[tool]", .kind_of_hole = 4), "both '[tool]'");
}

/* The room that tokenizer_decode_step promises its caller: 1024 bytes, and whatever was held back before. */
static void tokens_whose_text_is_too_long(void **state) {
    (void)state;
    char piece[2049];
    memset(piece, 'x', sizeof piece);
    piece[TOKENIZER_STEP_MAX - 3 + 1] = '\0';
    REFUSED(UNSUPPORTED, FIELDS(.piece_of_hole = piece, .kind_of_hole = 4), "token 272", "1022 bytes",
            "1024");
    for (size_t i = 0; i < 1024; i++)
        memcpy(piece + 2 * i, "\xc3\xbf", 2); /* byte 0xff, as the alphabet spells it */
    piece[2 * 341] = '\0';
    REFUSED(UNSUPPORTED, FIELDS(.piece_of_hole = piece, .kind_of_hole = 1), "token 272", "341 bytes");
}

static void longest_tokens_fit(void **state) {
    (void)state;
    char piece[2049], step[TOKENIZER_STEP_MAX];
    for (unsigned valid = 0; valid < 2; valid++) {
        size_t n = valid ? 1021 : 340;
        for (size_t i = 0; i < n; i++) memcpy(piece + (2 - valid) * i, valid ? "x" : "\xc3\xbf", 2 - valid);
        piece[(2 - valid) * n] = '\0';
        put_tiny_vocabulary(&writer, &(struct tiny_vocabulary){.piece_of_hole = piece, .kind_of_hole = 1});
        struct gguf *file;
        struct tokenizer *tokenizer;
        if (open_written(&file, &tokenizer) < 0) fail_msg("%s", err_message());
        struct tokenizer_stream stream = {0};
        assert_int_equal(tokenizer_decode_step(tokenizer, &stream, 0xe2, step), 0);
        assert_int_equal(tokenizer_decode_step(tokenizer, &stream, TINY_HOLE, step), valid ? 1024 : 341 * 3);
        tokenizer_close(tokenizer);
        gguf_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_kinds_and_rules),
        cmocka_unit_test(lists_of_the_wrong_kind),
        cmocka_unit_test(counts_and_numbers_that_disagree),
        cmocka_unit_test(merges_that_make_no_sense),
        cmocka_unit_test(pieces_that_make_no_sense),
        cmocka_unit_test(tokens_whose_text_is_too_long),
        cmocka_unit_test(longest_tokens_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
