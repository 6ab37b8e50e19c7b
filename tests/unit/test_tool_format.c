/* Tool calls: found in a text however it is cut into pieces, and described to templates and grammars. */
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
#include "base/fault.h"
#include "base/rng.h"
#include "server/tool_format.h"
#include "server/tool_parser.h"

#include "quoted_json.h"
#include "tiny_tokenizer.h"
#include "tiny_vocabulary.h"

/* --- the parser --- */

/* What came out, as one line: text as it is, a call as «name arguments», one cut off as «name arguments(. */
struct record {
    struct text line;
    bool in_call;
};

static void on_text(void *user, const char *bytes, size_t length) {
    struct record *record = user;
    assert_false(record->in_call);
    assert_true(length > 0);
    text_append(&record->line, bytes, length);
}

static void on_call(void *user, const char *name) {
    struct record *record = user;
    assert_false(record->in_call);
    record->in_call = true;
    text_printf(&record->line, "\xc2\xab%s ", name);
}

static void on_arguments(void *user, const char *bytes, size_t length) {
    struct record *record = user;
    assert_true(record->in_call);
    text_append(&record->line, bytes, length);
}

static void on_end(void *user) {
    struct record *record = user;
    assert_true(record->in_call);
    record->in_call = false;
    text_append_string(&record->line, "\xc2\xbb");
}

static struct tool_parser *open_parser(enum tool_format format, bool is_forced, struct record *record) {
    struct tool_parser *parser;
    const struct tool_sink sink = {on_text, on_call, on_arguments, on_end, record};
    if (tool_parser_open(&parser, format, is_forced, &sink) < 0) fail_msg("%s", err_message());
    return parser;
}

/* The answer in pieces of at most `most` bytes, by chance. */
static void assert_parsed(enum tool_format format, bool is_forced, const char *answer, uint32_t most,
                          uint64_t seed, const char *expected) {
    struct record record = {0};
    struct tool_parser *parser = open_parser(format, is_forced, &record);
    size_t length = strlen(answer);
    for (size_t at = 0, n; at < length; at += n) {
        n = 1 + rng_u64(seed, at) % most;
        if (n > length - at) n = length - at;
        tool_parser_add(parser, answer + at, n);
    }
    assert_true(tool_parser_end(parser));
    tool_parser_close(parser);
    const char *line = record.line.length > 0 ? record.line.bytes : "";
    if (strcmp(line, expected) != 0)
        fail_msg("'%s' (pieces of %u)\ngave '%s'\nnot  '%s'", answer, most, line, expected);
    text_free(&record.line);
}

static void parses(enum tool_format format, bool is_forced, const char *answer, const char *expected) {
    assert_parsed(format, is_forced, answer, 1, 0, expected);
    assert_parsed(format, is_forced, answer, 10000, 0, expected);
    for (uint64_t seed = 0; seed < 50; seed++) assert_parsed(format, is_forced, answer, 9, seed, expected);
}

#define CALL_F                                                                                               \
    "\xc2\xab"                                                                                               \
    "f {\"a\":1}"                                                                                            \
    "\xc2\xbb"
#define CALL_G                                                                                               \
    "\xc2\xab"                                                                                               \
    "g {}"                                                                                                   \
    "\xc2\xbb"
#define HERMES_F "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"
#define HERMES_G "<tool_call>{\"name\":\"g\"}</tool_call>"

static void hermes_calls(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"plain text", "plain text"},
        {" \n two \n ", " \n two \n "},
        {HERMES_F, CALL_F},
        {"I will.\n" HERMES_F "\n" HERMES_G "\n", "I will." CALL_F CALL_G},
        {HERMES_F HERMES_G " done ", CALL_F CALL_G "done "},
        {HERMES_F "\n<b>", CALL_F "<b>"},
        {HERMES_F "</tool", CALL_F "</tool"},
        {"<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}", CALL_F},
        {"<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}" HERMES_G, CALL_F CALL_G},
        {"<tool_call>{\"arguments\":\"{\\\"a\\\":1}\",\"name\":\"f\"}</tool_call>", CALL_F},
        {"<tool_call>{\"name\":\"f\",\"parameters\":{\"a\":1}}</tool_call>", CALL_F},
        {"<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"}</tool_call>\\\"{\"}}</tool_call>",
         "\xc2\xab"
         "f {\"s\":\"}</tool_call>\\\"{\"}\xc2\xbb"},
        {"\xc3\xa9<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"\xe2\x82\xac\"}}",
         "\xc3\xa9\xc2\xab"
         "f {\"s\":\"\xe2\x82\xac\"}\xc2\xbb"},
        {"a < b <to <<tool_cal", "a < b <to <<tool_cal"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        parses(TOOL_FORMAT_HERMES, false, cases[i][0], cases[i][1]);
}

/* Whatever is no call comes out unchanged. */
static void broken_calls_are_text(void **state) {
    (void)state;
    static const char *const broken[] = {
        "<tool_call>",
        "<tool_call>f(1)</tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}</tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1]}</tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":",
        "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":\"x\"}</tool_call>",
        "<tool_call>{\"name\":7,\"arguments\":{}}</tool_call>",
        "<tool_call>{\"name\":\"\"}</tool_call>",
        "<tool_call>{\"arguments\":{}}</tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"\n\"}}</tool_call>",
        "<tool_call>{\"name\":\"f\",\"arguments\":{a:1}}</tool_call>",
        "<tool_call>\n<function=f>\n</function>\n</tool_call>",
        "</tool_call>",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char answer[400], expected[400];
        parses(TOOL_FORMAT_HERMES, false, broken[i], broken[i]);
        (void)snprintf(answer, sizeof answer, "%s\n%s", HERMES_F, broken[i]);
        (void)snprintf(expected, sizeof expected, "%s%s", CALL_F, broken[i]);
        /* an end tag behind a call belongs to it, even the second one would not */
        if (strcmp(broken[i], "</tool_call>") != 0) parses(TOOL_FORMAT_HERMES, false, answer, expected);
    }
    parses(TOOL_FORMAT_HERMES, false, "<tool_call>{\"a\": <tool_call>{\"name\":\"g\"}",
           "<tool_call>{\"a\": " CALL_G);
}

static void llama_calls(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"name\": \"f\", \"parameters\": {\"a\": 1}}", CALL_F},
        {" \n{\"type\":\"function\",\"name\": \"f\", \"parameters\": {\"a\": 1}}\n", CALL_F},
        {"{\"name\":\"f\",\"parameters\":{\"a\":1}}; {\"name\":\"g\",\"parameters\":{}}", CALL_F CALL_G},
        {"{\"name\":\"f\",\"arguments\":{\"a\":1}}\n{\"name\":\"g\",\"parameters\":{}}", CALL_F CALL_G},
        {"{\"name\":\"f\",\"parameters\":{\"a\":1}} so", CALL_F "so"},
        {"{\"name\":\"f\",\"parameters\":{\"a\":1}} so {\"name\":\"g\",\"parameters\":{}}",
         CALL_F "so {\"name\":\"g\",\"parameters\":{}}"},
        {"Use {\"name\": \"f\", \"parameters\": {}}", "Use {\"name\": \"f\", \"parameters\": {}}"},
        {"{\"name\":\"Ann\",\"age\":7}", "{\"name\":\"Ann\",\"age\":7}"},
        {"{\"n\":1}", "{\"n\":1}"},
        {"{}", "{}"},
        {"{", "{"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        parses(TOOL_FORMAT_LLAMA, false, cases[i][0], cases[i][1]);
}

static void mistral_calls(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}]", CALL_F},
        {"[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"123456789\"}, "
         "{\"name\":\"g\"}] ",
         CALL_F CALL_G},
        {"ok [TOOL_CALLS]{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "ok" CALL_F},
        {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}, 7]", CALL_F "7]"},
        {"[TOOL_CALLS]f{\"a\":1}", "[TOOL_CALLS]f{\"a\":1}"},
        {"[TOOL_CALLS][[", "[TOOL_CALLS][["},
        {"[a] [TOOL", "[a] [TOOL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        parses(TOOL_FORMAT_MISTRAL, false, cases[i][0], cases[i][1]);
}

/* What the grammar allows: the same calls, arguments as they were written, and cut off ones as they are. */
static void forced_calls_stream_their_arguments(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {HERMES_F "\n" HERMES_F, "\xc2\xab"
                                 "f {\"a\": 1}\xc2\xbb\xc2\xab"
                                 "f {\"a\": 1}\xc2\xbb"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": {\"b\": [1,",
         "\xc2\xab"
         "f {\"a\": {\"b\": [1,\xc2\xbb"},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {}", "\xc2\xab"
                                                             "f {}\xc2\xbb"},
        {"<tool_call>\n{\"name\": \"f\", \"argum", "<tool_call>\n{\"name\": \"f\", \"argum"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        parses(TOOL_FORMAT_HERMES, true, cases[i][0], cases[i][1]);
    parses(TOOL_FORMAT_LLAMA, true,
           "{\"name\": \"f\", \"parameters\": {\"a\":1}}; {\"name\": \"g\", \"parameters\": {}}",
           CALL_F CALL_G);
    parses(TOOL_FORMAT_MISTRAL, true,
           "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\":1}}, {\"name\": \"g\", \"arguments\": {}}]",
           CALL_F CALL_G);
    struct record record = {0};
    struct tool_parser *parser = open_parser(TOOL_FORMAT_HERMES, true, &record);
    const char *beginning = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": ";
    tool_parser_add(parser, beginning, strlen(beginning));
    assert_string_equal(record.line.bytes, "\xc2\xab"
                                           "f {\"a\": ");
    tool_parser_add(parser, "1", 1);
    assert_string_equal(record.line.bytes, "\xc2\xab"
                                           "f {\"a\": 1");
    tool_parser_close(parser);
    text_free(&record.line);
}

/* Text is held only while it may begin a call. */
static void text_is_not_held_longer_than_needed(void **state) {
    (void)state;
    static const struct {
        enum tool_format format;
        const char *answer;
        size_t n_given;
    } cases[] = {{TOOL_FORMAT_HERMES, "ab <tool", 2},   {TOOL_FORMAT_HERMES, "ab <tool_x", 10},
                 {TOOL_FORMAT_HERMES, "{\"name\"", 7},  {TOOL_FORMAT_HERMES, "<tool_call>{\"a\":\"\n", 17},
                 {TOOL_FORMAT_LLAMA, "{\"na", 0},       {TOOL_FORMAT_LLAMA, "{\"no", 4},
                 {TOOL_FORMAT_LLAMA, "a {\"name\"", 9}, {TOOL_FORMAT_MISTRAL, "[TOOL_CALLS][", 0},
                 {TOOL_FORMAT_MISTRAL, "[1", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct record record = {0};
        struct tool_parser *parser = open_parser(cases[i].format, false, &record);
        tool_parser_add(parser, cases[i].answer, strlen(cases[i].answer));
        assert_int_equal(record.line.length, cases[i].n_given);
        tool_parser_close(parser);
        text_free(&record.line);
    }
}

/* Random bytes of what calls are made of: nothing is lost but white space and what belongs to calls, and the
 * pieces do not matter. */
static void pieces_do_not_matter(void **state) {
    (void)state;
    static const char *const bits[] = {"<tool_call>",
                                       "</tool_call>",
                                       "{\"name\":\"f\"",
                                       ",\"arguments\":{",
                                       "}",
                                       "}",
                                       "\"",
                                       "x",
                                       " ",
                                       "\n",
                                       "[TOOL_CALLS]",
                                       "[",
                                       "]",
                                       ",",
                                       ";",
                                       "<",
                                       "{\"name\":\"g\",\"parameters\":{}}"};
    for (uint64_t round = 0; round < 20000; round++) {
        char answer[1000] = "";
        uint64_t n = rng_u64(1, round) % 14;
        for (uint64_t i = 0; i < n; i++)
            strcat(answer, bits[rng_u64(round + 2, i) % (sizeof bits / sizeof *bits)]);
        enum tool_format format = (enum tool_format)(round % 3);
        struct record record = {0};
        struct tool_parser *parser = open_parser(format, round % 2 == 0, &record);
        tool_parser_add(parser, answer, strlen(answer));
        assert_true(tool_parser_end(parser));
        tool_parser_close(parser);
        assert_false(record.in_call);
        assert_parsed(format, round % 2 == 0, answer, 1 + (uint32_t)(round % 7), round,
                      record.line.length > 0 ? record.line.bytes : "");
        text_free(&record.line);
    }
}

static void no_memory_is_told(void **state) {
    (void)state;
    struct tool_parser *parser;
    struct record record = {0};
    const struct tool_sink sink = {on_text, on_call, on_arguments, on_end, &record};
    fault_arm(FAULT_ONCE, 1);
    assert_int_equal(tool_parser_open(&parser, TOOL_FORMAT_HERMES, false, &sink), ERR_NO_MEMORY);
    fault_disarm();
    parser = open_parser(TOOL_FORMAT_HERMES, false, &record);
    fault_arm(FAULT_FROM_THEN_ON, 1);
    tool_parser_add(parser, "<tool_call>", 11);
    fault_disarm();
    assert_false(tool_parser_end(parser));
    tool_parser_close(parser);
    text_free(&record.line);
}

/* --- formats --- */

static void templates_tell_the_format(void **state) {
    (void)state;
    static const struct {
        const char *source;
        enum tool_format format;
        bool is_native;
    } cases[] = {
        {NULL, TOOL_FORMAT_HERMES, false},
        {"{% for message in messages %}{{ message.content }}{% endfor %}", TOOL_FORMAT_HERMES, false},
        {"{% if tools %}<tool_call>\n{\"name\": <n>, \"arguments\": <a>}\n</tool_call>", TOOL_FORMAT_HERMES,
         true},
        {"{% if tools %}<tool_call>\n<function=x> arguments", TOOL_FORMAT_HERMES, false},
        {"{% if tools %}[TOOL_CALLS][", TOOL_FORMAT_MISTRAL, true},
        {"{% if tools %}[TOOL_CALLS]x[ARGS]", TOOL_FORMAT_HERMES, false},
        {"{% if tools %}{\"name\": x, \"parameters\": y} ipython", TOOL_FORMAT_LLAMA, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tool_format_of(cases[i].source), cases[i].format);
        assert_int_equal(tool_format_is_native(cases[i].source), cases[i].is_native);
    }
}

static void marks_may_be_control_tokens(void **state) {
    (void)state;
    struct tool_marks marks = tool_format_marks(TOOL_FORMAT_HERMES, tokenizer);
    assert_string_equal(marks.open, "<tool_call>");
    assert_int_equal(marks.open_token, TINY_HOLE);
    assert_string_equal(marks.close, "</tool_call>");
    assert_int_equal(marks.close_token, -1);
    assert_int_equal(tool_format_marks(TOOL_FORMAT_MISTRAL, tokenizer).open_token, -1);
    assert_int_equal(tool_format_marks(TOOL_FORMAT_LLAMA, tokenizer).open_token, -1);
}

static json_t *two_tools(void) {
    json_t *tools = json_loads(
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"g-1\",\"parameters\":{}}}]",
        0, NULL);
    assert_non_null(tools);
    return tools;
}

static void assert_grammar(enum tool_format format, const char *name, bool parallel, const char *expected) {
    struct text lark = {0};
    json_t *tools = two_tools();
    assert_int_equal(tool_format_grammar(format, tokenizer, tools, name, parallel, &lark), 0);
    assert_string_equal(lark.bytes, expected);
    text_free(&lark);
    json_decref(tools);
}

/* No white space but one space behind a comma or a colon. */
#define SPACES                                                                                               \
    "\"x-guidance\":{\"whitespace_flexible\":false,\"item_separator\":\", \",\"key_separator\":\": \"}"

#define HERMES_TOOLS                                                                                         \
    "tool_0: \"{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": \" arguments_0 \"}\"\n"                          \
    "arguments_0: %json {\"type\":\"object\"," SPACES "}\n"                                                  \
    "tool_1: \"{\\\"name\\\": \\\"g-1\\\", \\\"arguments\\\": \" arguments_1 \"}\"\n"                        \
    "arguments_1: %json {" SPACES "}\n"                                                                      \
    "tool: tool_0 | tool_1\n"

/* The tiny vocabulary has <tool_call> as a control token, and no other mark. */
static void grammars_force_calls(void **state) {
    (void)state;
    char expected[600];
    (void)snprintf(expected, sizeof expected,
                   "start: call (\"\\n\" call)*\ncall:  <[%d]> \"\\n\" tool \"\\n</tool_call>\"\n%s",
                   TINY_HOLE, HERMES_TOOLS);
    assert_grammar(TOOL_FORMAT_HERMES, NULL, true, expected);
    assert_grammar(TOOL_FORMAT_LLAMA, "g-1", false,
                   "start: call\n"
                   "call:  tool \n"
                   "tool_0: \"{\\\"name\\\": \\\"g-1\\\", \\\"parameters\\\": \" arguments_0 \"}\"\n"
                   "arguments_0: %json {" SPACES "}\n"
                   "tool: tool_0\n");
    assert_grammar(TOOL_FORMAT_MISTRAL, NULL, true,
                   "start: open \"[\" call (\", \" call)* \"]\"\n"
                   "open: \"[TOOL_CALLS]\"\n"
                   "call:  tool \n" HERMES_TOOLS);
}

static void templates_without_tools_are_told(void **state) {
    (void)state;
    struct text out = {0};
    json_t *tools = two_tools();
    tool_format_system(tools, &out);
    assert_non_null(strstr(out.bytes, "\n<tools>\n{\"type\":\"function\",\"function\":{\"name\":\"f\","
                                      "\"parameters\":{\"type\":\"object\"}}}\n{\"type\""));
    assert_non_null(strstr(out.bytes, "<tool_call>\n{\"name\": <function-name>"));
    char *talk =
        quoted("[{'role':'system','content':'be'},{'role':'user','content':'hi'},"
               "{'role':'assistant','content':'so','tool_calls':[{'function':{'name':'f','arguments':"
               "{'a':1}}},{'function':{'name':'g','arguments':{}}}]},"
               "{'role':'tool','content':'r1'},{'role':'tool','content':'r2'},"
               "{'role':'assistant','content':'', 'tool_calls':[]}]");
    json_t *messages = json_loads(talk, 0, NULL);
    for (int has_tools = 0; has_tools < 2; has_tools++) {
        json_t *told = tool_format_messages(messages, has_tools ? tools : NULL);
        const char *system = json_string_value(json_object_get(json_array_get(told, 0), "content"));
        assert_true(strncmp(system, "be", 2) == 0);
        assert_string_equal(system + 2 + 2 * has_tools, has_tools ? out.bytes : "");
        json_array_remove(told, 0);
        assert_json(
            told, "[{'role':'user','content':'hi'},"
                  "{'role':'assistant','content':'so\\n<tool_call>\\n{\\'name\\': \\'f\\', \\'arguments\\': "
                  "{\\'a\\':1}}\\n</tool_call>\\n<tool_call>\\n{\\'name\\': \\'g\\', \\'arguments\\': {}}\\n"
                  "</tool_call>'},{'role':'user','content':'<tool_response>\\nr1\\n</tool_response>\\n"
                  "<tool_response>\\nr2\\n</tool_response>'},{'role':'assistant','content':''}]");
        json_decref(told);
    }
    json_array_remove(messages, 0);
    json_t *told = tool_format_messages(messages, tools);
    assert_string_equal(json_string_value(json_object_get(json_array_get(told, 0), "content")), out.bytes);
    assert_int_equal(json_array_size(told), 5);
    json_decref(told);
    json_decref(messages);
    json_decref(tools);
    text_free(&out);
    free(talk);
}

static int open_tiny(void **state) {
    (void)state;
    put_tiny_vocabulary(&written,
                        &(struct tiny_vocabulary){.piece_of_hole = "<tool_call>", .kind_of_hole = 3});
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
        cmocka_unit_test(hermes_calls),
        cmocka_unit_test(broken_calls_are_text),
        cmocka_unit_test(llama_calls),
        cmocka_unit_test(mistral_calls),
        cmocka_unit_test(forced_calls_stream_their_arguments),
        cmocka_unit_test(text_is_not_held_longer_than_needed),
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(templates_tell_the_format),
        cmocka_unit_test(marks_may_be_control_tokens),
        cmocka_unit_test(grammars_force_calls),
        cmocka_unit_test(templates_without_tools_are_told),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_all);
}
