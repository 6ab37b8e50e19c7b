/* One request for text under way: from its body to the last byte of its reply.
 *
 *            worker           engine's thread            event thread
 *   NEW ---> prepare ---+---> submit, steps ---+-------> reply complete
 *                       |     on_token fills   |
 *                       |     rings, news ---> | --> event thread reads them
 *                       +---> refused: error reply
 *
 * The event thread owns it; the worker has it until its job is done, the engine from the submit task to the
 * `ended` mail. A client that hangs up cancels it; it goes when the engine has let go of it. */
#ifndef CABINET_SERVER_GENERATION_H
#define CABINET_SERVER_GENERATION_H

#include "engine/forecast.h"
#include "server/ask.h"
#include "server/output_text.h"
#include "server/reply.h"
#include "server/server_state.h"

/* A token as the engine's thread leaves it in a choice's ring. */
struct ring_token {
    token_id token;
    float logprob;
};

struct choice { /* one answer being generated */
    struct generation *generation;
    uint32_t index;
    struct request request;
    struct forecast forecast; /* when it was handed in; of the generation's first */
    struct sequence *sequence;
    const struct token_list *prompt; /* of the generation */
    struct output_text *stops;       /* says when a stop string is complete; NULL without stop strings */
    struct ring_token *ring;         /* (max_output) filled in order, read in order */
    struct token_logprob *tops;      /* (max_output, n_top_logprobs) */
    struct ring_token *prompt_ring;  /* (prompt->n) with echo and logprobs, else NULL */
    struct token_logprob *prompt_tops;
    _Atomic uint32_t n_written;   /* by the engine's thread */
    uint32_t n_read;              /* by the event thread */
    bool is_submitted, has_ended; /* the engine's thread's view */
    _Atomic int finish;           /* enum finish_reason, once it has ended; set behind the last token */
    bool is_finished;             /* the reply knows */
    uint64_t latest_token_ns;     /* the engine's thread's: of the token before */
};

struct generation {
    struct server *server;
    struct http_exchange *exchange; /* NULL once the client is gone */
    struct generation *next, *previous;
    struct caller caller;
    enum ask_api api;
    uint64_t id;
    int64_t created_s;
    uint64_t received_ns;
    struct text body; /* until it is parsed */
    size_t n_body_bytes;
    /* the worker's result */
    struct ask *ask;
    uint64_t salt;              /* of the cache, for all choices */
    struct api_error error;     /* status 0: none */
    struct token_list *prompts; /* (n_prompts) */
    uint32_t n_prompts, n_choices;
    struct choice *choices; /* (n_choices) */
    struct reply *reply;
    /* between the threads */
    struct job job;
    struct service_task submit, cancel;
    struct mail news, ended, cancelled;
    uint32_t n_left;                 /* of the engine's thread: choices that have not ended, and tasks */
    char failure[API_ERROR_MESSAGE]; /* why a choice failed; written before its `finish` */
    _Atomic int failure_code;
    /* the event thread's */
    bool is_with_worker, is_with_engine, is_cancelling, has_begun, is_reply_started;
    uint32_t n_looks; /* by route_live, that have not ended */
    const char *cancelled_why;
    struct text out;
};

/* A request for text has arrived. Replies by itself, also with errors. */
void generation_begin(struct server *server, struct http_exchange *exchange, enum ask_api api,
                      const struct caller *caller);
void generation_look_ends(struct generation *generation); /* one of n_looks */
/* What ask_parse may let through. */
struct ask_limits prepare_limits(const struct server *server);
/* A text's tokens, appended to the list; for the worker. */
int prepare_text(const struct server *server, const struct ask_prompt *prompt, struct token_list *list);
/* A conversation's tokens, as the chat template writes it, appended to the list; for the worker. */
int prepare_conversation(const struct server *server, const struct ask *ask, int64_t now_s,
                         struct token_list *list);
/* The worker's part (prepare.c): fills ask, prompts, choices, reply; or error. */
void generation_prepare(struct generation *generation);
/* The engine's part (generate.c): tasks that submit and cancel. */
void generation_submit(struct engine *engine, void *generation);
void generation_cancel(struct engine *engine, void *generation);
/* Frees what prepare made. */
void generation_clear(struct generation *generation);
/* "chatcmpl-...", for logs and live figures. */
void generation_name(const struct generation *generation, char name[48]);

#endif
