/* Conversations through a template: control tokens of the template are tokens, those that messages spell are
 * text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "model/prompt.h"

#include "tiny_vocabulary.h"

static const char template[] = "{% for message in messages %}<s>{{ message.content | trim }}</s>{% endfor %}"
                               "{% if add_generation_prompt %}<|im{% endif %}";

static struct gguf_writer writer;
static struct gguf *file;
static struct tokenizer *tokenizer;
static struct chat_template *chat;
static uint64_t failing_allocation; /* of an encoding, from 1; 0: none */

static int encode(const char *first, const char *second, struct token_list *list) {
    const struct chat_message messages[] = {{"user", first}, {"assistant", second}};
    if (failing_allocation > 0) fault_arm(FAULT_ONCE, failing_allocation);
    int result = prompt_encode(chat, tokenizer, messages, second == NULL ? 1 : 2, second == NULL, 0, list);
    fault_disarm();
    return result;
}

static void assert_ids(const char *first, const char *second, const token_id *ids, size_t n) {
    struct token_list list = {0};
    if (encode(first, second, &list) < 0) fail_msg("%s", err_message());
    for (size_t i = 0; i < n && i < list.n; i++)
        if (list.ids[i] != ids[i]) fail_msg("'%s': id %zu is %d, not %d", first, i, list.ids[i], ids[i]);
    assert_int_equal(list.n, n);
    token_list_free(&list);
}

#define IDS(first, second, ...)                                                                              \
    do {                                                                                                     \
        const token_id ids_[] = {__VA_ARGS__};                                                               \
        assert_ids(first, second, ids_, sizeof ids_ / sizeof ids_[0]);                                       \
    } while (0)

static void what_messages_spell_is_text(void **state) {
    (void)state;
    IDS(" d ", NULL, TINY_BOS, 'd', TINY_EOS, TINY_IM);
    IDS("d</s>d", NULL, TINY_BOS, 'd', '<', '/', 's', '>', 'd', TINY_EOS, TINY_IM);
    IDS("<s>", "d", TINY_BOS, '<', 's', '>', TINY_EOS, TINY_BOS, 'd', TINY_EOS);
    IDS("  <unk>", NULL, TINY_BOS, '<', 'u', 'n', 'k', '>', TINY_EOS, TINY_IM);
    IDS("<|im_end|>", NULL, TINY_BOS, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>', TINY_EOS, TINY_IM);
    IDS("<<s><s>", NULL, TINY_BOS, '<', '<', 's', '>', '<', 's', '>', TINY_EOS, TINY_IM);
}

static void user_defined_tokens_and_merges_stay(void **state) {
    (void)state;
    IDS("[tool]</s>bcd", NULL, TINY_BOS, TINY_TOOL, '<', '/', 's', '>', TINY_BCD, TINY_EOS, TINY_IM);
}

/* A message that has the first mark itself gets another one; one with all of them is refused. */
static void marks_are_not_taken_from_messages(void **state) {
    (void)state;
    IDS("\xef\xb7\x90<s>", NULL, TINY_BOS, 0xef, 0xb7, 0x90, '<', 's', '>', TINY_EOS, TINY_IM);
    char all[32 * 3 + 1] = {0};
    for (int i = 0; i < 32; i++) memcpy(all + 3 * i, (const char[]){'\xef', '\xb7', (char)(0x90 + i)}, 3);
    struct token_list list = {0};
    assert_int_equal(encode(all, NULL, &list), ERR_INVALID);
    assert_non_null(strstr(err_message(), "U+FDD0"));
    assert_int_equal(list.n, 0);
}

/* --- JSON --- */

static const char tool_template[] =
    "{% for tool in tools or [] %}{{ tool.name }}{{ tool | tojson }}|{% endfor %}"
    "{% for message in messages %}<s>{{ message.role }}:{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.id }}({% for key, value in call.arguments | items %}"
    "{{ key }}={{ value }},{% endfor %}){% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|im{% endif %}";

static int encode_json(const char *source, const char *messages, const char *tools, struct prompt_opts opts,
                       struct token_list *list) {
    struct chat_template *with_tools;
    json_error_t error;
    json_t *told = json_loads(messages, 0, &error),
           *functions = tools == NULL ? NULL : json_loads(tools, 0, &error);
    if (told == NULL || (tools != NULL && functions == NULL)) fail_msg("%s", error.text);
    if (chat_template_open(&with_tools, source, strlen(source), "<s>", "</s>") < 0)
        fail_msg("%s", err_message());
    json_t *before = json_deep_copy(told);
    if (failing_allocation > 0) fault_arm(FAULT_ONCE, failing_allocation);
    int result = prompt_encode_json(with_tools, tokenizer, told, functions, &opts, list);
    fault_disarm();
    assert_true(json_equal(told, before)); /* borrowed, not changed */
    json_decref(before);
    json_decref(told);
    json_decref(functions);
    chat_template_close(with_tools);
    return result;
}

/* The ids as text, control tokens of the template as {their names}. */
static void assert_text(const char *source, const char *messages, const char *tools, struct prompt_opts opts,
                        const char *expected) {
    char text[512] = "";
    struct token_list list = {0};
    if (encode_json(source, messages, tools, opts, &list) < 0) fail_msg("%s", err_message());
    for (size_t i = 0; i < list.n; i++) {
        bool is_control = tokenizer_kind(tokenizer, list.ids[i]) == TOKEN_CONTROL;
        struct gguf_string bytes =
            is_control ? tokenizer_piece(tokenizer, list.ids[i]) : tokenizer_bytes(tokenizer, list.ids[i]);
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, is_control ? "{%.*s}" : "%.*s", (int)bytes.length, bytes.bytes);
    }
    assert_string_equal(text, expected);
    token_list_free(&list);
}

static void every_text_of_tools_and_calls_is_text(void **state) {
    (void)state;
    const struct prompt_opts opts = {.add_generation_prompt = true};
    assert_text(tool_template,
                "[{\"role\": \"user\", \"content\": \"a</s>\"}, {\"role\": \"assistant\", \"content\": \"\","
                " \"tool_calls\": [{\"id\": \"<s>1\", \"arguments\": {\"</s>\": \"<|im\", \"n\": 2}}]}]",
                "[{\"name\": \"f</s>\", \"b\": {\"x<s>\": [\"<|im_end|>\"]}, \"a\": null}]", opts,
                "f</s>{\"name\": \"f</s>\", \"b\": {\"x<s>\": [\"<|im_end|>\"]}, \"a\": null}|"
                "{<s>}user:a</s>{</s>}{<s>}assistant:<s>1(</s>=<|im,n=2,){</s>}{<|im}");
    assert_text(tool_template, "[{\"role\": \"user\", \"content\": \"a\"}]", NULL, opts,
                "{<s>}user:a{</s>}{<|im}"); /* no tools */
}

/* Tools that have the first marks, one as text and one as a name, get another one. */
static void marks_are_not_taken_from_tools(void **state) {
    (void)state;
    assert_text(tool_template, "[{\"role\": \"user\", \"content\": \"</s>\"}]",
                "[{\"name\": \"\xef\xb7\x90\", \"\xef\xb7\x91\": 1}]", (struct prompt_opts){0},
                "\xef\xb7\x90{\"name\": \"\xef\xb7\x90\", \"\xef\xb7\x91\": 1}|{<s>}user:</s>{</s>}");
}

static const struct prompt_opts go_on = {.continue_final_message = true, .add_generation_prompt = true};

static void assert_continued(const char *source, const char *content, const char *expected) {
    char messages[256];
    snprintf(messages, sizeof messages,
             "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"%s\"}]",
             content);
    assert_text(source, messages, NULL, go_on, expected);
}

/* What Hugging Face's apply_chat_template gives for these (but for those shown twice, where its mark stays).
 */
static void a_continued_message_ends_the_prompt(void **state) {
    (void)state;
    assert_continued(tool_template, "so", "{<s>}user:q{</s>}{<s>}assistant:so");
    assert_continued(tool_template, " so \\n",
                     "{<s>}user:q{</s>}{<s>}assistant: so \n");   /* as the template keeps it */
    assert_continued(template, " so \\n", "{<s>}q{</s>}{<s>}so"); /* and as it trims it */
    assert_continued(template, "so</s> ", "{<s>}q{</s>}{<s>}so</s>");
    assert_continued(tool_template, "q", "{<s>}user:q{</s>}{<s>}assistant:q");
    /* shown twice: the last one counts */
    assert_continued("{{ messages[-1].content | trim }}|{{ messages[-1].content }}</s>", "so", "so|so");
    assert_continued("{{ messages[-1].content }}|{{ messages[-1].content }}</s>", "so", "so|so");
    assert_continued("{{ messages[-1].content }}|{{ messages[-1].content }}</s>", "so ", "so |so ");
    /* and what the template writes behind the first is its own */
    assert_continued("{{ messages[-1].content }}</s>{{ messages[-1].content }}", "</s>", "</s>{</s>}</s>");
    assert_continued("{{ messages[-1].content | trim }}{{ messages[-1].content }}", "</s>", "</s></s>");
    /* texts that stand in what the template puts behind it, too */
    assert_continued(tool_template, "<", "{<s>}user:q{</s>}{<s>}assistant:<");
    assert_continued(tool_template, "s>", "{<s>}user:q{</s>}{<s>}assistant:s>");
    assert_continued(tool_template, "</s>", "{<s>}user:q{</s>}{<s>}assistant:</s>"); /* here it is text */
    assert_continued(tool_template, "", "{<s>}user:q{</s>}{<s>}assistant:");
}

static void what_cannot_be_continued_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *source, *messages, *says;
    } cases[] = {
        {tool_template, "[]", "no text"},
        {tool_template, "[{\"role\": \"user\"}]", "no text"},
        {tool_template, "[{\"role\": \"user\", \"content\": [\"a\"]}]", "no text"},
        {"{{ messages[0].role }}", "[{\"role\": \"user\", \"content\": \"user\"}]", "does not show"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token_list list = {0};
        assert_int_equal(encode_json(cases[i].source, cases[i].messages, NULL, go_on, &list), ERR_INVALID);
        if (strstr(err_message(), cases[i].says) == NULL) fail_msg("%s", err_message());
        assert_int_equal(list.n, 0);
    }
}

static int encode_plain(struct token_list *list) { return encode("d</s>d", "x", list); }

static int encode_tools(struct token_list *list) {
    return encode_json(tool_template, "[{\"role\": \"assistant\", \"content\": \"</s>\"}]",
                       "[{\"name\": \"f\", \"list\": [\"<s>\"]}]", go_on, list);
}

/* Only ours: jansson and the template's engine have their own memory. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    int (*const encoders[])(struct token_list *) = {encode_plain, encode_tools};
    for (size_t i = 0; i < sizeof encoders / sizeof encoders[0]; i++) {
        bool was_clean = false;
        for (uint64_t n = 1; n < 100 && !was_clean; n++) {
            struct token_list list = {0};
            failing_allocation = n;
            int result = encoders[i](&list);
            failing_allocation = 0;
            was_clean = !fault_delivered();
            if (!was_clean) assert_int_equal(list.n, 0);
            token_list_free(&list);
            assert_int_equal(result, was_clean ? 0 : ERR_NO_MEMORY);
            assert_true(n > 6 || !was_clean);
        }
        assert_true(was_clean);
    }
}

int main(void) {
    put_tiny_vocabulary(&writer, &(struct tiny_vocabulary){0});
    if (gguf_open_bytes(&file, writer.bytes, writer.length, "tiny.gguf") < 0) return 1;
    if (tokenizer_open(&tokenizer, file) < 0) return 1;
    if (chat_template_open(&chat, template, sizeof template - 1, "<s>", "</s>") < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_messages_spell_is_text),
        cmocka_unit_test(user_defined_tokens_and_merges_stay),
        cmocka_unit_test(marks_are_not_taken_from_messages),
        cmocka_unit_test(every_text_of_tools_and_calls_is_text),
        cmocka_unit_test(marks_are_not_taken_from_tools),
        cmocka_unit_test(a_continued_message_ends_the_prompt),
        cmocka_unit_test(what_cannot_be_continued_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    chat_template_close(chat);
    tokenizer_close(tokenizer);
    gguf_close(file);
    return n_failed;
}
