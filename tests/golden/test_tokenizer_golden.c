/* 10,000 random texts, encoded as the `tokenizers` library encodes them (make_tokenizer.py), and decoded
 * again.
 *
 * The first argument is tokenizer_smollm2.bin; the model is models/SmolLM2-135M-Instruct.Q4_1.gguf in
 * CABINET_TEST_DATA. A missing file is a failure, not a skip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/utf8.h"
#include "model/byte_alphabet.h"
#include "model/tokenizer.h"

enum { TEXT_MAX = 1 << 16, GOLDEN_MAX = 1 << 20 };

static const char *golden_path;
static struct gguf *file;
static struct tokenizer *tokenizer;
static bool has_token[256];

struct golden_text {
    bool parse_special;
    size_t length, n_ids;
    const char *text;
    const uint8_t *ids; /* 16 bits each */
};

static uint8_t golden[GOLDEN_MAX];

static struct cursor read_golden(uint32_t *n_texts) {
    FILE *stream = fopen(golden_path, "rb");
    if (stream == NULL) fail_msg("%s is missing", golden_path);
    size_t length = fread(golden, 1, sizeof golden, stream);
    fclose(stream);
    struct cursor cursor = cursor_over(golden, length);
    *n_texts = cursor_u32(&cursor);
    assert_int_equal(*n_texts, 10000);
    return cursor;
}

static struct golden_text next_text(struct cursor *cursor) {
    struct golden_text next = {.parse_special = cursor_u8(cursor) != 0};
    next.length = cursor_u16(cursor);
    next.n_ids = cursor_u16(cursor);
    next.text = cursor_take(cursor, next.length);
    next.ids = cursor_take(cursor, 2 * next.n_ids);
    assert_false(cursor->failed);
    return next;
}

static token_id golden_id(const struct golden_text *text, size_t i) {
    return text->ids[2 * i] | text->ids[2 * i + 1] << 8;
}

static void ids_equal_those_of_the_library(void **state) {
    (void)state;
    uint32_t n_texts;
    struct cursor cursor = read_golden(&n_texts);
    struct token_list list = {0};
    for (uint32_t i = 0; i < n_texts; i++) {
        struct golden_text text = next_text(&cursor);
        list.n = 0;
        assert_int_equal(tokenizer_encode(tokenizer, text.text, text.length, text.parse_special, &list), 0);
        for (size_t k = 0; k < text.n_ids && k < list.n; k++)
            if (list.ids[k] != golden_id(&text, k))
                fail_msg("text %u '%.*s': id %zu is %d, not %d", i, (int)text.length, text.text, k,
                         list.ids[k], golden_id(&text, k));
        assert_int_equal(list.n, text.n_ids);
        for (size_t k = 0; k < list.n && !text.parse_special; k++)
            assert_int_not_equal(tokenizer_kind(tokenizer, list.ids[k]), TOKEN_CONTROL);
    }
    assert_int_equal(cursor_left(&cursor), 0);
    token_list_free(&list);
}

/* The text without the bytes that SmolLM2 has no token for (\x04 and the like; its library leaves them out
 * too). */
static size_t representable(const struct golden_text *text, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < text->length; i++)
        if (has_token[(uint8_t)text->text[i]]) out[n++] = text->text[i];
    return n;
}

static void decoding_gives_the_text_back(void **state) {
    (void)state;
    uint32_t n_texts;
    struct cursor cursor = read_golden(&n_texts);
    static char expected[TEXT_MAX], whole[TEXT_MAX];
    unsigned n_complete = 0;
    for (uint32_t i = 0; i < n_texts; i++) {
        struct golden_text text = next_text(&cursor);
        size_t n_expected = representable(&text, expected), n_whole = 0;
        for (size_t k = 0; k < text.n_ids; k++) {
            token_id id = golden_id(&text, k);
            bool control = tokenizer_kind(tokenizer, id) == TOKEN_CONTROL;
            if (control) assert_int_equal(tokenizer_bytes(tokenizer, id).length, 0);
            struct gguf_string part =
                control ? tokenizer_piece(tokenizer, id) : tokenizer_bytes(tokenizer, id);
            memcpy(whole + n_whole, part.bytes, part.length);
            n_whole += part.length;
        }
        assert_int_equal(n_whole, n_expected);
        assert_memory_equal(whole, expected, n_whole);
        n_complete += n_expected == text.length;
    }
    assert_true(n_complete > 9000); /* nearly every text came back entire */
}

static void streaming_gives_the_same_in_whole_characters(void **state) {
    (void)state;
    uint32_t n_texts;
    struct cursor cursor = read_golden(&n_texts);
    static char whole[TEXT_MAX], streamed[TEXT_MAX];
    for (uint32_t i = 0; i < n_texts; i++) {
        struct golden_text text = next_text(&cursor);
        struct tokenizer_stream stream = {0};
        size_t n_whole = 0, n_streamed = 0;
        for (size_t k = 0; k < text.n_ids; k++) {
            struct gguf_string part = tokenizer_bytes(tokenizer, golden_id(&text, k));
            memcpy(whole + n_whole, part.bytes, part.length);
            n_whole += part.length;
            char step[TOKENIZER_STEP_MAX];
            size_t n = tokenizer_decode_step(tokenizer, &stream, golden_id(&text, k), step);
            assert_int_equal(utf8_valid_prefix(step, n), n);
            memcpy(streamed + n_streamed, step, n);
            n_streamed += n;
        }
        bool valid = utf8_valid_prefix(whole, n_whole) == n_whole;
        assert_int_equal(tokenizer_decode_end(&stream, streamed + n_streamed) == 0 || !valid, true);
        if (!valid) continue; /* a character lost one of its bytes */
        assert_int_equal(n_streamed, n_whole);
        assert_memory_equal(streamed, whole, n_whole);
    }
}

static int open_model(void **state) {
    (void)state;
    const char *data = getenv("CABINET_TEST_DATA");
    char path[4096];
    snprintf(path, sizeof path, "%s/models/SmolLM2-135M-Instruct.Q4_1.gguf", data == NULL ? "." : data);
    if (gguf_open(&file, path) < 0 || tokenizer_open(&tokenizer, file) < 0) {
        fprintf(stderr, "%s: %s; the set-up of the tests fetches the model\n", path, err_message());
        return -1;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char piece[3] = {0};
        byte_alphabet_spell(&(uint8_t){(uint8_t)byte}, 1, piece);
        has_token[byte] = tokenizer_find(tokenizer, piece) >= 0;
    }
    return 0;
}

static int close_model(void **state) {
    (void)state;
    tokenizer_close(tokenizer);
    gguf_close(file);
    return 0;
}

int main(int argc, char **argv) {
    golden_path = argc > 1 ? argv[1] : "tests/golden/tokenizer_smollm2.bin";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_those_of_the_library),
        cmocka_unit_test(decoding_gives_the_text_back),
        cmocka_unit_test(streaming_gives_the_same_in_whole_characters),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
