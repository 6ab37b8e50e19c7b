/* A conversation as token ids: what the chat template writes may be control tokens, what the messages say is
 * text, even if it spells "<|im_end|>".
 *
 * The template makes one string of both. So before it does, a mark goes in front of every spelling of a
 * control token in a message: a noncharacter of Unicode that no message has. Behind the template the marks
 * come out again, and where one was no control token begins. A control token that only template and message
 * together spell is not seen here; no usual template writes a part of one. */
#ifndef CABINET_MODEL_PROMPT_H
#define CABINET_MODEL_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "model/chat_template.h"
#include "model/tokenizer.h"

struct prompt_opts {
    bool add_generation_prompt;  /* an answer is to follow */
    bool continue_final_message; /* the last message is to be gone on with: nothing stands behind its text */
    int64_t now;                 /* as for chat_template_render, as are messages and tools below */
};

/* Appends the ids of the conversation. INVALID as chat_template_render and tokenizer_encode say, for messages
 * that use every noncharacter between U+FDD0 and U+FDEF, or for a final message to continue that the template
 * does not show. On failure the list is as before. */
int prompt_encode_json(const struct chat_template *chat, const struct tokenizer *tokenizer,
                       const json_t *messages, const json_t *tools, const struct prompt_opts *opts,
                       struct token_list *list);
/* The same for plain messages without tools. */
int prompt_encode(const struct chat_template *chat, const struct tokenizer *tokenizer,
                  const struct chat_message *messages, size_t n_messages, bool add_generation_prompt,
                  int64_t now, struct token_list *list);

#endif
