/* Random texts in tiny vocabularies, encoded as the `sentencepiece` library encodes them
 * (make_sentencepiece.py), and decoded again. The first argument is the folder sentencepiece/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/utf8.h"
#include "model/tokenizer.h"

enum { TEXT_MAX = 1 << 16, GOLDEN_MAX = 1 << 17 };

static const char *folder;
static uint8_t golden[GOLDEN_MAX];

struct variant {
    const char *name;
    bool adds_space, is_complete; /* complete: every text can be spelled */
};

static void check_ids(const struct token_list *list, const char *text, size_t length, const uint8_t *ids,
                      size_t n_ids) {
    for (size_t i = 0; i < n_ids && i < list->n; i++) {
        token_id wanted = ids[2 * i] | ids[2 * i + 1] << 8;
        if (list->ids[i] != wanted)
            fail_msg("'%.*s': id %zu is %d, not %d", (int)length, text, i, list->ids[i], wanted);
    }
    if (list->n != n_ids) fail_msg("'%.*s': %zu ids, not %zu", (int)length, text, list->n, n_ids);
}

/* What decoding gives back: the text, behind the space that encoding added, and with a space for U+2581. */
static size_t expected_text(const struct variant *variant, const char *text, size_t length, char *expected) {
    size_t n = 0;
    if (variant->adds_space && length > 0) expected[n++] = ' ';
    for (size_t i = 0; i < length; i++) {
        bool is_mark = length - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        expected[n++] = is_mark ? ' ' : text[i];
        i += is_mark ? 2 : 0;
    }
    return n;
}

static void check_decoding(const struct tokenizer *tokenizer, const struct variant *variant,
                           const struct token_list *list, const char *text, size_t length) {
    static char expected[TEXT_MAX + 1], decoded[2 * TEXT_MAX];
    struct tokenizer_stream stream = {0};
    size_t n = 0, n_expected = expected_text(variant, text, length, expected);
    for (size_t i = 0; i < list->n; i++) {
        char step[TOKENIZER_STEP_MAX];
        size_t n_step = tokenizer_decode_step(tokenizer, &stream, list->ids[i], step);
        assert_int_equal(utf8_valid_prefix(step, n_step), n_step);
        memcpy(decoded + n, step, n_step);
        n += n_step;
    }
    assert_int_equal(tokenizer_decode_end(&stream, decoded + n), 0);
    assert_int_equal(n, n_expected);
    assert_memory_equal(decoded, expected, n);
}

static void check_texts(const struct tokenizer *tokenizer, const struct variant *variant, const char *path) {
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) fail_msg("%s is missing", path);
    struct cursor cursor = cursor_over(golden, fread(golden, 1, sizeof golden, stream));
    fclose(stream);
    uint32_t n_texts = cursor_u32(&cursor);
    assert_int_equal(n_texts, 600);
    struct token_list list = {0};
    for (uint32_t i = 0; i < n_texts; i++) {
        size_t length = cursor_u16(&cursor), n_ids = cursor_u16(&cursor);
        const char *text = cursor_take(&cursor, length);
        const uint8_t *ids = cursor_take(&cursor, 2 * n_ids);
        assert_false(cursor.failed);
        list.n = 0;
        assert_int_equal(tokenizer_encode(tokenizer, text, length, false, &list), 0);
        check_ids(&list, text, length, ids, n_ids);
        if (variant->is_complete) check_decoding(tokenizer, variant, &list, text, length);
    }
    assert_int_equal(cursor_left(&cursor), 0);
    token_list_free(&list);
}

static void check_variant(void **state) {
    const struct variant *variant = *state;
    char path[4096];
    struct gguf *file;
    struct tokenizer *tokenizer = NULL;
    snprintf(path, sizeof path, "%s/%s.gguf", folder, variant->name);
    if (gguf_open(&file, path) < 0 || tokenizer_open(&tokenizer, file) < 0) fail_msg("%s", err_message());
    snprintf(path, sizeof path, "%s/%s.bin", folder, variant->name);
    check_texts(tokenizer, variant, path);
    tokenizer_close(tokenizer);
    gguf_close(file);
}

static struct variant variants[] = {
    {"llama", .adds_space = true, .is_complete = true},
    {"gemma", .adds_space = false, .is_complete = true},
    {"ties", .adds_space = true, .is_complete = true},
    {"unknown", .adds_space = true, .is_complete = false},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/golden/sentencepiece";
    struct CMUnitTest tests[N_VARIANTS];
    for (unsigned i = 0; i < N_VARIANTS; i++)
        tests[i] = (struct CMUnitTest){
            .name = variants[i].name, .test_func = check_variant, .initial_state = &variants[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
