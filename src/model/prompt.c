#include "model/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { MARK_BYTES = 3, N_MARKS = 32 };

/* U+FDD0 .. U+FDEF in UTF-8, the last byte counting: one that neither text has. */
static bool find_mark(const char *messages, const char *tools, char mark[MARK_BYTES + 1]) {
    for (int i = 0; i < N_MARKS; i++) {
        memcpy(mark, (const char[]){'\xef', '\xb7', (char)(0x90 + i), '\0'}, MARK_BYTES + 1);
        if (strstr(messages, mark) == NULL && strstr(tools, mark) == NULL) return true;
    }
    return false;
}

/* The text with a mark in front of every spelling of a control token; NULL if there is no memory. */
static char *marked_copy(const struct tokenizer *tokenizer, const char *text, const char *mark) {
    size_t length = strlen(text), n_marks = 0, n = 0;
    for (size_t at = 0; at < length; at++)
        n_marks += tokenizer_spells_control(tokenizer, text + at, length - at);
    char *copy = mem_alloc(length + n_marks * MARK_BYTES + 1, 1);
    if (copy == NULL) return NULL;
    for (size_t at = 0; at < length; at++) {
        if (n_marks > 0 && tokenizer_spells_control(tokenizer, text + at, length - at)) {
            memcpy(copy + n, mark, MARK_BYTES);
            n += MARK_BYTES;
        }
        copy[n++] = text[at];
    }
    return copy;
}

static bool is_mark(const char *text, size_t length, const char *mark) {
    return length >= MARK_BYTES && memcmp(text, mark, MARK_BYTES) == 0;
}

/* Takes the marks out of `text` in place; *guards says where they were. Free it with mem_free. Two in a row
 * are the end of a final message that the template shows once more before: the space behind goes with them.
 */
static int take_marks(char *text, size_t *length, const char *mark, size_t **guards, size_t *n_guards) {
    size_t n = 0, n_marks = 0;
    for (const char *next = text;
         (next = memmem(next, *length - (size_t)(next - text), mark, MARK_BYTES)) != NULL; next += MARK_BYTES)
        n_marks++;
    *guards = mem_alloc(n_marks, sizeof **guards);
    if (*guards == NULL) return ERR_NO_MEMORY;
    *n_guards = 0;
    for (size_t at = 0; at < *length;) {
        if (!is_mark(text + at, *length - at, mark)) {
            text[n++] = text[at++];
            continue;
        }
        at += MARK_BYTES;
        if (!is_mark(text + at, *length - at, mark)) {
            (*guards)[(*n_guards)++] = n;
            continue;
        }
        at += MARK_BYTES;
        if (at < *length && text[at] == ' ') at++;
    }
    *length = n;
    return 0;
}

static json_t *marked_json(const struct tokenizer *tokenizer, const json_t *value, const char *mark);

/* An object's names are texts of the client's too. */
static json_t *marked_object(const struct tokenizer *tokenizer, const json_t *object, const char *mark) {
    json_t *copy = json_object();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        char *marked_name = marked_copy(tokenizer, name, mark);
        json_t *marked = marked_json(tokenizer, value, mark);
        bool is_set =
            marked_name != NULL && marked != NULL && json_object_set(copy, marked_name, marked) == 0;
        mem_free(marked_name);
        json_decref(marked);
        if (is_set) continue;
        json_decref(copy);
        return NULL;
    }
    return copy;
}

/* A copy with all texts marked; NULL if there is no memory. The depth is that of what was parsed. */
static json_t *marked_json(const struct tokenizer *tokenizer, const json_t *value, const char *mark) {
    if (json_is_object(value)) return marked_object(tokenizer, value, mark);
    if (json_is_string(value)) {
        char *text = marked_copy(tokenizer, json_string_value(value), mark);
        json_t *copy = text == NULL ? NULL : json_string(text);
        mem_free(text);
        return copy;
    }
    if (!json_is_array(value)) return json_incref((json_t *)(uintptr_t)value);
    json_t *copy = json_array();
    for (size_t i = 0; copy != NULL && i < json_array_size(value); i++) {
        json_t *marked = marked_json(tokenizer, json_array_get(value, i), mark);
        if (json_array_append_new(copy, marked) == 0) continue;
        json_decref(copy);
        copy = NULL;
    }
    return copy;
}

/* Where the final message ends is told by two marks and a space behind its text, as Hugging Face's
 * continue_final_message does with a word: the space shows whether the template keeps white space there. */
static int mark_final(const char *mark, json_t *messages) {
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *content = json_string_value(json_object_get(last, "content"));
    if (content == NULL) return ERR(INVALID, "the final message has no text to continue");
    json_t *marked = json_sprintf("%s%s%s ", content, mark, mark);
    if (json_object_set_new(last, "content", marked) < 0)
        return ERR(NO_MEMORY, "no memory for the conversation");
    return 0;
}

/* Cuts `text` behind the final message. */
static int cut_behind_final(const char *mark, const char *text, size_t *length) {
    char end[2 * MARK_BYTES + 1];
    snprintf(end, sizeof end, "%s%s", mark, mark);
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, end)) != NULL; at += MARK_BYTES) found = at;
    if (found == NULL)
        return ERR(INVALID,
                   "the chat template does not show the final message, so that it cannot be continued");
    *length = (size_t)(found - text);
    if (found[2 * MARK_BYTES] != ' ')
        while (*length > 0 && strchr(" \t\n\r\f\v", text[*length - 1]) != NULL) (*length)--;
    return 0;
}

static int encode_marked(const struct chat_template *chat, const struct tokenizer *tokenizer,
                         const json_t *messages, const json_t *tools, const struct prompt_opts *opts,
                         const char *mark, struct token_list *list) {
    char *rendered;
    size_t n_rendered, *guards = NULL, n_guards;
    bool prompts = opts->add_generation_prompt && !opts->continue_final_message;
    TRY(chat_template_render(chat, messages, tools, prompts, opts->now, &rendered, &n_rendered));
    size_t length = n_rendered;
    int result = opts->continue_final_message ? cut_behind_final(mark, rendered, &length) : 0;
    if (result == 0) result = take_marks(rendered, &length, mark, &guards, &n_guards);
    if (result == 0) result = tokenizer_encode_guarded(tokenizer, rendered, length, guards, n_guards, list);
    mem_free(guards);
    chat_template_text_free(rendered, n_rendered);
    return result;
}

static int choose_mark(const json_t *messages, const json_t *tools, char mark[MARK_BYTES + 1]) {
    char *messages_text = json_dumps(messages, JSON_COMPACT);
    char *tools_text = tools == NULL ? NULL : json_dumps(tools, JSON_COMPACT);
    int result = 0;
    if (messages_text == NULL || (tools != NULL && tools_text == NULL))
        result = ERR(NO_MEMORY, "no memory for the conversation");
    else if (!find_mark(messages_text, tools_text == NULL ? "" : tools_text, mark))
        result =
            ERR(INVALID, "the messages use all 32 noncharacters between U+FDD0 and U+FDEF; leave one out");
    free(messages_text); /* jansson's allocations */
    free(tools_text);
    return result;
}

int prompt_encode_json(const struct chat_template *chat, const struct tokenizer *tokenizer,
                       const json_t *messages, const json_t *tools, const struct prompt_opts *opts,
                       struct token_list *list) {
    char mark[MARK_BYTES + 1];
    TRY(choose_mark(messages, tools, mark));
    json_t *marked = marked_json(tokenizer, messages, mark);
    json_t *marked_tools = tools == NULL ? NULL : marked_json(tokenizer, tools, mark);
    int result = marked == NULL || (tools != NULL && marked_tools == NULL)
                     ? ERR(NO_MEMORY, "no memory for the conversation")
                     : 0;
    if (result == 0 && opts->continue_final_message) result = mark_final(mark, marked);
    if (result == 0) result = encode_marked(chat, tokenizer, marked, marked_tools, opts, mark, list);
    json_decref(marked);
    json_decref(marked_tools);
    return result;
}

int prompt_encode(const struct chat_template *chat, const struct tokenizer *tokenizer,
                  const struct chat_message *messages, size_t n_messages, bool add_generation_prompt,
                  int64_t now, struct token_list *list) {
    const struct prompt_opts opts = {.add_generation_prompt = add_generation_prompt, .now = now};
    json_t *plain = chat_messages_json(messages, n_messages);
    if (plain == NULL) return ERR_INVALID;
    int result = prompt_encode_json(chat, tokenizer, plain, NULL, &opts, list);
    json_decref(plain);
    return result;
}
