#include "cli/conversation.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/prompt.h"

static int append(struct conversation *conversation, const char *role, const char *text, size_t length) {
    if (conversation->n_messages == conversation->capacity) {
        size_t capacity = conversation->capacity * 2 + 8;
        void *grown = mem_realloc(conversation->messages, capacity, sizeof *conversation->messages);
        if (grown == NULL) return ERR_NO_MEMORY;
        conversation->messages = grown;
        conversation->capacity = capacity;
    }
    char *content = mem_strndup(text, length);
    if (content == NULL) return ERR_NO_MEMORY;
    conversation->messages[conversation->n_messages++] =
        (struct chat_message){.role = role, .content = content};
    return 0;
}

static void shrink(struct conversation *conversation, size_t n_left) {
    while (conversation->n_messages > n_left)
        mem_free((void *)conversation->messages[--conversation->n_messages].content);
}

int conversation_reset(struct conversation *conversation) {
    shrink(conversation, 0);
    conversation->has_bill = false;
    return conversation->system == NULL
               ? 0
               : append(conversation, "system", conversation->system, strlen(conversation->system));
}

int conversation_open(struct conversation *conversation, struct session *session, const char *system) {
    *conversation = (struct conversation){.session = session, .system = system};
    TRY(engine_sequence_open(session->engine, &conversation->sequence));
    int result = conversation_reset(conversation);
    if (result < 0) conversation_close(conversation);
    return result;
}

void conversation_close(struct conversation *conversation) {
    if (conversation->session == NULL) return;
    shrink(conversation, 0);
    mem_free(conversation->messages);
    engine_sequence_close(conversation->session->engine, conversation->sequence);
    *conversation = (struct conversation){0};
}

static int render(const struct conversation *conversation, struct token_list *prompt) {
    const struct model *model = &conversation->session->model;
    if (model->chat == NULL)
        return ERR(UNSUPPORTED, "this model has no chat template and none built in fits it; use --raw to "
                                "continue a text instead");
    return prompt_encode(model->chat, model->tokenizer, conversation->messages, conversation->n_messages,
                         true, (int64_t)time(NULL), prompt);
}

static int ask(struct conversation *conversation, const struct answer_opts *opts, struct answer *answer) {
    struct token_list prompt = {0};
    int result = render(conversation, &prompt);
    if (result == 0)
        result = answer_generate(conversation->session, conversation->sequence, &prompt, opts, answer);
    token_list_free(&prompt);
    return result;
}

int conversation_ask(struct conversation *conversation, const char *text, const struct answer_opts *opts,
                     struct answer *answer) {
    size_t n_before = conversation->n_messages;
    TRY(append(conversation, "user", text, strlen(text)));
    int result = ask(conversation, opts, answer);
    if (result < 0) {
        shrink(conversation, n_before);
        return result;
    }
    conversation->bill = answer->bill;
    conversation->has_bill = true;
    result = append(conversation, "assistant", answer->text == NULL ? "" : answer->text, answer->length);
    if (result < 0) {
        shrink(conversation, n_before);
        answer_free(answer);
    }
    return result;
}

int conversation_save(const struct conversation *conversation, const char *model, const char *path) {
    json_t *messages = json_array(), *document = json_object();
    for (size_t i = 0; i < conversation->n_messages; i++) {
        json_t *message = json_object();
        json_object_set_new(message, "role", json_string(conversation->messages[i].role));
        json_object_set_new(message, "content", json_string(conversation->messages[i].content));
        json_array_append_new(messages, message);
    }
    json_object_set_new(document, "model", json_string(model));
    json_object_set_new(document, "messages", messages);
    errno = 0;
    int failed = json_dump_file(document, path, JSON_INDENT(2));
    json_decref(document);
    return failed ? ERR(IO, "cannot write %s: %s", path, errno != 0 ? strerror(errno) : "not all was written")
                  : 0;
}
