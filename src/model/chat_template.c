#include "model/chat_template.h"

#include <cabinet_shim.h>

#include "base/err.h"
#include "base/mem.h"

struct chat_template {
    struct cabinet_template *compiled;
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
    int code = cabinet_template_open(&opened->compiled, source, length, bos, eos, error, sizeof error);
    if (code < 0) {
        mem_free(opened);
        return failure(code, error, ERR_CORRUPT);
    }
    *chat = opened;
    return 0;
}

void chat_template_close(struct chat_template *chat) {
    if (chat == NULL) return;
    cabinet_template_close(chat->compiled);
    mem_free(chat);
}

int chat_template_render(const struct chat_template *chat, const struct chat_message *messages,
                         size_t n_messages, bool add_generation_prompt, int64_t now, char **text,
                         size_t *length) {
    char error[400];
    const char **texts = mem_alloc(n_messages, 2 * sizeof *texts);
    if (texts == NULL) return ERR_NO_MEMORY;
    for (size_t i = 0; i < n_messages; i++) {
        texts[2 * i] = messages[i].role;
        texts[2 * i + 1] = messages[i].content;
    }
    int code = cabinet_template_render(chat->compiled, texts, n_messages, add_generation_prompt, now, text,
                                       length, error, sizeof error);
    mem_free(texts);
    return code < 0 ? failure(code, error, ERR_INVALID) : 0;
}

void chat_template_text_free(char *text, size_t length) { cabinet_shim_free(text, length); }
