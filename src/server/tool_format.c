#include "server/tool_format.h"

#include <string.h>

#include "base/err.h"
#include "server/json_text.h"

/* --- which --- */

enum tool_format tool_format_of(const char *template_source) {
    if (template_source == NULL || strstr(template_source, "<tool_call>") != NULL) return TOOL_FORMAT_HERMES;
    /* Later ones of Mistral write name[ARGS]{...}, which is not read here. */
    if (strstr(template_source, "[TOOL_CALLS]") != NULL && strstr(template_source, "[ARGS]") == NULL)
        return TOOL_FORMAT_MISTRAL;
    /* Llama 3.1 and later ask for bare JSON with this key; its results come from "ipython". */
    if (strstr(template_source, "\"parameters\": ") != NULL && strstr(template_source, "ipython") != NULL)
        return TOOL_FORMAT_LLAMA;
    return TOOL_FORMAT_HERMES;
}

bool tool_format_is_native(const char *template_source) {
    if (template_source == NULL || strstr(template_source, "tools") == NULL) return false;
    if (tool_format_of(template_source) != TOOL_FORMAT_HERMES) return true;
    /* Others write tools, or arguments between the same tags, in ways that are not read back here. */
    return strstr(template_source, "<tool_call>") != NULL && strstr(template_source, "arguments") != NULL &&
           strstr(template_source, "<function=") == NULL && strstr(template_source, "<arg_key>") == NULL;
}

static token_id control_token(const struct tokenizer *tokenizer, const char *piece) {
    token_id id = piece[0] == '\0' ? -1 : tokenizer_find(tokenizer, piece);
    return id >= 0 && tokenizer_kind(tokenizer, id) == TOKEN_CONTROL ? id : -1;
}

struct tool_marks tool_format_marks(enum tool_format format, const struct tokenizer *tokenizer) {
    static const struct tool_marks all[] = {
        [TOOL_FORMAT_HERMES] = {.open = "<tool_call>", .close = "</tool_call>"},
        [TOOL_FORMAT_LLAMA] = {.open = "", .close = ""},
        [TOOL_FORMAT_MISTRAL] = {.open = "[TOOL_CALLS]", .close = ""},
    };
    struct tool_marks marks = all[format];
    marks.open_token = control_token(tokenizer, marks.open);
    marks.close_token = control_token(tokenizer, marks.close);
    return marks;
}

/* --- for templates that know no tools --- */

void tool_format_system(const json_t *tools, struct text *out) {
    text_append_string(
        out, "# Tools\n\nYou can call functions. Their signatures, as JSON, one a line:\n<tools>\n");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_text_value(out, json_array_get(tools, i));
        text_append_string(out, "\n");
    }
    text_append_string(out,
                       "</tools>\n\nTo call one, answer with a JSON object of its name and arguments between "
                       "tool_call tags, one pair of tags a call:\n<tool_call>\n"
                       "{\"name\": <function-name>, \"arguments\": <arguments-object>}\n</tool_call>");
}

static void write_calls(const json_t *message, struct text *out) {
    text_append_string(out, json_string_value(json_object_get(message, "content")));
    const json_t *calls = json_object_get(message, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *function = json_object_get(json_array_get(calls, i), "function");
        if (out->length > 0) text_append_string(out, "\n");
        text_append_string(out, "<tool_call>\n{\"name\": ");
        json_text_value(out, json_object_get(function, "name"));
        text_append_string(out, ", \"arguments\": ");
        json_text_value(out, json_object_get(function, "arguments"));
        text_append_string(out, "}\n</tool_call>");
    }
}

static bool has_role(const json_t *message, const char *role) {
    const char *is = json_string_value(json_object_get(message, "role"));
    return is != NULL && strcmp(is, role) == 0;
}

/* Appends a message with this text; -1 if there is no memory. */
static int append_message(json_t *told, const char *role, const struct text *text) {
    if (text->failed) return -1;
    return json_array_append_new(
        told, json_pack("{s:s, s:s}", "role", role, "content", text->length > 0 ? text->bytes : ""));
}

/* Results that follow each other are one message: templates want roles to alternate. */
static size_t write_results(const json_t *messages, size_t first, struct text *out) {
    size_t i = first;
    for (; has_role(json_array_get(messages, i), "tool"); i++) {
        text_append_string(out, i > first ? "\n<tool_response>\n" : "<tool_response>\n");
        text_append_string(out, json_string_value(json_object_get(json_array_get(messages, i), "content")));
        text_append_string(out, "\n</tool_response>");
    }
    return i - first;
}

static int tell(const json_t *messages, const json_t *tools, json_t *told) {
    size_t i = 0;
    int result = 0;
    struct text text = {0};
    if (tools != NULL) {
        if (has_role(json_array_get(messages, 0), "system")) {
            text_append_string(&text,
                               json_string_value(json_object_get(json_array_get(messages, i++), "content")));
            text_append_string(&text, "\n\n");
        }
        tool_format_system(tools, &text);
        result = append_message(told, "system", &text);
    }
    while (result == 0 && i < json_array_size(messages)) {
        json_t *message = json_array_get(messages, i);
        text_clear(&text);
        if (has_role(message, "tool")) {
            i += write_results(messages, i, &text);
            result = append_message(told, "user", &text);
            continue;
        }
        if (json_object_get(message, "tool_calls") != NULL) {
            write_calls(message, &text);
            result = append_message(told, "assistant", &text);
        } else {
            result = json_array_append(told, message);
        }
        i++;
    }
    text_free(&text);
    return result;
}

json_t *tool_format_messages(const json_t *messages, const json_t *tools) {
    json_t *told = json_array();
    if (told == NULL || tell(messages, tools, told) == 0) return told;
    json_decref(told);
    return NULL;
}

/* --- grammar --- */

/* A mark as a terminal: the control token, or its text, with line breaks where the form has them. */
static void write_mark(struct text *lark, const char *before, const char *mark, token_id token,
                       const char *after) {
    if (token >= 0) {
        if (before[0] != '\0') json_text_string(lark, before);
        text_printf(lark, " <[%d]> ", token);
        if (after[0] != '\0') json_text_string(lark, after);
        return;
    }
    struct text all = {0};
    text_printf(&all, "%s%s%s", before, mark, after);
    if (all.failed) lark->failed = true;
    if (all.length > 0) json_text_bytes(lark, all.bytes, all.length);
    text_free(&all);
}

/* With one space behind a comma and a colon and none else, so that no model spends its answer on white space:
 * llguidance's own field says so. */
static void write_schema(struct text *lark, const json_t *schema) {
    json_t *spaced = json_is_object(schema) ? json_copy((json_t *)(uintptr_t)schema) : json_object();
    json_t *spaces =
        json_pack("{s:b, s:s, s:s}", "whitespace_flexible", 0, "item_separator", ", ", "key_separator", ": ");
    if (json_object_set_new(spaced, "x-guidance", spaces) == 0)
        json_text_value(lark, spaced);
    else
        lark->failed = true;
    json_decref(spaced);
}

/* One rule a tool, tool_0 and so on; returns how many. */
static unsigned write_tools(struct text *lark, enum tool_format format, const json_t *tools,
                            const char *name) {
    unsigned n = 0;
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        const char *called = json_string_value(json_object_get(function, "name"));
        if (name != NULL && strcmp(name, called) != 0) continue;
        struct text head = {0};
        text_append_string(&head, "{\"name\": ");
        json_text_string(&head, called);
        text_append_string(&head, format == TOOL_FORMAT_LLAMA ? ", \"parameters\": " : ", \"arguments\": ");
        text_printf(lark, "tool_%u: ", n);
        json_text_string(lark, head.failed ? NULL : head.bytes);
        text_printf(lark, " arguments_%u \"}\"\narguments_%u: %%json ", n, n);
        write_schema(lark, json_object_get(function, "parameters"));
        text_append_string(lark, "\n");
        if (head.failed) lark->failed = true;
        text_free(&head);
        n++;
    }
    return n;
}

int tool_format_grammar(enum tool_format format, const struct tokenizer *tokenizer, const json_t *tools,
                        const char *name, bool parallel, struct text *lark) {
    static const char *const starts[][2] = {
        /* one, several */
        [TOOL_FORMAT_HERMES] = {"start: call\n", "start: call (\"\\n\" call)*\n"},
        [TOOL_FORMAT_LLAMA] = {"start: call\n", "start: call (\"; \" call)*\n"},
        [TOOL_FORMAT_MISTRAL] = {"start: open \"[\" call \"]\"\n",
                                 "start: open \"[\" call (\", \" call)* \"]\"\n"},
    };
    const struct tool_marks marks = tool_format_marks(format, tokenizer);
    text_append_string(lark, starts[format][parallel]);
    if (format == TOOL_FORMAT_MISTRAL) {
        text_append_string(lark, "open: ");
        write_mark(lark, "", marks.open, marks.open_token, "");
        text_append_string(lark, "\n");
    }
    text_append_string(lark, "call: ");
    if (format == TOOL_FORMAT_HERMES) write_mark(lark, "", marks.open, marks.open_token, "\n");
    text_append_string(lark, " tool ");
    if (format == TOOL_FORMAT_HERMES) write_mark(lark, "\n", marks.close, marks.close_token, "");
    text_append_string(lark, "\n");
    unsigned n = write_tools(lark, format, tools, name);
    text_append_string(lark, "tool: tool_0");
    for (unsigned i = 1; i < n; i++) text_printf(lark, " | tool_%u", i);
    text_append_string(lark, "\n");
    return lark->failed ? ERR_NO_MEMORY : 0;
}
