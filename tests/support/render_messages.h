/* Plain messages through a chat template. */
#ifndef CABINET_TESTS_RENDER_MESSAGES_H
#define CABINET_TESTS_RENDER_MESSAGES_H

#include "base/err.h"
#include "model/chat_template.h"

static inline int render_messages(const struct chat_template *chat, const struct chat_message *messages,
                                  size_t n_messages, bool add_generation_prompt, int64_t now, char **text,
                                  size_t *length) {
    json_t *list = chat_messages_json(messages, n_messages);
    if (list == NULL) return ERR_INVALID;
    int result = chat_template_render(chat, list, NULL, add_generation_prompt, now, text, length);
    json_decref(list);
    return result;
}

#endif
