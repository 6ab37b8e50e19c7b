/* The rules that cut text into words, and the byte alphabet that words are spelled in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "model/byte_alphabet.h"
#include "model/pretokenizer.h"

struct words {
    char text[512]; /* each word and a '|' behind it */
    size_t length;
    int left; /* fails when it is to take one more */
};

static int take_word(void *receiver, const char *word, size_t length) {
    struct words *words = receiver;
    if (words->left-- == 0) return ERR(CANCELLED, "enough");
    assert_true(length > 0 && words->length + length + 2 < sizeof words->text);
    memcpy(words->text + words->length, word, length);
    words->length += length;
    words->text[words->length++] = '|';
    return 0;
}

static void assert_rule_cuts(const struct pretokenizer_rule *rule, const char *text, const char *expected) {
    struct pretokenizer *pretokenizer;
    struct words words = {.left = -1};
    assert_int_equal(pretokenizer_open(&pretokenizer, rule), 0);
    if (pretokenizer_cut(pretokenizer, text, strlen(text), take_word, &words) < 0)
        fail_msg("%s", err_message());
    assert_string_equal(words.text, expected);
    pretokenizer_close(pretokenizer);
}

static void assert_cuts(const char *name, const char *text, const char *expected) {
    const char *spelling;
    const struct pretokenizer_rule *rule =
        pretokenizer_find((struct gguf_string){name, strlen(name)}, &spelling);
    assert_non_null(rule);
    assert_string_equal(spelling, name);
    assert_rule_cuts(rule, text, expected);
}

/* The words below were taken from the `tokenizers` library. */
static void rules_cut_words(void **state) {
    (void)state;
    assert_cuts("gpt-2", "I'll go  home 1234!!\n\n x", "I|'ll| go| | home| 1234|!!|\n\n| x|");
    assert_cuts("gpt-2", "WE'LL", "WE|'|LL|");
    assert_cuts("smollm", "a 12  3\t\n", "a| |1|2|  |3|\t\n|");
    assert_cuts("smollm", "\xc2\xbd\xe2\x85\xa7x", "\xc2\xbd|\xe2\x85\xa7|x|"); /* all of \p{N} is digits */
    assert_cuts("llama-bpe", "I'LL go  home 12345!!\n\n x\r\n", "I|'LL| go| | home| |123|45|!!\n\n| x|\r\n|");
    assert_cuts("qwen2", "I'LL go  home 123!! \n\n x", "I|'LL| go| | home| |1|2|3|!!| \n\n| x|");
    assert_cuts("qwen2", ".net\t(a)", ".net|\t|(a|)|");
}

/* White space is Unicode's: U+0085 and U+3000 are, U+180E and U+200B are not. */
static void white_space_is_what_the_library_takes_for_it(void **state) {
    (void)state;
    assert_cuts("gpt-2",
                "a\xc2\x85\xe3\x80\x80"
                "b",
                "a|\xc2\x85|\xe3\x80\x80|b|");
    assert_cuts("gpt-2",
                "a\xe1\xa0\x8e\xe1\xa0\x8e"
                "b",
                "a|\xe1\xa0\x8e\xe1\xa0\x8e|b|");
    assert_cuts("gpt-2",
                "a\xe2\x80\x8b\xe2\x80\x8b"
                "b",
                "a|\xe2\x80\x8b\xe2\x80\x8b|b|");
    assert_cuts("qwen2",
                "'\xc5\xbf'\xc5\xbf"
                "a",
                "'\xc5\xbf|'\xc5\xbf|a|"); /* the long s folds to s */
}

static void expressions_see_one_piece_each(void **state) {
    (void)state;
    /* the second may not look over the border that the first one cut */
    assert_rule_cuts(&(struct pretokenizer_rule){.patterns = {"-", "a(?!-)|b(?=-)"}}, "aa-ab-b",
                     "a|a|-|a|b|-|b|");
    assert_rule_cuts(&(struct pretokenizer_rule){.patterns = {"x"}}, "aaxxb", "aa|x|x|b|");
    assert_rule_cuts(&(struct pretokenizer_rule){.patterns = {"x"}}, "", "");
    /* an empty match is a border */
    assert_rule_cuts(&(struct pretokenizer_rule){.patterns = {"(?=\xc3\xa9)"}}, "a\xc3\xa9\xc3\xa9z",
                     "a|\xc3\xa9|\xc3\xa9z|");
}

static void unknown_names_are_not_found(void **state) {
    (void)state;
    const char *spelling = "same";
    assert_null(pretokenizer_find((struct gguf_string){"gpt-22", 6}, &spelling));
    assert_null(pretokenizer_find((struct gguf_string){"gpt-22", 4}, &spelling));
    assert_null(pretokenizer_find((struct gguf_string){"", 0}, &spelling));
    assert_non_null(pretokenizer_find((struct gguf_string){"gpt-22", 5}, &spelling)); /* not NUL-terminated */
}

/* Exponential in the number of letters: without a limit this does not end. */
static void no_text_can_hang_a_rule(void **state) {
    (void)state;
    struct pretokenizer *pretokenizer;
    struct words words = {.left = -1};
    const struct pretokenizer_rule rule = {.patterns = {"(?:a+)+(?:a|aa)+b"}};
    assert_int_equal(pretokenizer_open(&pretokenizer, &rule), 0);
    /* PCRE2 makes sure that there is a b at all before it tries */
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacb";
    assert_int_equal(pretokenizer_cut(pretokenizer, text, sizeof text - 1, take_word, &words), ERR_TOO_LARGE);
    assert_non_null(strstr(err_message(), "search limit"));
    pretokenizer_close(pretokenizer);
    assert_int_equal(pretokenizer_open(&pretokenizer, &(struct pretokenizer_rule){.patterns = {"ab", "(c"}}),
                     ERR_INTERNAL);
    assert_non_null(strstr(err_message(), "'(c'"));
    assert_null(pretokenizer);
}

static void the_receiver_can_end_the_cut(void **state) {
    (void)state;
    struct pretokenizer *pretokenizer;
    struct words words = {.left = 2};
    assert_int_equal(pretokenizer_open(&pretokenizer, &(struct pretokenizer_rule){.patterns = {"."}}), 0);
    assert_int_equal(pretokenizer_cut(pretokenizer, "abcd", 4, take_word, &words), ERR_CANCELLED);
    assert_string_equal(words.text, "a|b|");
    pretokenizer_close(pretokenizer);
}

static void every_byte_has_its_character(void **state) {
    (void)state;
    char spelled[512], line[3];
    uint8_t all[256], read[512];
    for (unsigned byte = 0; byte < 256; byte++) all[byte] = (uint8_t)byte;
    size_t length = byte_alphabet_spell(all, 256, spelled);
    assert_int_equal(length, 94 + 2 * 162); /* only ASCII that prints takes one byte */
    assert_int_equal(byte_alphabet_read(spelled, length, read), 256);
    assert_memory_equal(read, all, 256);
    /* as openai/gpt-2 has it: space, newline, DEL, no-break space, soft hyphen, e-acute's first byte */
    const struct {
        uint8_t byte;
        const char *character;
    } known[] = {{' ', "Ġ"},  {'\n', "Ċ"}, {0, "Ā"},    {0x7f, "ġ"},
                 {0xa0, "ł"}, {0xad, "Ń"}, {0xc3, "Ã"}, {'~', "~"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_int_equal(byte_alphabet_spell(&known[i].byte, 1, line), strlen(known[i].character));
        assert_memory_equal(line, known[i].character, strlen(known[i].character));
    }
    const char *const others[] = {" ",        "a\n",          "\x7f",    "\xc2\xa0", "\xc2\xad",
                                  "\xc5\x84", "\xe2\x82\xac", "a\xc4",   "\xc4z",    "\xc1\xa1",
                                  "\xff",     "\xc2\x80",     "\xe3\xa1"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_true(byte_alphabet_read(others[i], strlen(others[i]), read) == SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_cut_words),
        cmocka_unit_test(white_space_is_what_the_library_takes_for_it),
        cmocka_unit_test(expressions_see_one_piece_each),
        cmocka_unit_test(unknown_names_are_not_found),
        cmocka_unit_test(no_text_can_hang_a_rule),
        cmocka_unit_test(the_receiver_can_end_the_cut),
        cmocka_unit_test(every_byte_has_its_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
