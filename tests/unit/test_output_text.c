/* Tokens to text: against an oracle that looks at the whole text, over random token borders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/rng.h"
#include "server/output_text.h"

#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

enum { TEXT_MAX = 400, STOPS_MAX = 4 };

static uint64_t drawn;
static uint32_t draw(uint32_t below) { return (uint32_t)(rng_u64(7, drawn++) % below); }

static const char *const letters[] = {
    "a", "a", "b", "b", "c", "d", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

static void put_letters(char *text, uint32_t n) {
    text[0] = '\0';
    for (uint32_t i = 0; i < n; i++) strcat(text, letters[draw(sizeof letters / sizeof *letters)]);
}

/* The next token of a text: a longer one that fits, or one byte. */
static token_id cut_token(const char *text, size_t *length) {
    static const struct {
        const char *piece;
        token_id id;
    } pieces[] = {{"bc", TINY_BC}, {"ab", TINY_AB}, {"bcd", TINY_BCD}, {"aa", TINY_AA}, {"aaaa", TINY_AAAA}};
    for (int tries = 0; tries < 3; tries++) {
        size_t i = draw(sizeof pieces / sizeof *pieces);
        *length = strlen(pieces[i].piece);
        if (strncmp(text, pieces[i].piece, *length) == 0) return pieces[i].id;
    }
    *length = 1;
    return (uint8_t)text[0];
}

static bool ends_with(const char *text, size_t length, const char *stop) {
    size_t n = strlen(stop);
    return n <= length && memcmp(text + length - n, stop, n) == 0;
}

/* Where the text must end if its first `length` bytes are known; *stopped says whether for good. */
static size_t cut_point(const char *text, size_t length, char *const *stops, uint32_t n_stops,
                        bool *stopped) {
    *stopped = true;
    for (size_t end = 1; end <= length; end++) {
        size_t longest = 0;
        for (uint32_t i = 0; i < n_stops; i++)
            if (ends_with(text, end, stops[i]) && strlen(stops[i]) > longest) longest = strlen(stops[i]);
        if (longest > 0) return end - longest;
    }
    *stopped = false;
    for (size_t start = 0; start < length; start++)
        for (uint32_t i = 0; i < n_stops; i++)
            if (strncmp(text + start, stops[i], length - start) == 0) return start;
    return length;
}

/* The bytes of whole characters among the first `length`. */
static size_t whole(const char *text, size_t length) {
    while ((text[length] & 0xc0) == 0x80) length--;
    return length;
}

static void check(const char *text, char *const *stops, uint32_t n_stops) {
    struct output_text *output;
    struct text out = {0};
    bool stopped = false;
    assert_int_equal(output_text_open(&output, tokenizer, stops, n_stops), 0);
    for (size_t at = 0, length; text[at] != '\0' && !stopped; at += length) {
        const char *held;
        bool says = output_text_add(output, cut_token(text + at, &length), &out);
        size_t n = cut_point(text, whole(text, at + length), stops, n_stops, &stopped);
        if (says != stopped || out.length != n || memcmp(text, out.length > 0 ? out.bytes : "", n) != 0)
            fail_msg("'%.*s' of '%s', stops '%s': gave '%s', not %zu bytes", (int)(at + length), text, text,
                     n_stops > 0 ? stops[0] : "", out.length > 0 ? out.bytes : "", n);
        size_t n_held = output_text_held(output, &held);
        if (!stopped)
            assert_true(n_held == whole(text, at + length) - n && memcmp(held, text + n, n_held) == 0);
        assert_true((output_text_stopped_by(output) >= 0) == stopped);
    }
    size_t n_cut = out.length;
    if (stopped) {
        assert_true(output_text_add(output, 'a', &out));
        assert_true(ends_with(text, n_cut + strlen(stops[output_text_stopped_by(output)]),
                              stops[output_text_stopped_by(output)]));
    }
    output_text_end(output, &out);
    assert_int_equal(out.length, stopped ? n_cut : strlen(text));
    assert_true(out.length == 0 || memcmp(out.bytes, text, out.length) == 0);
    text_free(&out);
    output_text_close(output);
}

static void agrees_with_the_oracle(void **state) {
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[TEXT_MAX], strings[STOPS_MAX][TEXT_MAX], *stops[STOPS_MAX];
        uint32_t n_stops = draw(STOPS_MAX + 1);
        put_letters(text, draw(30));
        for (uint32_t i = 0; i < n_stops; i++) put_letters(stops[i] = strings[i], 1 + draw(5));
        check(text, stops, n_stops);
    }
}

static void keeps_the_border_cases(void **state) {
    (void)state;
    check("aab", (char *[]){"aaab", "ab"}, 2);
    check("aaaab", (char *[]){"aaab"}, 1);
    check("abcabd", (char *[]){"abd"}, 1);
    check("abc", (char *[]){"bc", "abc", "c"}, 3);
    check("abc", (char *[]){"abcd", "b"}, 2);
    check("aabaaabaaac", (char *[]){"aabaaac"}, 1);
    check("", (char *[]){"a"}, 1);
}

/* A broken character is U+FFFD, at once or at the end; control tokens have no text and break no stop string.
 */
static void broken_characters_and_control_tokens(void **state) {
    (void)state;
    struct output_text *output;
    struct text out = {0};
    assert_int_equal(output_text_open(&output, tokenizer, (char *[]){"ab\xef\xbf\xbd"}, 1), 0);
    assert_false(output_text_add(output, 0xe2, &out));
    assert_false(output_text_add(output, 0x82, &out));
    assert_int_equal(out.length, 0);
    assert_false(output_text_add(output, 'a', &out));
    assert_string_equal(out.bytes, "\xef\xbf\xbd");
    assert_false(output_text_add(output, TINY_EOS, NULL));
    assert_false(output_text_add(output, 'b', &out));
    assert_string_equal(out.bytes, "\xef\xbf\xbd");
    assert_false(output_text_add(output, 0xc3, &out));
    output_text_end(output, &out);
    assert_string_equal(out.bytes, "\xef\xbf\xbd"); /* the last one completes the stop string */
    text_free(&out);
    output_text_close(output);
}

static void released_text_begins_no_stop_string(void **state) {
    (void)state;
    struct output_text *output;
    struct text out = {0};
    assert_int_equal(output_text_open(&output, tokenizer, (char *[]){"abc"}, 1), 0);
    assert_false(output_text_add(output, TINY_AB, &out));
    assert_int_equal(out.length, 0);
    output_text_release(output, &out);
    assert_false(output_text_add(output, 'c', &out));
    assert_string_equal(out.bytes, "abc");
    text_free(&out);
    output_text_close(output);
}

static void allocates_at_open_only(void **state) {
    (void)state;
    struct output_text *output;
    for (uint64_t n = 1; n <= 3; n++) {
        fault_arm(FAULT_ONCE, n);
        assert_int_equal(output_text_open(&output, tokenizer, (char *[]){"ab", "b"}, 2), ERR_NO_MEMORY);
        fault_disarm();
        assert_null(output);
    }
    assert_int_equal(output_text_open(&output, tokenizer, (char *[]){"ab", "d"}, 2), 0);
    uint64_t before = mem_count();
    for (int i = 0; i < 100; i++) assert_false(output_text_add(output, i % 2 ? 'a' : 'c', NULL));
    assert_true(output_text_add(output, 'b', NULL));
    assert_int_equal(mem_count(), before);
    output_text_close(output);
}

static int open_tiny(void **state) {
    (void)state;
    put_tiny_vocabulary(&written, &(struct tiny_vocabulary){0});
    open_written();
    return 0;
}

static int close_all(void **state) {
    (void)state;
    close_tiny();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_oracle),
        cmocka_unit_test(keeps_the_border_cases),
        cmocka_unit_test(broken_characters_and_control_tokens),
        cmocka_unit_test(released_text_begins_no_stop_string),
        cmocka_unit_test(allocates_at_open_only),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_all);
}
