#include "model/chat_template.h"

#include <cabinet_shim.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct chat_template {
    struct cabinet_template *compiled;
    char *source;
};

static int failure(int code, const char *error, int refused) {
    if (code == CABINET_SHIM_PANIC) return ERR(INTERNAL, "chat template: %s", error);
    if (code == CABINET_SHIM_IO) return ERR(IO, "chat template: %s", error);
    if (refused == ERR_CORRUPT) return ERR(CORRUPT, "chat template: %s", error);
    return ERR(INVALID, "chat template: %s", error);
}

int chat_template_open(struct chat_template **chat, const char *source, size_t length, const char *bos,
                       const char *eos) {
    char error[400];
    struct chat_template *opened = mem_alloc(1, sizeof *opened);
    if (opened == NULL) return ERR_NO_MEMORY;
    opened->source = mem_strndup(source, length);
    if (opened->source == NULL) {
        mem_free(opened);
        return ERR_NO_MEMORY;
    }
    int code = cabinet_template_open(&opened->compiled, source, length, bos, eos, error, sizeof error);
    if (code < 0) {
        mem_free(opened->source);
        mem_free(opened);
        return failure(code, error, ERR_CORRUPT);
    }
    *chat = opened;
    return 0;
}

void chat_template_close(struct chat_template *chat) {
    if (chat == NULL) return;
    cabinet_template_close(chat->compiled);
    mem_free(chat->source);
    mem_free(chat);
}

bool chat_template_knows_tools(const struct chat_template *chat) {
    return chat != NULL && cabinet_template_knows_tools(chat->compiled);
}

const char *chat_template_source(const struct chat_template *chat) {
    return chat == NULL ? "" : chat->source;
}

json_t *chat_messages_json(const struct chat_message *messages, size_t n_messages) {
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < n_messages; i++) {
        json_t *role = json_string(messages[i].role), *content = json_string(messages[i].content);
        if (role == NULL || content == NULL) {
            (void)ERR(INVALID, "chat template: the %s of message %zu is not UTF-8",
                      role == NULL ? "role" : "content", i);
            json_decref(role);
            json_decref(content);
            json_decref(list);
            return NULL;
        }
        json_t *message = json_pack("{s:o, s:o}", "role", role, "content", content);
        if (json_array_append_new(list, message) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    if (list == NULL) (void)ERR(NO_MEMORY, "no memory for the conversation");
    return list;
}

int chat_template_render(const struct chat_template *chat, const json_t *messages, const json_t *tools,
                         bool add_generation_prompt, int64_t now, char **text, size_t *length) {
    char error[400];
    char *messages_text = json_dumps(messages, JSON_COMPACT);
    char *tools_text = tools == NULL ? NULL : json_dumps(tools, JSON_COMPACT);
    int result = 0;
    if (messages_text == NULL || (tools != NULL && tools_text == NULL)) {
        result = ERR(NO_MEMORY, "no memory for the conversation");
    } else {
        int code = cabinet_template_render(chat->compiled, messages_text, tools_text, add_generation_prompt,
                                           now, text, length, error, sizeof error);
        if (code < 0) result = failure(code, error, ERR_INVALID);
    }
    free(messages_text); /* jansson's allocations */
    free(tools_text);
    return result;
}

void chat_template_text_free(char *text, size_t length) { cabinet_shim_free(text, length); }
