/* Schemas and grammars that are refused, each in one line; the hostile ones before they cost much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

#include "constraint_case.h"

static int set_up(void **state) {
    (void)state;
    open_vocabulary(&(struct tiny_vocabulary){0});
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    close_vocabulary();
    return 0;
}

static void assert_refused(enum constraint_kind kind, const char *source, const char *says) {
    struct constraint *constraint = NULL;
    int code = constraint_open(&constraint, vocabulary, kind, source, strlen(source));
    if (code >= 0) fail_msg("taken: %.200s", source);
    assert_null(constraint);
    assert_int_equal(code, ERR_INVALID);
    assert_null(strchr(err_message(), '\n'));
    if (strstr(err_message(), says) == NULL) fail_msg("no '%s' in: %s", says, err_message());
}

static void what_is_wrong_is_said_in_a_line(void **state) {
    (void)state;
    static const struct {
        enum constraint_kind kind;
        const char *source, *says;
    } cases[] = {
        {CONSTRAINT_JSON_SCHEMA, "", "not JSON"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"object\"", "not JSON"},
        {CONSTRAINT_JSON_SCHEMA, "{} {}", "not JSON"},
        {CONSTRAINT_JSON_SCHEMA, "{\"title\": \"\xff\"}", "not UTF-8"},
        {CONSTRAINT_JSON_SCHEMA, "[]", "no JSON object"},
        {CONSTRAINT_JSON_SCHEMA, "7", "no JSON object"},
        {CONSTRAINT_JSON_SCHEMA, "false", "no JSON object"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"strnig\"}", "strnig"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"string\", \"enum\": [1]}", "Unsatisfiable"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"integer\", \"minimum\": 2, \"maximum\": 1}", "Unsatisfiable"},
        {CONSTRAINT_JSON_SCHEMA, "{\"not\": {}}", "\"not\""},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"string\", \"format\": \"shoe size\"}", "shoe size"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"string\", \"pattern\": \"(\"}", "unclosed group"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"string\", \"pattern\": \"(?=a)b\"}", "look-around"},
        {CONSTRAINT_JSON_SCHEMA, "{\"type\": \"string\", \"minLength\": -1}", "minLength"},
        {CONSTRAINT_JSON_SCHEMA, "{\"$ref\": \"#/$defs/none\"}", "not found"},
        /* nothing is fetched or read */
        {CONSTRAINT_JSON_SCHEMA, "{\"$ref\": \"http://example.com/a.json\"}", "http://example.com/a.json"},
        {CONSTRAINT_JSON_SCHEMA, "{\"$ref\": \"file:///etc/passwd\"}", "file:///etc/passwd"},
        /* references that go round in circles */
        {CONSTRAINT_JSON_SCHEMA, "{\"$ref\": \"#\"}", "no text fits"},
        {CONSTRAINT_JSON_SCHEMA,
         "{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\"}, \"b\": {\"$ref\":"
         " \"#/$defs/a\"}}}",
         "no text fits"},
        {CONSTRAINT_JSON_SCHEMA,
         "{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\", \"type\": \"object\"}, "
         "\"b\":"
         " {\"$ref\": \"#/$defs/a\", \"type\": \"object\"}}}",
         "circular"},
        /* the 100th byte of the value is within a character: llguidance panics on it */
        {CONSTRAINT_JSON_SCHEMA,
         "{\"type\": \"string\", \"minLength\": "
         "\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
         "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"}",
         "char boundary"},
        {CONSTRAINT_REGEX, "(", "unclosed group"},
        {CONSTRAINT_REGEX, "[^\\s\\S]", ""},
        {CONSTRAINT_LARK, "", "start"},
        {CONSTRAINT_LARK, "start: thing", "thing"},
        {CONSTRAINT_LARK, "start: <[9999999]>", "9999999"},
        {CONSTRAINT_LARK, "start: %json {\"$ref\": \"#\"}", "no text fits"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].kind, cases[i].source, cases[i].says);
}

/* --- sources made of many parts --- */

static char text[1 << 20];
static size_t text_length;

static void put(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void put(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text + text_length, sizeof text - text_length, format, arguments);
    va_end(arguments);
    text_length += (size_t)n;
    assert_true(n >= 0 && text_length < sizeof text);
}

/* `before`, then n parts with %u for their number and commas between, then `behind`. */
static const char *parts(const char *before, unsigned n, const char *part, const char *behind) {
    text_length = 0;
    put("%s", before);
    for (unsigned i = 0; i < n; i++) {
        const char *number = strstr(part, "%u");
        if (number == NULL)
            put("%s%s", i > 0 ? ", " : "", part);
        else
            put("%s%.*s%u%s", i > 0 ? ", " : "", (int)(number - part), part, i, number + 2);
    }
    put("%s", behind);
    return text;
}

static void schemas_that_cost_too_much_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *before;
        unsigned n;
        const char *part, *behind, *says;
    } cases[] = {
        {"{\"title\": \"", 300000, "x", "\"}", "are the most"},
        {"{\"enum\": [", 40000, "%u", "]}", "262144 are the most"},
        {"", 200, "[", "", "not JSON"}, /* commas make it wrong, brackets deep */
        {"{\"properties\": {", 1001, "\"p%u\": {}", "}}", "1001 properties in one object"},
        {"{\"const\": {", 1001, "\"p%u\": 1", "}}", "1001 properties in one object"},
        {"{\"required\": [", 1001, "\"p%u\"", "]}", "1001 properties in one object"},
        {"{\"minProperties\": 1, \"properties\": {", 41, "\"p%u\": {}", "}, \"additionalProperties\": false}",
         "41 properties beside minProperties"},
        {"{\"patternProperties\": {", 33, "\"^a%ua$\": {}", "}}", "33 patternProperties"},
        {"{\"oneOf\": [", 2001, "{\"const\": %u}", "]}", "2001 choices in oneOf"},
        {"{\"allOf\": [", 11, "{\"type\": \"string\", \"pattern\": \"(a|b)*a(a|b){1%u}\"}", "]}",
         "11 patterns that hold together"},
        {"{\"type\": \"string\", \"pattern\": \"a\", \"$ref\": \"#/$defs/p0\", \"$defs\": {", 11,
         "\"p%u\": {\"pattern\": \"(a|b)*a(a|b){10}\", \"allOf\": [{}, {}]}", "}}",
         "patterns that hold together"},
        {"{\"type\": \"object\", \"oneOf\": [true, {\"properties\": {\"x\": {}}}], \"properties\": {", 1000,
         "\"p%u\": {\"enum\": [1, 2]}", "}}", "1001 properties in one object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(CONSTRAINT_JSON_SCHEMA,
                       parts(cases[i].before, cases[i].n, cases[i].part, cases[i].behind), cases[i].says);
}

static void copies_of_large_objects_are_refused(void **state) {
    (void)state;
    text_length = 0;
    put("{\"properties\": {\"x\": {}");
    for (unsigned i = 0; i < 900; i++) put(", \"p%u\": {}", i);
    put("}, \"oneOf\": [true");
    for (unsigned i = 0; i < 1000; i++) put(", true");
    put("]}");
    assert_refused(CONSTRAINT_JSON_SCHEMA, text, "properties times choices");
}

static void schemas_within_a_grammar_are_counted(void **state) {
    (void)state;
    assert_refused(CONSTRAINT_LARK,
                   parts("start: tool\ntool: %json {\"properties\": {", 1001, "\"p%u\": {}", "}}\n"),
                   "1001 properties in one object");
}

/* A stack for 8 MB of recursion would not do. */
static void long_chains_of_references_are_no_trouble(void **state) {
    (void)state;
    enum { N = 6000 };
    text_length = 0;
    put("{\"$ref\": \"#/$defs/0\", \"$defs\": {");
    for (unsigned i = 0; i < N; i++) put("\"%u\": {\"$ref\": \"#/$defs/%u\"}, ", i, i + 1);
    put("\"%u\": {\"const\": 1}}}", N);
    struct constraint *constraint = open_source(CONSTRAINT_JSON_SCHEMA, text);
    accept_text(constraint, "1");
    assert_true(constraint_is_finished(constraint));
    constraint_close(constraint);
}

static void put_nested(unsigned levels) {
    text_length = 0;
    for (unsigned i = 1; i < levels; i++) put("{\"items\": ");
    put("{\"type\": \"null\"}");
    for (unsigned i = 1; i < levels; i++) put("}");
}

static void deep_schemas_are_no_trouble(void **state) {
    (void)state;
    put_nested(127);
    constraint_close(open_source(CONSTRAINT_JSON_SCHEMA, text));
    static const unsigned too_deep[] = {128, 10000};
    for (size_t i = 0; i < sizeof too_deep / sizeof too_deep[0]; i++) {
        put_nested(too_deep[i]);
        assert_refused(CONSTRAINT_JSON_SCHEMA, text, "recursion limit");
    }
}

/* As many choices as a source holds, of which an answer is one. */
static void large_enums_are_no_trouble(void **state) {
    (void)state;
    struct constraint *constraint =
        open_source(CONSTRAINT_JSON_SCHEMA, parts("{\"enum\": [", 20000, "\"a%uz\"", "]}"));
    accept_text(constraint, "\"a19999");
    uint32_t mask[N_WORDS];
    take_mask(constraint, mask);
    for (token_id id = 0; id < 128; id++)
        assert_int_equal(mask_has(mask, id), id == 'z'); /* no sixth digit */
    accept_text(constraint, "z\"");
    assert_true(constraint_is_finished(constraint));
    constraint_close(constraint);
}

static void large_numbers_are_no_trouble(void **state) {
    (void)state;
    static const char *const schemas[] = {
        "{\"type\": \"array\", \"items\": {}, \"maxItems\": 1000000000000000000}",
        "{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1000000000}",
        "{\"type\": \"string\", \"maxLength\": 1000000000}",
        "{\"type\": \"object\", \"minProperties\": 1000000000}",
        "{\"type\": \"integer\", \"multipleOf\": 4294967291}",
        "{\"type\": \"string\", \"pattern\": \"((((a{1,100}){1,100}){1,100}){1,100}){1,100}\"}",
        "{\"type\": \"string\", \"pattern\": \"^(a|b)*a(a|b){300}$\"}",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        struct constraint *constraint = open_source(CONSTRAINT_JSON_SCHEMA, schemas[i]);
        uint32_t mask[N_WORDS];
        take_mask(constraint, mask);
        constraint_close(constraint);
    }
    assert_refused(CONSTRAINT_JSON_SCHEMA, "{\"type\": \"string\", \"minLength\": 100000000000000000}", "");
    assert_refused(CONSTRAINT_JSON_SCHEMA, "{\"type\": \"number\", \"minimum\": 1e999}", "not JSON");
    assert_refused(CONSTRAINT_JSON_SCHEMA, "{\"type\": \"integer\", \"multipleOf\": 0}", "");
}

/* What no count foresees ends where `bounded` ends it: here every definition merges the next one twice, with
 * a list to copy. It costs a thread, so after a few such schemas may not merge any more. */
static void what_is_not_counted_is_stopped(void **state) {
    (void)state;
    static const char merging[] = "{\"allOf\": [{\"type\": \"null\"}, {}]}";
    text_length = 0;
    put("{\"$ref\": \"#/$defs/0\", \"$defs\": {");
    for (unsigned i = 0; i < 30; i++)
        put("\"%u\": {\"allOf\": [{\"properties\": {\"a\": {\"$ref\": \"#/$defs/%u\"}, \"b\": {\"$ref\":"
            " \"#/$defs/%u\"}}}, {\"properties\": {\"a\": {\"type\": \"object\"}, \"b\": {\"type\":"
            " \"object\"}}}]}, ",
            i, i + 1, i + 1);
    put("\"30\": {\"type\": \"object\", \"properties\": {\"list\": {\"enum\": [0");
    for (unsigned i = 1; i < 3000; i++) put(", %u", i);
    put("]}}}}}");
    for (int i = 0; i < 4; i++) {
        constraint_close(open_source(CONSTRAINT_JSON_SCHEMA, merging));
        assert_refused(CONSTRAINT_JSON_SCHEMA, text, "asks for more memory");
    }
    assert_refused(CONSTRAINT_JSON_SCHEMA, text, "until a restart");
    assert_refused(CONSTRAINT_JSON_SCHEMA, merging, "until a restart");
    constraint_close(open_source(CONSTRAINT_JSON_OBJECT, ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_said_in_a_line),
        cmocka_unit_test(schemas_that_cost_too_much_are_refused),
        cmocka_unit_test(copies_of_large_objects_are_refused),
        cmocka_unit_test(schemas_within_a_grammar_are_counted),
        cmocka_unit_test(long_chains_of_references_are_no_trouble),
        cmocka_unit_test(deep_schemas_are_no_trouble),
        cmocka_unit_test(large_enums_are_no_trouble),
        cmocka_unit_test(large_numbers_are_no_trouble),
        cmocka_unit_test(what_is_not_counted_is_stopped),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
