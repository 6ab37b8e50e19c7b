/* A model's chat template: Jinja source out of a stranger's file, rendered by minijinja behind the Rust shim
 * as Hugging Face's apply_chat_template renders it, with bounds on time, memory and depth
 * (docs/templates.md). */
#ifndef CABINET_MODEL_CHAT_TEMPLATE_H
#define CABINET_MODEL_CHAT_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chat_template;

/* A message of the simplest kind. */
struct chat_message {
    const char *role;    /* "system", "user", "assistant", ...; UTF-8, NUL-terminated */
    const char *content; /* UTF-8, NUL-terminated */
};

/* Compiles the template. CORRUPT with the engine's own one-line message and line number. bos and eos are the
 * texts of those tokens ("" where there is none). */
int chat_template_open(struct chat_template **chat, const char *source, size_t length, const char *bos,
                       const char *eos);
void chat_template_close(struct chat_template *chat);

/* Does it tell the model of tools? And what it is made from, NUL-terminated; both of no template: no, "". */
bool chat_template_knows_tools(const struct chat_template *chat);
const char *chat_template_source(const struct chat_template *chat);

/* Plain messages as JSON, a new reference; NULL with INVALID set for what is not UTF-8, or NO_MEMORY. */
json_t *chat_messages_json(const struct chat_message *messages, size_t n_messages);

/* Renders a conversation. `messages` is an array of objects as Hugging Face's templates take them: role,
 * content, where it applies tool_calls, tool_call_id, name; `tools` an array of functions, or NULL. `now`
 * (seconds since 1970) is the time that a template may ask for. On success *text is the NUL-terminated
 * result; free it with chat_template_text_free. INVALID with the template's own complaint (raise_exception, a
 * missing field), or when fuel, memory or depth run out. */
int chat_template_render(const struct chat_template *chat, const json_t *messages, const json_t *tools,
                         bool add_generation_prompt, int64_t now, char **text, size_t *length);
void chat_template_text_free(char *text, size_t length);

#endif
