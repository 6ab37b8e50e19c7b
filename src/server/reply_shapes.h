/* Pieces of replies that several APIs write alike. */
#ifndef CABINET_SERVER_REPLY_SHAPES_H
#define CABINET_SERVER_REPLY_SHAPES_H

#include "server/reply_form.h"

/* OpenAI's finish_reason. */
const char *reply_finish_reason(const struct reply_choice *choice);
/* ,"kv":{...} within a usage object; nothing where it is not known. */
void reply_write_kv(const struct reply_usage *usage, struct text *out);
/* {"prompt_tokens", ...} of the two older APIs */
void reply_write_usage(const struct reply_usage *usage, struct text *out);
/* [{"token", "bytes", "logprob", "top_logprobs"}, ...] */
void reply_write_entries(const struct reply_choice *choice, struct reply_range range, struct text *out);
/* A token as a client sees it: its text; what is no UTF-8 as OpenAI spells it, bytes:\xe2\x82; the name of a
 * control token. As a JSON string. */
void reply_write_token(const struct tokenizer *tokenizer, token_id token, struct text *out);
/* "id", "object", "created", "model" and "system_fingerprint" with the opening brace of the object. */
void reply_write_head(const struct reply *reply, const char *prefix, const char *object, struct text *out);
/* The concatenated text of a choice as a JSON string. */
void reply_write_text(const struct reply_choice *choice, struct text *out);
/* Ends of streams of the two older APIs: usage if asked for, [DONE]; an error. */
void reply_end_stream(struct reply *reply, const struct reply_usage *usage, struct text *out);
void reply_fail_stream(struct reply *reply, const struct api_error *error, struct text *out);
/* The end of an event: usage null where a later event will tell, and the frame. */
void reply_end_chunk(const struct reply *reply, struct text *out);

#endif
