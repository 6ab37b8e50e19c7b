/* What a client asked for, whatever API it used: a request body, checked and brought into one form.
 *
 * Pure: JSON in, a struct out; no model, no clock, no I/O. All input is hostile. */
#ifndef CABINET_SERVER_ASK_H
#define CABINET_SERVER_ASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/sampler.h"
#include "model/tokenizer.h"
#include "server/api_error.h"

enum ask_api {
    ASK_CHAT,        /* OpenAI POST /v1/chat/completions */
    ASK_COMPLETIONS, /* OpenAI POST /v1/completions */
    ASK_RESPONSES,   /* OpenAI POST /v1/responses, text */
    ASK_MESSAGES,    /* Anthropic POST /v1/messages, text */
};

enum ask_format { ASK_TEXT, ASK_JSON_OBJECT, ASK_JSON_SCHEMA };
enum ask_tool_choice { ASK_TOOLS_NONE, ASK_TOOLS_AUTO, ASK_TOOLS_REQUIRED, ASK_TOOLS_NAMED };

/* A prompt of /v1/completions: text, or ids that the client made. */
struct ask_prompt {
    char *text;    /* NULL when ids are given; may hold no NUL */
    token_id *ids; /* (n_ids) each < ask_limits.n_vocab */
    uint32_t n_ids;
};

/* Bytes of a cache_salt: 1 to this. */
enum { CACHE_SALT_BYTES = 1024 };

struct ask_limits {
    uint32_t max_choices; /* n, best_of, and prompts times n */
    uint32_t max_stops;   /* strings, each of at most 256 bytes */
    uint32_t max_top_logprobs;
    uint32_t n_vocab; /* for logit_bias and prompts of ids */
};

struct ask {
    enum ask_api api;
    char *model;      /* "" when the client named none */
    char *user;       /* "" */
    char *cache_salt; /* NULL: none */
    /* The conversation, of every API but completions: an array of objects as chat templates take them: role,
     * content (a string; text parts are joined), and where given tool_calls (arguments as objects),
     * tool_call_id, name. Roles: system (also from developer), user, assistant, tool. */
    json_t *messages;
    bool continues_final_message; /* the last message, an assistant's, is to be gone on with */
    bool adds_generation_prompt;  /* the template begins an answer; never with the above */
    bool repeats_final_message;   /* chat's echo, with continues_final_message: its text comes first */
    json_t *tools;                /* [{"type": "function", "function": {...}}], or NULL */
    enum ask_tool_choice tool_choice;
    char *tool_name; /* with ASK_TOOLS_NAMED */
    bool parallel_tool_calls;
    struct ask_prompt *prompts; /* (n_prompts) of completions */
    uint32_t n_prompts;
    bool echo; /* completions: the prompt first */
    /* the answer */
    uint32_t n, best_of; /* answers a prompt: wanted, generated */
    uint32_t max_tokens; /* UINT32_MAX: until the context ends; 0 only with echo: nothing is generated */
    uint32_t min_tokens;
    bool ignores_end;
    bool is_streamed, includes_usage;
    bool wants_logprobs;
    uint32_t n_top_logprobs;
    char **stops; /* (n_stops) */
    uint32_t n_stops;
    enum ask_format format;
    char *schema;                 /* JSON text of an object, with ASK_JSON_SCHEMA */
    char *schema_name;            /* "" */
    struct sampler_opts sampling; /* biases point to `biases` */
    struct logit_bias *biases;
    bool has_seed;
    int32_t priority;                /* lower goes first, as in vLLM */
    json_t *instructions, *metadata; /* of responses, which repeats them; NULL where not given */
};

/* Reads a body. 0 and *ask (ask_free), or negative with *error filled: an HTTP status and what OpenAI's error
 * object says. Unknown fields are ignored, wrong types are not. */
int ask_parse(enum ask_api api, const char *body, size_t length, const struct ask_limits *limits,
              struct ask **ask, struct api_error *error);
void ask_free(struct ask *ask);

#endif
