/* What goes back to a client: the bytes of one answer in the form of the API that asked.
 *
 * Pure: events in, bytes out. A streamed reply appends server-sent events to `out` as they come; one that is
 * not streamed appends its whole JSON body at reply_end. Order of calls: reply_start, then for every choice
 * (interleaved) prompt tokens if echoed, tokens, reply_finish; reply_end last; or reply_fail at any time
 * instead of what is missing. A failed `out` (no memory) is the caller's to see. */
#ifndef CABINET_SERVER_REPLY_H
#define CABINET_SERVER_REPLY_H

#include "base/text.h"
#include "model/logprobs.h"
#include "model/tokenizer.h"
#include "server/ask.h"

struct reply;

struct reply_token {
    token_id token;
    float logprob; /* NAN: not known, as for a prompt's first token */
    uint32_t n_top;
    const struct token_logprob *top; /* (n_top) most likely first; borrowed for the call */
};

/* The KV bill, of all choices (docs/api.md, "What a request cost"). */
struct reply_kv {
    bool is_known; /* else it is not told */
    uint64_t computed_tokens, written_bytes, read_bytes, peak_bytes, saved_by_sharing;
    int64_t saved_by_codec;
    double byte_seconds;
    double price; /* NAN: there is none */
};

struct reply_usage {
    uint32_t prompt_tokens; /* of all prompts */
    uint32_t cached_tokens; /* of them, found in the cache */
    uint32_t output_tokens; /* of all choices that were generated */
    uint32_t reasoning_tokens;
    struct reply_kv kv;
};

/* A cancelled answer is told as one that got too long: clients know no other word for an unfinished one. */
enum reply_finish { REPLY_STOP, REPLY_LENGTH, REPLY_CANCELLED };

struct reply_opts {
    const struct ask *ask;             /* borrowed until reply_close, as is the tokenizer */
    const struct tokenizer *tokenizer; /* */
    const char *model;                 /* the served model's name; copied */
    const char *fingerprint;           /* of server and model, for system_fingerprint; copied; may be NULL */
    uint64_t id;        /* makes "chatcmpl-...", "cmpl-...", "resp_...", "msg_..." and call ids */
    int64_t created_s;  /* since 1970 */
    bool parses_tools;  /* the answer's text may hold tool calls, in this form: */
    int tool_format;    /* enum tool_format */
    uint32_t n_choices; /* generated: prompts * best_of; choice = prompt * best_of + which */
};

int reply_open(struct reply **reply, const struct reply_opts *opts);
void reply_close(struct reply *reply);
/* "text/event-stream" or "application/json" */
const char *reply_content_type(const struct reply *reply);

/* The prompts are tokenised and accepted: usage tells prompt and cached tokens as far as they are known. */
void reply_start(struct reply *reply, const struct reply_usage *usage, struct text *out);
/* With ask->echo: the prompt's tokens, before the choice's own. */
void reply_prompt_token(struct reply *reply, uint32_t choice, const struct reply_token *token,
                        struct text *out);
/* One of the choice's own; its logprob counts if the ask wants logprobs or best_of > n. What comes behind a
 * complete stop string is ignored. */
void reply_token(struct reply *reply, uint32_t choice, const struct reply_token *token, struct text *out);
void reply_finish(struct reply *reply, uint32_t choice, enum reply_finish finish, struct text *out);
/* Every choice has finished. With best_of > n the n of the highest mean logprob are given. */
void reply_end(struct reply *reply, const struct reply_usage *usage, struct text *out);
/* In mid-stream: an error event that ends the stream. */
void reply_fail(struct reply *reply, const struct api_error *error, struct text *out);

#endif
