/* SentencePiece's kind of vocabulary, small enough to work every expected id out by hand, and the ones that
 * must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/err.h"
#include "base/rng.h"
#include "model/tokenizer.h"

#include "tiny_sentencepiece.h"
#include "tiny_tokenizer.h"

static void open_tiny(const struct tiny_sentencepiece *tiny) {
    put_tiny_sentencepiece(&written, tiny);
    open_written();
}

/* The names of ids without TINY_SP_ in front. */
#define ID(name) TINY_SP_##name
#define BYTE_ID(byte) (TINY_SP_BYTE + (byte))

static void highest_score_merges_first(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){0});
    IDS("abd", false, ID(MARK), ID(AB), ID(D)); /* "ab" before "_a" */
    IDS("abcd", false, ID(MARK_A), ID(BCD));
    IDS("aaa", false, ID(MARK), ID(AA), ID(A)); /* the leftmost of equal scores */
    IDS("aaaaa", false, ID(MARK), ID(AAAA), ID(A));
    IDS("ad", false, ID(MARK_A), ID(D)); /* an unused piece is none, however high its score */
    assert_ids("", false, NULL, 0);
    close_tiny();
    open_tiny(&(struct tiny_sentencepiece){.piece_of_hole = "ca", .kind_of_hole = 1, .score_of_hole = 2});
    IDS("bcab", false, ID(MARK), ID(B), ID(HOLE), ID(B)); /* 2 is more than -1 */
    close_tiny();
}

static void spaces_are_marks(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){0});
    IDS("a", false, ID(MARK_A));
    IDS(" a", false, ID(MARK), ID(MARK_A));
    IDS("  b", false, ID(MARKS), ID(MARK), ID(B));
    IDS("a b a", false, ID(MARK_A), ID(MARK), ID(B), ID(MARK_A));
    IDS("a\xe2\x96\x81"
        "a",
        false, ID(MARK_A), ID(MARK_A)); /* the mark itself is a space */
    close_tiny();
    open_tiny(&(struct tiny_sentencepiece){.no_space_prefix = true});
    IDS("a", false, ID(A));
    IDS("a a", false, ID(A), ID(MARK_A));
    IDS("<s>a", true, ID(BOS), ID(A));
    close_tiny();
    open_tiny(&(struct tiny_sentencepiece){.no_key = "tokenizer.ggml.add_space_prefix"});
    IDS("a", false, ID(MARK_A));
    close_tiny();
    /* a piece that goes on behind a space */
    open_tiny(&(struct tiny_sentencepiece){.piece_of_hole = "d_a", .kind_of_hole = 1, .score_of_hole = -7});
    IDS("d a", false, ID(MARK), ID(HOLE));
    IDS("c a", false, ID(MARK), ID(C), ID(MARK_A));
    IDS("d d a", false, ID(MARK), ID(D), ID(MARK), ID(HOLE));
    close_tiny();
}

static void special_tokens_end_and_begin_text(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){0});
    IDS("a<s>a", true, ID(MARK_A), ID(BOS), ID(MARK_A)); /* a space in front of the text behind it, too */
    IDS("<s></s>", true, ID(BOS), ID(EOS));
    IDS("<s>", false, ID(MARK), ID(LESS_S), ID(GREATER)); /* no merge leads to a control token */
    IDS("<unk>", true, ID(UNK));
    IDS("[tool]b", false, ID(TOOL), ID(MARK), ID(B));
    IDS("<|user|>\n a", true, ID(USER), ID(MARK), BYTE_ID('\n'), ID(MARK_A));
    close_tiny();
}

static void phi3s_special_tokens_take_the_space_behind_them(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){.architecture = "phi3"});
    IDS("<|user|>\n a", true, ID(USER), ID(MARK_A));
    IDS("<|user|> \t\r\n", true, ID(USER));
    IDS("[tool] b", false, ID(TOOL), ID(MARK), ID(B));
    IDS("<s>\na", true, ID(BOS), ID(MARK), BYTE_ID('\n'), ID(A)); /* but this one does not */
    close_tiny();
}

static void characters_without_a_piece_become_bytes(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){0});
    IDS("\xc3\xa9", false, ID(MARK), BYTE_ID(0xc3), BYTE_ID(0xa9));
    IDS("<0x41>", false, ID(MARK), ID(LESS), BYTE_ID('0'), BYTE_ID('x'), BYTE_ID('4'), BYTE_ID('1'),
        ID(GREATER)); /* what names a byte token does not become it */
    close_tiny();
    /* without byte tokens: one unknown token for a run */
    open_tiny(&(struct tiny_sentencepiece){.kind_of_bytes = 1});
    IDS("\xc3\xa9\xc3\xbc"
        "a\xc3\xa9",
        false, ID(MARK), ID(UNK), ID(A), ID(UNK));
    char run[201];
    memset(run, '\0', sizeof run);
    for (int i = 0; i < 100; i++) memcpy(run + 2 * i, "\xc3\xa9", 2);
    IDS(run, false, ID(MARK), ID(UNK)); /* within a limit of two tokens, too: see assert_limit */
    close_tiny();
    /* the unknown token by its kind, if no key names it */
    open_tiny(&(struct tiny_sentencepiece){.kind_of_bytes = 1, .no_key = "tokenizer.ggml.unknown_token_id"});
    IDS("\xc3\xa9", false, ID(MARK), ID(UNK));
    close_tiny();
    /* with some of the byte tokens: a character has all of its bytes or is unknown */
    open_tiny(&(struct tiny_sentencepiece){.kind_of_41 = 1});
    IDS("A@", false, ID(MARK), ID(UNK), BYTE_ID('@'));
    close_tiny();
}

static void gemma4_merges_lines_by_rank(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){.model = "gemma4", .piece_of_hole = "\n\n", .kind_of_hole = 1});
    IDS("aab", false, ID(AA), ID(B)); /* "a a" is before "a b" in the list */
    IDS("b a", false, ID(B), ID(MARK_A));
    IDS(" aa", false, ID(MARK), ID(AA));
    IDS("abc", false, ID(AB), ID(C));
    IDS("a\xc3\xa9"
        "a",
        false, ID(A), BYTE_ID(0xc3), BYTE_ID(0xa9), ID(A));
    IDS("a\n\na\n\n\n", false, ID(A), ID(HOLE), ID(A), BYTE_ID('\n'), BYTE_ID('\n'), BYTE_ID('\n'));
    IDS("<s>a", true, ID(BOS), ID(A)); /* nothing in front of text */
    assert_string_equal(tokenizer_model_name(tokenizer), "gemma4");
    assert_true(tokenizer_adds_bos(tokenizer));
    close_tiny();
}

static void decoding_joins_bytes(void **state) {
    (void)state;
    static const token_id ids[] = {ID(BOS),       ID(MARK_A),    ID(MARKS),     BYTE_ID(0xf0),
                                   BYTE_ID(0x9f), BYTE_ID(0xa6), BYTE_ID(0x99), ID(TURN),
                                   ID(TOOL),      ID(HOLE),      BYTE_ID(0xc3), ID(B)};
    static const char expected[] = ", a,  ,,,,\xf0\x9f\xa6\x99,,[tool],,,\xef\xbf\xbd"
                                   "b,";
    char all[256], *end = all;
    struct tokenizer_stream stream = {0};
    open_tiny(&(struct tiny_sentencepiece){0});
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        end += tokenizer_decode_step(tokenizer, &stream, ids[i], end);
        *end++ = ',';
    }
    *end = '\0';
    assert_string_equal(all, expected);
    close_tiny();
}

static void what_the_file_says_of_itself(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){0});
    assert_true(tokenizer_adds_bos(tokenizer)); /* this kind's own wish */
    assert_string_equal(tokenizer_model_name(tokenizer), "llama");
    assert_string_equal(tokenizer_rule_name(tokenizer), "none");
    assert_true(tokenizer_is_end(tokenizer, ID(EOS)));
    /* marked as user-defined, but any text could become it then */
    assert_true(tokenizer_is_end(tokenizer, ID(TURN)));
    assert_int_equal(tokenizer_kind(tokenizer, ID(TURN)), TOKEN_CONTROL);
    IDS("<end_of_turn>", true, ID(TURN));
    close_tiny();
}

/* The merging, against the plainest way to do it: look for the best pair again after every merge. */
static size_t merge_naively(const char *word, token_id *ids) {
    static const struct {
        token_id left, right, result;
    } pairs[] = {{ID(B), ID(C), ID(BC)},         {ID(A), ID(B), ID(AB)},     {ID(BC), ID(D), ID(BCD)},
                 {ID(A), ID(A), ID(AA)},         {ID(AA), ID(AA), ID(AAAA)}, {ID(MARK), ID(A), ID(MARK_A)},
                 {ID(MARK), ID(MARK), ID(MARKS)}};
    enum { N_PAIRS = sizeof pairs / sizeof *pairs };
    size_t n = 0;
    ids[n++] = ID(MARK);
    for (const char *c = word; *c != '\0'; c++) ids[n++] = *c == ' ' ? ID(MARK) : ID(A) + (*c - 'a');
    for (;;) {
        size_t best = N_PAIRS, place = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t pair = 0; pair < best; pair++)
                if (ids[i] == pairs[pair].left && ids[i + 1] == pairs[pair].right) best = pair, place = i;
        if (best == N_PAIRS) return n;
        ids[place] = pairs[best].result;
        memmove(ids + place + 1, ids + place + 2, (n - place - 2) * sizeof *ids);
        n--;
    }
}

static void merging_equals_the_naive_way(void **state) {
    (void)state;
    open_tiny(&(struct tiny_sentencepiece){0});
    for (uint64_t round = 0; round < 20000; round++) {
        char word[41] = {0};
        token_id ids[41];
        size_t n = 1 + rng_u64(3, round) % 40;
        for (size_t i = 0; i < n; i++) word[i] = "aaa bcd "[rng_u64(round, i) % 8];
        size_t n_ids = merge_naively(word, ids);
        assert_ids(word, false, ids, n_ids);
    }
    close_tiny();
}

/* With work quadratic in a text's length this takes minutes. */
static void long_texts_are_no_trouble(void **state) {
    (void)state;
    enum { N = 1 << 17 };
    static const char *const units[] = {"a", " ", "a ", "\xc3\xa9", "<s", "[tool", "d a", "b  "};
    char *text = malloc(N);
    assert_non_null(text);
    struct token_list list = {0};
    for (size_t joint = 0; joint < 2; joint++) {
        open_tiny(&(struct tiny_sentencepiece){.piece_of_hole = joint != 0 ? "d_a" : NULL,
                                               .kind_of_hole = joint != 0 ? 1 : 0});
        for (size_t unit = 0; unit < sizeof units / sizeof units[0]; unit++) {
            size_t length = strlen(units[unit]), n_bytes = 0;
            for (size_t i = 0; i < N; i++) text[i] = units[unit][i % length];
            list.n = 0;
            if (tokenizer_encode(tokenizer, text, N / length * length, true, &list) < 0)
                fail_msg("'%s': %s", units[unit], err_message());
            for (size_t i = 0; i < list.n; i++) n_bytes += tokenizer_bytes(tokenizer, list.ids[i]).length;
            assert_int_equal(n_bytes, 1 + N / length * length);
        }
        close_tiny();
    }
    token_list_free(&list);
    free(text);
}

/* The vocabulary with these fields is refused with `code`, and the message has the words. */
#define REFUSED(code, words, ...) refused(ERR_##code, words, &(struct tiny_sentencepiece){__VA_ARGS__})

static void refused(int code, const char *words, const struct tiny_sentencepiece *tiny) {
    put_tiny_sentencepiece(&written, tiny);
    if (gguf_open_bytes(&file, written.bytes, written.length, "bad.gguf") < 0) fail_msg("%s", err_message());
    tokenizer = (struct tokenizer *)(void *)&written;
    int result = tokenizer_open(&tokenizer, file);
    gguf_close(file);
    if (result != code) fail_msg("%s instead of %s: %s", err_name(result), err_name(code), err_message());
    assert_null(tokenizer);
    if (strstr(err_message(), words) == NULL) fail_msg("no '%s' in: %s", words, err_message());
}

static void files_that_make_no_sense(void **state) {
    (void)state;
    REFUSED(CORRUPT, "no scores of its tokens (tokenizer.ggml.scores)", .no_key = "tokenizer.ggml.scores");
    REFUSED(CORRUPT, "scores is not an array of 32-bit floats", .scores_type = 5);
    REFUSED(CORRUPT, "scores has 280 entries for 279 tokens", .n_scores_off = 1);
    REFUSED(CORRUPT, "scores has 278 entries for 279 tokens", .n_scores_off = -1);
    REFUSED(CORRUPT, "scores[278] is not a finite number", .score_of_hole = NAN);
    REFUSED(CORRUPT, "scores[278] is not a finite number", .score_of_hole = INFINITY);
    REFUSED(CORRUPT, "neither a byte token <0x00> nor an unknown token", .kind_of_bytes = 1,
            .kind_of_unknown = 3, .no_key = "tokenizer.ggml.unknown_token_id");
    REFUSED(CORRUPT, "neither a byte token <0x41> nor an unknown token", .kind_of_41 = 1,
            .kind_of_unknown = 3, .no_key = "tokenizer.ggml.unknown_token_id");
    REFUSED(CORRUPT, "token 68 '<0x4G>' is marked as a byte", .spelling_of_41 = "<0x4G>");
    REFUSED(CORRUPT, "token 68 '<0x4>' is marked as a byte", .spelling_of_41 = "<0x4>");
    REFUSED(CORRUPT, "tokens 3 and 68 are both", .spelling_of_41 = "<0x00>");
    REFUSED(CORRUPT, "tokenizer.ggml.unknown_token_id is 279", .unknown_plus_1 = TINY_SP_N + 1);
    REFUSED(CORRUPT, "tokenizer.ggml.add_space_prefix", .odd_space_prefix = true);
    REFUSED(CORRUPT, "no merges", .model = "gemma4", .no_key = "tokenizer.ggml.merges");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(highest_score_merges_first),
        cmocka_unit_test(spaces_are_marks),
        cmocka_unit_test(special_tokens_end_and_begin_text),
        cmocka_unit_test(phi3s_special_tokens_take_the_space_behind_them),
        cmocka_unit_test(characters_without_a_piece_become_bytes),
        cmocka_unit_test(gemma4_merges_lines_by_rank),
        cmocka_unit_test(decoding_joins_bytes),
        cmocka_unit_test(what_the_file_says_of_itself),
        cmocka_unit_test(merging_equals_the_naive_way),
        cmocka_unit_test(long_texts_are_no_trouble),
        cmocka_unit_test(files_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
