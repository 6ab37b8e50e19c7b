#include "model/prompt.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { MARK_BYTES = 3, N_MARKS = 32 };

/* U+FDD0 .. U+FDEF in UTF-8, the last byte counting. */
static bool find_mark(const struct chat_message *messages, size_t n_messages, char mark[MARK_BYTES + 1]) {
    for (int i = 0; i < N_MARKS; i++) {
        size_t n_free = 0;
        memcpy(mark, (const char[]){'\xef', '\xb7', (char)(0x90 + i), '\0'}, MARK_BYTES + 1);
        while (n_free < n_messages && strstr(messages[n_free].content, mark) == NULL) n_free++;
        if (n_free == n_messages) return true;
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

/* Takes the marks out of `text` in place; *guards says where they were. Free it with mem_free. */
static int take_marks(char *text, size_t *length, const char *mark, size_t **guards, size_t *n_guards) {
    size_t n = 0, n_marks = 0;
    for (const char *next = text;
         (next = memmem(next, *length - (size_t)(next - text), mark, MARK_BYTES)) != NULL; next += MARK_BYTES)
        n_marks++;
    *guards = mem_alloc(n_marks, sizeof **guards);
    if (*guards == NULL) return ERR_NO_MEMORY;
    *n_guards = 0;
    for (size_t at = 0; at < *length;) {
        if (*length - at >= MARK_BYTES && memcmp(text + at, mark, MARK_BYTES) == 0) {
            (*guards)[(*n_guards)++] = n;
            at += MARK_BYTES;
        } else {
            text[n++] = text[at++];
        }
    }
    *length = n;
    return 0;
}

static int encode_marked(const struct chat_template *chat, const struct tokenizer *tokenizer,
                         const struct chat_message *messages, size_t n_messages, bool add_generation_prompt,
                         int64_t now, const char *mark, struct token_list *list) {
    char *rendered;
    size_t n_rendered, *guards = NULL, n_guards;
    TRY(chat_template_render(chat, messages, n_messages, add_generation_prompt, now, &rendered, &n_rendered));
    size_t length = n_rendered;
    int result = take_marks(rendered, &length, mark, &guards, &n_guards);
    if (result == 0) result = tokenizer_encode_guarded(tokenizer, rendered, length, guards, n_guards, list);
    mem_free(guards);
    chat_template_text_free(rendered, n_rendered);
    return result;
}

int prompt_encode(const struct chat_template *chat, const struct tokenizer *tokenizer,
                  const struct chat_message *messages, size_t n_messages, bool add_generation_prompt,
                  int64_t now, struct token_list *list) {
    char mark[MARK_BYTES + 1];
    if (!find_mark(messages, n_messages, mark))
        return ERR(INVALID, "the messages use all 32 noncharacters between U+FDD0 and U+FDEF; leave one out");
    struct chat_message *marked = mem_alloc(n_messages, sizeof *marked);
    if (marked == NULL) return ERR_NO_MEMORY;
    int result = 0;
    for (size_t i = 0; result == 0 && i < n_messages; i++) {
        marked[i] =
            (struct chat_message){messages[i].role, marked_copy(tokenizer, messages[i].content, mark)};
        if (marked[i].content == NULL) result = ERR_NO_MEMORY;
    }
    if (result == 0)
        result = encode_marked(chat, tokenizer, marked, n_messages, add_generation_prompt, now, mark, list);
    for (size_t i = 0; i < n_messages; i++) mem_free((void *)(uintptr_t)marked[i].content);
    mem_free(marked);
    return result;
}
