/* What the readers of the APIs share (ask_chat.c, ask_completions.c, ask_responses.c, ask_messages.c). */
#ifndef CABINET_SERVER_ASK_FORM_H
#define CABINET_SERVER_ASK_FORM_H

#include "server/ask.h"
#include "server/ask_fields.h"

/* One body on its way into an ask. */
struct ask_reading {
    const json_t *body;
    const struct ask_limits *limits;
    struct ask *ask;
    json_t *call_names; /* id of a tool call seen so far: its function's name */
    struct place top;
};

int ask_read_chat(struct ask_reading *reading);
int ask_read_completions(struct ask_reading *reading);
int ask_read_responses(struct ask_reading *reading);
int ask_read_messages(struct ask_reading *reading);

/* JSON text of bounded depth, as an object or array; NULL with one line of what is wrong in *why (lives for
 * ever) and the place in *error. */
json_t *ask_load_json(const char *bytes, size_t length, const char **why, json_error_t *error);

/* --- ask_options.c: fields that mean the same in several APIs --- */

/* model, stream, temperature, top_p, and the extensions top_k, min_p, seed, penalties, logit_bias,
 * ignore_eos, min_tokens, priority, cache_salt */
int ask_read_options(struct ask_reading *reading);
int ask_read_stops(struct ask_reading *reading, const char *name);
/* n, best_of, stream_options, user: of the two older OpenAI APIs */
int ask_read_choices(struct ask_reading *reading);
/* The field cache_salt: a copy in *copy, NULL if it is not there. */
int ask_read_cache_salt(const json_t *object, char **copy, const struct place *place);
/* The object that says which form the answer has; a schema and its name lie in `schema_key`, or beside the
 * type if that is NULL. */
int ask_read_format(struct ask_reading *reading, const json_t *format, const char *schema_key,
                    const struct place *place);
/* 400 if the field is there, with this reason. */
int ask_refuse_field(struct ask_reading *reading, const char *name, const char *reason);

/* --- ask_content.c: messages --- */

/* Text: a string, or an array of text parts, joined by line breaks. 0 if absent or null, 1 with a new
 * reference in *text. */
int ask_read_content(const json_t *object, const char *name, json_t **text, const struct place *place);
/* Adds a message; takes the content's reference (NULL: ""). *message, if wanted, is borrowed. */
int ask_add_message(struct ask_reading *reading, const char *role, json_t *content, json_t **message);
/* Adds a call to an assistant's message; takes the arguments' reference, an object. */
int ask_add_call(struct ask_reading *reading, json_t *message, const char *id, const char *name,
                 json_t *arguments);
/* Adds what a tool gave back; takes the content's reference. */
int ask_add_result(struct ask_reading *reading, const char *id, const char *name, json_t *content);
/* Arguments of a call: JSON text of an object, or the object itself; a new reference. */
int ask_read_arguments(const json_t *object, const char *name, json_t **arguments, const struct place *place);

/* --- ask_tools.c --- */

/* Adds a tool {name, description, parameters, strict} of `object` to ask->tools. */
int ask_add_tool(struct ask_reading *reading, const json_t *object, const char *parameters_key,
                 const struct place *place);
int ask_begin_tools(struct ask_reading *reading, const json_t *list);
int ask_choose_tool(struct ask_reading *reading, const char *name, const struct place *place);
/* tool_choice of both OpenAI APIs: a word, or {"type": "function"} with the name in `name_key` or beside. */
int ask_read_tool_choice(struct ask_reading *reading, const char *name_key);

#endif
