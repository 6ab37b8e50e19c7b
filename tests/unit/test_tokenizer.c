/* Encoding and decoding with a vocabulary small enough to work every expected id out by hand. Vocabularies
 * that are refused are in test_tokenizer_errors.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "model/tokenizer.h"

#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

static void open_tiny(const struct tiny_vocabulary *tiny) {
    put_tiny_vocabulary(&written, tiny);
    open_written();
}

static void lists_grow(void **state) {
    (void)state;
    struct token_list list = {0};
    for (token_id id = 0; id < 1000; id++) assert_int_equal(token_list_append(&list, id), 0);
    assert_int_equal(list.n, 1000);
    for (token_id id = 0; id < 1000; id++) assert_int_equal(list.ids[id], id);
    token_list_free(&list);
    assert_null(list.ids);
}

static void lowest_rank_merges_first(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    IDS("abd", false, TINY_AB, 'd');
    IDS("abcd", false, 'a', TINY_BCD); /* "b c" before "a b" */
    IDS("abc", false, 'a', TINY_BC);
    IDS("aaa", false, TINY_AA, 'a'); /* the leftmost of equal ranks */
    IDS("aaaaa", false, TINY_AAAA, 'a');
    IDS("aaaaaaa", false, TINY_AAAA, TINY_AA, 'a');
    IDS("aaab", false, TINY_AA, TINY_AB); /* "a b" (rank 1) before any "a a" */
    IDS("aab", false, 'a', TINY_AB);
    IDS(" a", false, TINY_SPACE_A);
    IDS("ab ab", false, TINY_AB, ' ', TINY_AB); /* words do not merge across their borders */
    IDS("xyz", false, 'x', 'y', 'z');
    assert_ids("", false, NULL, 0);
    close_tiny();
    /* a pair that is listed twice has its first rank: now "a a" before "a b" */
    open_tiny(&(struct tiny_vocabulary){.first_merge = "a a"});
    IDS("aab", false, TINY_AA, 'b');
    close_tiny();
}

static void whole_words_go_before_merges_where_the_rule_says_so(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){.pre = "llama-bpe"});
    IDS("xyz", false, TINY_XYZ);
    IDS("xyzx", false, 'x', 'y', 'z', 'x');
    IDS("abcd", false, 'a', TINY_BCD);
    IDS(" a", false, TINY_SPACE_A);
    close_tiny();
    /* not even a vocabulary that spells a control token like a word lets text become it */
    open_tiny(
        &(struct tiny_vocabulary){.pre = "llama-bpe", .piece_of_hole = "boo", .kind_of_hole = TOKEN_CONTROL});
    IDS("boo", false, 'b', 'o', 'o');
    IDS("boo", true, TINY_HOLE);
    close_tiny();
    open_tiny(&(struct tiny_vocabulary){
        .first_merge = "o o", .piece_of_hole = "oo", .kind_of_hole = TOKEN_CONTROL});
    IDS("oo", false, 'o', 'o');
    close_tiny();
}

static void control_tokens_only_where_asked(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    IDS("d<s>d", true, 'd', TINY_BOS, 'd');
    IDS("d<s>d", false, 'd', '<', 's', '>', 'd');
    IDS("<s></s>", true, TINY_BOS, TINY_EOS);
    IDS("<unk>", true, TINY_UNK);
    IDS("<unk>", false, '<', 'u', 'n', 'k', '>');
    IDS("<|im_end|>", true, TINY_IM_END); /* the longest */
    IDS("<|im_end|", true, TINY_IM, '_', 'e', 'n', 'd', '|');
    IDS("<<|im", true, '<', TINY_IM);
    IDS("<|i", true, '<', '|', 'i');
    close_tiny();
}

static void user_defined_tokens_always(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    for (int parse = 0; parse < 2; parse++) {
        IDS("a[tool]a", parse != 0, 'a', TINY_TOOL, 'a');
        IDS("[tool]xx", parse != 0, TINY_TOOL_X, 'x');
        IDS("[tool][tool]x", parse != 0, TINY_TOOL, TINY_TOOL_X);
        IDS("[tool", parse != 0, '[', 't', 'o', 'o', 'l');
        IDS("   \n", parse != 0, ' ', TINY_SPACES);
    }
    close_tiny();
}

static void bytes_without_a_token_are_left_out(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){.no_byte = 4});
    IDS("\x03\x04\x05", false, 3, 5);
    assert_ids("\x04", false, NULL, 0);
    char many[1000] = "\x03";
    memset(many + 1, 4, sizeof many - 2);
    IDS(many, false, 3); /* within a limit of one token, too: see assert_limit */
    close_tiny();
}

static void assert_not_utf8(const char *text, const char *place) {
    struct token_list list = {0};
    assert_int_equal(token_list_append(&list, 7), 0);
    char *exact = (char *)exact_copy(text, strlen(text)); /* no NUL behind it */
    assert_int_equal(tokenizer_encode(tokenizer, exact, strlen(text), false, &list), ERR_INVALID);
    free(exact);
    if (strstr(err_message(), place) == NULL) fail_msg("no '%s' in: %s", place, err_message());
    assert_int_equal(list.n, 1);
    token_list_free(&list);
}

static void text_that_is_not_utf8_is_refused_with_its_place(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    assert_not_utf8("abc\xff", "at byte 3");
    assert_not_utf8("\x80", "at byte 0");
    assert_not_utf8("12345678\x80", "at byte 8");
    assert_not_utf8("ab\xe2\x82", "at byte 2"); /* ends within a character */
    assert_not_utf8("ab\xe2\x82z", "at byte 2");
    assert_not_utf8("\xc3\xa9\xc0\xaf", "at byte 2"); /* overlong */
    assert_not_utf8("\xc1\xbf", "at byte 0");
    assert_not_utf8("\xe0\x9f\xbf", "at byte 0");
    assert_not_utf8("\xf0\x8f\xbf\xbf", "at byte 0");
    assert_not_utf8("x\xed\xa0\x80", "at byte 1");     /* a surrogate */
    assert_not_utf8("x\xf4\x90\x80\x80", "at byte 1"); /* past U+10FFFF */
    assert_not_utf8("x\xf5\x80\x80\x80", "at byte 1");
    IDS("\xed\x9f\xbf\xf4\x8f\xbf\xbf", false, 0xed, 0x9f, 0xbf, 0xf4, 0x8f, 0xbf, 0xbf);
    close_tiny();
}

/* Decodes the ids step by step; the step after which text comes is a ',' in `expected`. */
static void assert_stream(const char *expected, const token_id *ids, size_t n) {
    struct tokenizer_stream stream = {0};
    char all[256], *end = all;
    for (size_t i = 0; i < n; i++) {
        char text[TOKENIZER_STEP_MAX];
        size_t length = tokenizer_decode_step(tokenizer, &stream, ids[i], text);
        assert_int_equal(utf8_valid_prefix(text, length), length);
        memcpy(end, text, length);
        end += length;
        *end++ = ',';
    }
    end += tokenizer_decode_end(&stream, end);
    *end = '\0';
    assert_string_equal(all, expected);
    assert_int_equal(stream.n_held, 0);
}

#define STREAM(expected, ...)                                                                                \
    do {                                                                                                     \
        const token_id ids_[] = {__VA_ARGS__};                                                               \
        assert_stream(expected, ids_, sizeof ids_ / sizeof ids_[0]);                                         \
    } while (0)
#define BAD "\xef\xbf\xbd"

static void streams_never_show_half_a_character(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    STREAM("d,bcd,", 'd', TINY_BCD);
    STREAM(",,\xe2\x82\xac,d,", 0xe2, 0x82, 0xac, 'd');
    STREAM(",,,\xf0\x9f\xa6\x99,", 0xf0, 0x9f, 0xa6, 0x99);
    STREAM(",\xc3\xa9,", 0xc3, 0xa9);
    STREAM("\xe2\x82\xac!,[tool],  \n,", TINY_PLAIN, TINY_TOOL, TINY_SPACES);
    STREAM(",,,,,", TINY_BOS, TINY_UNK, TINY_HOLE, -1, TINY_N); /* no text */
    close_tiny();
}

/* One U+FFFD for each longest beginning of a character, as Unicode recommends and Python and Rust do. */
static void impossible_bytes_become_replacement_characters(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    STREAM(BAD ",d,", 0xff, 'd');
    STREAM(BAD "," BAD ",", 0xc0, 0x80);
    STREAM(",," BAD "d,", 0xe2, 0x82, 'd');
    STREAM(",," BAD ",,\xe2\x82\xac,", 0xe2, 0x82, 0xe2, 0x82, 0xac);
    STREAM("," BAD BAD "," BAD ",", 0xed, 0xa0, 0x80); /* a surrogate */
    STREAM("," BAD BAD ",", 0xf4, 0x90);
    STREAM(",,," BAD, 0xf0, 0x9f, 0x98);
    STREAM("," BAD "bcd,", 0xc3, TINY_BCD);
    STREAM(",," BAD, 0xc3, TINY_BOS); /* a control token says nothing about the bytes around it */
    close_tiny();
}

static void named_tokens(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    assert_int_equal(tokenizer_n_tokens(tokenizer), TINY_N);
    assert_int_equal(tokenizer_bos(tokenizer), TINY_BOS);
    assert_int_equal(tokenizer_eos(tokenizer), TINY_EOS);
    assert_false(tokenizer_adds_bos(tokenizer)); /* the rule's own wish */
    assert_true(tokenizer_is_end(tokenizer, TINY_EOS));
    assert_true(tokenizer_is_end(tokenizer, TINY_IM_END)); /* by its name */
    assert_false(tokenizer_is_end(tokenizer, TINY_BOS));
    assert_false(tokenizer_is_end(tokenizer, -1));
    assert_int_equal(tokenizer_find(tokenizer, "xyz"), TINY_XYZ);
    assert_int_equal(tokenizer_find(tokenizer, "xy"), -1);
    assert_int_equal(tokenizer_find(tokenizer, ""), -1);
    assert_int_equal(tokenizer_kind(tokenizer, TINY_TOOL), TOKEN_USER_DEFINED);
    assert_int_equal(tokenizer_kind(tokenizer, 'a'), TOKEN_NORMAL);
    assert_string_equal(tokenizer_model_name(tokenizer), "gpt2");
    assert_string_equal(tokenizer_rule_name(tokenizer), "gpt-2");
    struct gguf_string piece = tokenizer_piece(tokenizer, TINY_SPACE_A),
                       bytes = tokenizer_bytes(tokenizer, TINY_SPACE_A);
    assert_int_equal(piece.length, 3);
    assert_memory_equal(piece.bytes,
                        "\xc4\xa0"
                        "a",
                        3);
    assert_int_equal(bytes.length, 2);
    assert_memory_equal(bytes.bytes, " a", 2);
    close_tiny();
    open_tiny(&(struct tiny_vocabulary){.pre = "llama3"});
    assert_true(tokenizer_adds_bos(tokenizer));
    assert_string_equal(tokenizer_rule_name(tokenizer), "llama3");
    close_tiny();
    /* an end is a control token: the same name as ordinary text ends nothing */
    open_tiny(&(struct tiny_vocabulary){.piece_of_hole = "<|eot_id|>", .kind_of_hole = TOKEN_NORMAL});
    assert_false(tokenizer_is_end(tokenizer, TINY_HOLE));
    close_tiny();
    open_tiny(&(struct tiny_vocabulary){.no_key = "tokenizer.ggml.token_type"}); /* then all are normal */
    assert_int_equal(tokenizer_kind(tokenizer, TINY_BOS), TOKEN_NORMAL);
    IDS("<s>", true, '<', 's', '>');
    close_tiny();
}

/* With work quadratic in a word's length this takes minutes. */
static void long_words_are_no_trouble(void **state) {
    (void)state;
    enum { N = 1 << 17 };
    static const char *const rules[] = {"gpt-2",          "smollm",      "default",    "falcon",
                                        "llama-bpe",      "qwen2",       "qwen35",     "tekken",
                                        "gpt-4o",         "bloom",       "viking",     "deepseek-llm",
                                        "deepseek-coder", "deepseek-v3", "bailingmoe", "seed-coder"};
    static const char *const units[] = {"a",  " ", "\n",       " \n",   "<",   "7", "\t ",
                                        "ab", "'", "\xcc\x81", "[tool", "d d", "A", "Aa\xcc\x81"};
    char *text = malloc(N);
    assert_non_null(text);
    struct token_list list = {0};
    for (size_t rule = 0; rule < sizeof rules / sizeof rules[0]; rule++) {
        open_tiny(&(struct tiny_vocabulary){.pre = rules[rule]});
        for (size_t unit = 0; unit < sizeof units / sizeof units[0]; unit++) {
            size_t length = strlen(units[unit]), n_bytes = 0;
            for (size_t i = 0; i < N; i++) text[i] = units[unit][i % length];
            list.n = 0;
            if (tokenizer_encode(tokenizer, text, N / length * length, true, &list) < 0)
                fail_msg("%s, '%s': %s", rules[rule], units[unit], err_message());
            for (size_t i = 0; i < list.n; i++) n_bytes += tokenizer_bytes(tokenizer, list.ids[i]).length;
            assert_int_equal(n_bytes, N / length * length);
            if (unit == 0) assert_int_equal(list.n, N / 4); /* all of them AAAA */
        }
        close_tiny();
    }
    token_list_free(&list);
    free(text);
}

/* The merging, against the plainest way to do it: look for the best pair again after every merge. */
static size_t merge_naively(const char *word, size_t n, token_id *ids) {
    static const token_id merges[][3] = {{'b', 'c', TINY_BC},
                                         {'a', 'b', TINY_AB},
                                         {TINY_BC, 'd', TINY_BCD},
                                         {'a', 'a', TINY_AA},
                                         {TINY_AA, TINY_AA, TINY_AAAA}};
    for (size_t i = 0; i < n; i++) ids[i] = word[i];
    for (;;) {
        size_t best = sizeof merges / sizeof merges[0], place = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t rank = 0; rank < best; rank++)
                if (ids[i] == merges[rank][0] && ids[i + 1] == merges[rank][1]) best = rank, place = i;
        if (best == sizeof merges / sizeof merges[0]) return n;
        ids[place] = merges[best][2];
        memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof *ids);
        n--;
    }
}

static void merging_equals_the_naive_way(void **state) {
    (void)state;
    open_tiny(&(struct tiny_vocabulary){0});
    for (uint64_t round = 0; round < 20000; round++) {
        char word[41] = {0};
        token_id ids[40];
        size_t n = 1 + rng_u64(3, round) % 40;
        for (size_t i = 0; i < n; i++) word[i] = "aaabcd"[rng_u64(round, i) % 6];
        size_t n_ids = merge_naively(word, n, ids);
        assert_ids(word, false, ids, n_ids);
    }
    close_tiny();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_grow),
        cmocka_unit_test(lowest_rank_merges_first),
        cmocka_unit_test(whole_words_go_before_merges_where_the_rule_says_so),
        cmocka_unit_test(control_tokens_only_where_asked),
        cmocka_unit_test(user_defined_tokens_always),
        cmocka_unit_test(bytes_without_a_token_are_left_out),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_place),
        cmocka_unit_test(streams_never_show_half_a_character),
        cmocka_unit_test(impossible_bytes_become_replacement_characters),
        cmocka_unit_test(named_tokens),
        cmocka_unit_test(long_words_are_no_trouble),
        cmocka_unit_test(merging_equals_the_naive_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
