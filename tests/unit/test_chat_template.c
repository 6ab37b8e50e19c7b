#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "model/chat_template.h"

#include "../support/render_messages.h"

static const struct chat_message hello[] = {{"user", "Hi \"you\" <b> \xc3\xa9"}};
static const struct chat_message talk[] = {
    {"system", "Be brief."}, {"user", " one\n"}, {"assistant", "two"}, {"user", "three {{ x }}"}};

enum { now = 1699913600 };

/* Renders into a static buffer; on failure that is the error's text. */
static char result[4096];
static int render(const char *source, const struct chat_message *messages, size_t n_messages, bool prompt) {
    struct chat_template *chat = NULL;
    char *text = NULL;
    size_t length = 0;
    int code = chat_template_open(&chat, source, strlen(source), "<s>", "</s>");
    if (code == 0) code = render_messages(chat, messages, n_messages, prompt, now, &text, &length);
    if (code == 0) assert_int_equal(strlen(text), length);
    (void)snprintf(result, sizeof result, "%s", code == 0 ? text : err_message());
    if (code == 0) chat_template_text_free(text, length);
    chat_template_close(chat);
    return code;
}

static void renders_as(const char *source, const char *expected) {
    int code = render(source, hello, 1, true);
    if (code != 0) print_error("%s\n", result);
    assert_int_equal(code, 0);
    assert_string_equal(result, expected);
}

static void fails_with(const char *source, int expected, const char *part) {
    int code = render(source, hello, 1, true);
    assert_int_equal(code, expected);
    if (strstr(result, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", result, part);
    assert_null(strchr(result, '\n'));
}

/* SmolLM2's own template. */
static const char chatml[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static void chatml_of_several_turns(void **state) {
    (void)state;
    assert_int_equal(render(chatml, talk, 4, true), 0);
    assert_string_equal(result,
                        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n one\n<|im_end|>\n"
                        "<|im_start|>assistant\ntwo<|im_end|>\n<|im_start|>user\nthree {{ x }}<|im_end|>\n"
                        "<|im_start|>assistant\n");
    assert_int_equal(render(chatml, hello, 1, false), 0);
    assert_string_equal(result,
                        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
                        "Face<|im_end|>\n<|im_start|>user\nHi \"you\" <b> \xc3\xa9<|im_end|>\n");
    assert_int_equal(render(chatml, NULL, 0, false), 0);
    assert_string_equal(result, "");
}

static void a_template_renders_many_conversations(void **state) {
    (void)state;
    struct chat_template *chat;
    assert_int_equal(chat_template_open(&chat, chatml, strlen(chatml), "", ""), 0);
    for (size_t n_messages = 1; n_messages <= 4; n_messages++) {
        char *text;
        size_t length;
        assert_int_equal(render_messages(chat, talk, n_messages, false, now, &text, &length), 0);
        assert_int_equal(text[length], 0);
        assert_memory_equal(text, "<|im_start|>system\nBe brief.", 28);
        chat_template_text_free(text, length);
    }
    chat_template_close(chat);
}

static void context_is_that_of_transformers(void **state) {
    (void)state;
    renders_as("{{ bos_token }}{{ eos_token }}{{ tools is none }}{{ documents is none }}", "<s></s>TrueTrue");
    renders_as("[{{ nothing }}]{{ nothing is defined }}{{ messages[0].name is defined }}", "[]FalseFalse");
    fails_with("\n{{ nothing.field }}", ERR_INVALID, "undefined value (line 2)");
    renders_as("{% if true %}\n  {% if true %}\nx\n  {% endif %}\n{% endif %}\n", "x\n"); /* trim, lstrip */
    renders_as("{{ messages[0].content }}", "Hi \"you\" <b> \xc3\xa9"); /* nothing is escaped */
    renders_as("a\n", "a");                                             /* Jinja2 drops the last newline */
}

/* Messages and tools as JSON, in the order that they were written. */
static void tools_and_whole_messages_reach_the_template(void **state) {
    (void)state;
    static const char source[] = "{{ tools is none }}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
                                 "{% for m in messages %}{{ m | tojson }}{{ m.name is defined }}{% endfor %}";
    static const char message[] = "{\"role\": \"tool\", \"tool_call_id\": \"z\", \"content\": [{\"b\": 1.5,"
                                  " \"a\": [null, true, -3]}]}";
    static const char tool[] =
        "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"\"}}";
    struct chat_template *chat;
    assert_int_equal(chat_template_open(&chat, source, strlen(source), "", ""), 0);
    assert_true(chat_template_knows_tools(chat));
    json_t *messages = json_pack("[o]", json_loads(message, 0, NULL));
    json_t *tools = json_pack("[o]", json_loads(tool, 0, NULL));
    for (int with_tools = 0; with_tools < 2; with_tools++) {
        char *text, expected[512];
        size_t length;
        if (chat_template_render(chat, messages, with_tools ? tools : NULL, false, now, &text, &length) < 0)
            fail_msg("%s", err_message());
        snprintf(expected, sizeof expected, "%s%s%sFalse", with_tools ? "False" : "True",
                 with_tools ? tool : "", message);
        assert_string_equal(text, expected);
        chat_template_text_free(text, length);
    }
    json_decref(messages);
    json_decref(tools);
    chat_template_close(chat);
}

static void templates_without_tools_say_so(void **state) {
    (void)state;
    static const struct {
        const char *source;
        bool knows;
    } cases[] = {{"{% if tools %}x{% endif %}", true},
                 {"{{ tools_in_user_message }}", false},
                 {"tools", false},
                 {"{# tools #}{{ 'tools' }}{{ messages[0].tools }}", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_template *chat;
        assert_int_equal(chat_template_open(&chat, cases[i].source, strlen(cases[i].source), "", ""), 0);
        assert_int_equal(chat_template_knows_tools(chat), cases[i].knows);
        assert_string_equal(chat_template_source(chat), cases[i].source);
        chat_template_close(chat);
    }
    assert_false(chat_template_knows_tools(NULL));
    assert_string_equal(chat_template_source(NULL), "");
}

static void language_of_real_templates(void **state) {
    (void)state;
    renders_as("{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}"
               "{% if i == 5 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
               "8");
    renders_as("{% macro f(a, b='z') %}{{ a }}{{ b }}{% endmacro %}{{ f('x') }}{{ f('x', b='y') }}", "xzxy");
    renders_as(
        "{%- for m in messages[::-1] -%} {%- generation %}{{ m.role }}{%- endgeneration -%} {%- endfor %}",
        "user");
    renders_as("{{ messages[0].content.split(' ')[-1] }}|{{ ' a '.strip() }}|{{ 'ab'.startswith('a') }}",
               "\xc3\xa9|a|True");
    renders_as("{% for k, v in messages[0].items() %}{{ k }},{% endfor %}{{ messages[0].get('x', 'none') }}",
               "role,content,none");
    renders_as("{{ 'abc'.removeprefix('a') }}{{ none is iterable }}{{ 'a' is sequence }}", "bcFalseTrue");
    renders_as("{{ ['a', none, true, {'k': 1.5}] }}", "['a', None, True, {'k': 1.5}]");
}

static void json_is_that_of_python(void **state) {
    (void)state;
    renders_as("{{ messages | tojson }}",
               "[{\"role\": \"user\", \"content\": \"Hi \\\"you\\\" <b> \xc3\xa9\"}]");
    renders_as("{{ {'b': [1, 1.0, 1e20, none], 'a': {}} | tojson(indent=2) }}",
               "{\n  \"b\": [\n    1,\n    1.0,\n    1e+20,\n    null\n  ],\n  \"a\": {}\n}");
    renders_as(
        "{{ {'b': '\xc3\xa9\xf0\x9f\x98\x80\x01', 'a': '/'} | tojson(ensure_ascii=true, sort_keys=true) }}",
        "{\"a\": \"/\", \"b\": \"\\u00e9\\ud83d\\ude00\\u0001\"}");
    renders_as("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]");
    fails_with("{{ nothing | tojson }}", ERR_INVALID, "undefined");
}

/* Eleven hours west of Greenwich it was still the day before. */
static void time_is_the_callers_and_local(void **state) {
    (void)state;
    setenv("TZ", "XXX11", 1);
    tzset();
    renders_as("{{ strftime_now('%d %b %Y, %H:%M') }}", "13 Nov 2023, 11:13");
    setenv("TZ", "UTC0", 1);
    tzset();
    renders_as("{{ strftime_now('%d %b %Y, %H:%M') }}", "13 Nov 2023, 22:13");
    renders_as("{{ strftime_now('') }}", "");
    fails_with("{{ strftime_now('%c' * 1000) }}", ERR_INVALID, "strftime_now");
}

static void complaints_are_one_line(void **state) {
    (void)state;
    fails_with("{{ raise_exception('roles must\nalternate') }}", ERR_INVALID,
               "roles must alternate (line 1)");
    fails_with("a\n{% if %}", ERR_CORRUPT, "syntax error");
    fails_with("a\n{% if %}", ERR_CORRUPT, "(line 2)");
    fails_with("{{ messages|nofilter }}", ERR_INVALID, "nofilter");
    fails_with("\xff", ERR_CORRUPT, "not UTF-8");
    struct chat_message bad = {"user", "\xc3"};
    assert_int_equal(render(chatml, &bad, 1, true), ERR_INVALID);
    assert_non_null(strstr(result, "the content of message 0 is not UTF-8"));
}

/* What a hostile model file may try. Each ends in an error, with the process and its memory intact. */
static void hostile_templates_end(void **state) {
    (void)state;
    fails_with("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", ERR_INVALID,
               "out of fuel");
    fails_with("{{ 'x' * 10**9 }}", ERR_INVALID, "out of fuel");
    fails_with(
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        ERR_INVALID, "out of fuel");
    fails_with("{% set s = 'x' * 1000000 %}{{ s.replace('', s) }}", ERR_INVALID, "out of fuel");
    fails_with("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ERR_INVALID, "recursion limit");
    fails_with("{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
               ERR_INVALID, "recursion limit");
    fails_with(
        "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(30) }}",
        ERR_INVALID, "out of fuel");
    fails_with("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", ERR_INVALID, "recursion limit");
    fails_with("{{ '{:1000000000}'.format('x') }}", ERR_INVALID, "more memory");
    fails_with("{{ '%1000000000d'|format(1) }}", ERR_INVALID, "out of fuel");
    fails_with("{{ 'x'.center(10**12) }}", ERR_INVALID, "out of fuel");
    fails_with("{{ 'x'.rjust(10**9, '\xc3\xa9') }}", ERR_INVALID, "out of fuel");
    fails_with("{{ 'x'.zfill(10**18) }}", ERR_INVALID, "out of fuel");
    fails_with("{{ 'a\nb'|indent(10**9) }}", ERR_INVALID, "out of fuel");
    fails_with("{% for i in range(10**9) %}{% endfor %}", ERR_INVALID, "too many elements");
    fails_with("{{ [1] * 10**9 }}", ERR_INVALID, "too large");
    fails_with("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", ERR_INVALID, "deeper nesting");
    fails_with(
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
        "{{ ns.x == [ns.x] }}{{ ns.x ~ '' }}",
        ERR_INVALID, "more time");
    fails_with("{% set ns = namespace(x=1) %}{% for i in range(200) %}{% set ns.x = [ns.x] %}{% endfor %}{{ "
               "ns.x|tojson }}",
               ERR_INVALID, "100 levels");
}

/* One instruction, whose work would grow with the square of what is in the template. */
static void slow_methods_end(void **state) {
    (void)state;
    renders_as("{% set s = 'y' * 10**6 %}{% set t = 'x' * 10**6 ~ 'y' %}[{{ s.strip(t) }}{{ s|trim(t) }}]",
               "[]");
    static const char list[] =
        "{%% set l = (['x'] * 90000 + ['y'])|list %%}{%% for i in l %%}{%% set x = %s %%}{%% endfor %%}";
    static const char *const calls[] = {"l.index('y')", "l.count('y')", "'abc'.startswith(l)",
                                        "'abc'.endswith(l)"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char source[200];
        (void)snprintf(source, sizeof source, list, calls[i]);
        fails_with(source, ERR_INVALID, "out of fuel");
    }
}

static void long_sources_are_refused_or_survive(void **state) {
    (void)state;
    static char source[300000];
    memset(source, '(', sizeof source - 1);
    memcpy(source, "{{", 2);
    fails_with(source, ERR_CORRUPT, "a source of 299999 bytes");
    source[200000] = 0;
    fails_with(source, ERR_CORRUPT, "recursion limits");
    memset(source + 2, '-', 199998);
    fails_with(source, ERR_CORRUPT, "deeper nesting");
    memset(source + 2, '-', 1001);
    memcpy(source + 1003, "1 }}", 5);
    renders_as(source, "1"); /* the first `-` trims space */
}

static void a_template_out_of_bounds_does_not_run_again(void **state) {
    (void)state;
    static const char source[] =
        "{% if messages[0].role == 'bad' %}{{ '{:1000000000}'.format('x') }}{% endif %}ok";
    struct chat_message good = {"user", ""}, bad = {"bad", ""};
    struct chat_template *chat;
    char *text;
    size_t length;
    assert_int_equal(chat_template_open(&chat, source, strlen(source), "", ""), 0);
    assert_int_equal(render_messages(chat, &good, 1, true, now, &text, &length), 0);
    chat_template_text_free(text, length);
    assert_int_equal(render_messages(chat, &bad, 1, true, now, &text, &length), ERR_INVALID);
    assert_int_equal(render_messages(chat, &good, 1, true, now, &text, &length), ERR_INVALID);
    assert_non_null(strstr(err_message(), "not run again"));
    chat_template_close(chat);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    int n_failures = 0;
    for (uint64_t n = 1;; n++) {
        fault_arm(FAULT_ONCE, n);
        int code = render(chatml, talk, 4, true);
        bool delivered = fault_delivered();
        fault_disarm();
        if (!delivered) {
            assert_int_equal(code, 0);
            break;
        }
        assert_int_equal(code, ERR_NO_MEMORY);
        n_failures++;
    }
    assert_int_equal(n_failures, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chatml_of_several_turns),
        cmocka_unit_test(a_template_renders_many_conversations),
        cmocka_unit_test(context_is_that_of_transformers),
        cmocka_unit_test(tools_and_whole_messages_reach_the_template),
        cmocka_unit_test(templates_without_tools_say_so),
        cmocka_unit_test(language_of_real_templates),
        cmocka_unit_test(json_is_that_of_python),
        cmocka_unit_test(time_is_the_callers_and_local),
        cmocka_unit_test(complaints_are_one_line),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(slow_methods_end),
        cmocka_unit_test(long_sources_are_refused_or_survive),
        cmocka_unit_test(a_template_out_of_bounds_does_not_run_again),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
