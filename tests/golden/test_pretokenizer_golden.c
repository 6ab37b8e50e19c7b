/* Random texts, cut into words by every rule as the `tokenizers` library cuts them (make_pretokenizer.py).
 * The first argument is pretokenizer.bin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/err.h"
#include "model/pretokenizer.h"

enum { GOLDEN_MAX = 1 << 20 };

static const char *golden_path;
static uint8_t golden[GOLDEN_MAX];

/* The words that are still to come, as lengths of 16 bits. */
struct expected {
    const char *rule;
    const uint8_t *lengths;
    size_t n_words, next;
};

static int compare_word(void *receiver, const char *word, size_t length) {
    struct expected *expected = receiver;
    if (expected->next == expected->n_words) fail_msg("%s: more words than expected", expected->rule);
    const uint8_t *wanted = expected->lengths + 2 * expected->next++;
    size_t n_wanted = wanted[0] | wanted[1] << 8;
    if (length != n_wanted)
        fail_msg("%s: word %zu is '%.*s', not '%.*s'", expected->rule, expected->next - 1, (int)length, word,
                 (int)n_wanted, word);
    return 0;
}

/* Opens the rule of the next record unless it is the open one. */
static const struct pretokenizer_rule *next_rule(struct cursor *cursor, size_t n_name) {
    const char *spelling, *name = cursor_take(cursor, n_name);
    assert_non_null(name);
    const struct pretokenizer_rule *rule = pretokenizer_find((struct gguf_string){name, n_name}, &spelling);
    if (rule == NULL) fail_msg("no rule %.*s", (int)n_name, name);
    return rule;
}

static void words_equal_those_of_the_library(void **state) {
    (void)state;
    FILE *stream = fopen(golden_path, "rb");
    if (stream == NULL) fail_msg("%s is missing", golden_path);
    struct cursor cursor = cursor_over(golden, fread(golden, 1, sizeof golden, stream));
    fclose(stream);
    uint32_t n_texts = cursor_u32(&cursor), n_rules = 0;
    const struct pretokenizer_rule *rule = NULL;
    struct pretokenizer *pretokenizer = NULL;
    for (uint32_t i = 0; i < n_texts; i++) {
        size_t n_name = cursor_u8(&cursor), length = cursor_u16(&cursor), n_words = cursor_u16(&cursor);
        const struct pretokenizer_rule *next = next_rule(&cursor, n_name);
        if (next != rule) {
            pretokenizer_close(pretokenizer);
            assert_int_equal(pretokenizer_open(&pretokenizer, next), 0);
            rule = next;
            n_rules++;
        }
        const char *text = cursor_take(&cursor, length);
        struct expected expected = {next->names[0], cursor_take(&cursor, 2 * n_words), n_words, 0};
        assert_false(cursor.failed);
        assert_int_equal(pretokenizer_cut(pretokenizer, text, length, compare_word, &expected), 0);
        assert_int_equal(expected.next, n_words);
    }
    pretokenizer_close(pretokenizer);
    assert_int_equal(cursor_left(&cursor), 0);
    assert_int_equal(n_texts, 18 * 120);
    assert_int_equal(n_rules, 18); /* every one of the table */
}

int main(int argc, char **argv) {
    golden_path = argc > 1 ? argv[1] : "tests/golden/pretokenizer.bin";
    const struct CMUnitTest tests[] = {cmocka_unit_test(words_equal_those_of_the_library)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
