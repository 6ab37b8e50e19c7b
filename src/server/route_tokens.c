/* /tokenize and /detokenize, as vLLM has them; the work is the worker's. */
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/ask_fields.h"
#include "server/generation.h"
#include "server/route.h"

struct token_job {
    struct server *server;
    struct http_exchange *exchange; /* NULL once the client is gone */
    struct text body;
    json_t *result;
    struct api_error error;
    struct job job;
};

static int bad(struct token_job *job, const char *param, const char *message) {
    return api_error_set(&job->error, 400, param, NULL, "%s", message);
}

static json_t *read_body(struct token_job *job) {
    json_error_t error;
    json_t *body = json_loadb(job->body.bytes == NULL ? "" : job->body.bytes, job->body.length, 0, &error);
    if (json_is_object(body)) return body;
    json_decref(body);
    bad(job, NULL, body == NULL ? "the body is not valid JSON" : "the body is no JSON object");
    return NULL;
}

static int encode_prompt(struct token_job *job, const json_t *body, const char *prompt,
                         struct token_list *list) {
    const struct tokenizer *tokenizer = job->server->opts.model->tokenizer;
    const struct place place = {.error = &job->error};
    bool adds_special = true;
    int result = field_bool(body, "add_special_tokens", &adds_special, &place);
    if (result < 0) return result;
    result = 0;
    if (adds_special && tokenizer_adds_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
        result = token_list_append(list, tokenizer_bos(tokenizer));
    if (result == 0) result = tokenizer_encode(tokenizer, prompt, strlen(prompt), true, list);
    return result < 0 ? api_error_from(&job->error, result) : 0;
}

/* What /v1/chat/completions would compute of the same body. */
static int encode_messages(struct token_job *job, struct token_list *list) {
    const struct ask_limits limits = prepare_limits(job->server);
    struct ask *ask;
    TRY(ask_parse(ASK_CHAT, job->body.bytes, job->body.length, &limits, &ask, &job->error));
    int result = prepare_conversation(job->server, ask, (int64_t)time(NULL), list);
    ask_free(ask);
    return result < 0 ? api_error_from(&job->error, result) : 0;
}

static int encode(struct token_job *job, const json_t *body, struct token_list *list) {
    const struct place place = {.error = &job->error};
    const char *prompt;
    int found = field_string(body, "prompt", &prompt, &place);
    if (found != 0) return found < 0 ? found : encode_prompt(job, body, prompt, list);
    if (json_object_get(body, "messages") == NULL)
        return bad(job, NULL, "'prompt' (a string) or 'messages' (an array) is missing");
    return encode_messages(job, list);
}

static void run_tokenize(void *user) {
    struct token_job *job = user;
    struct token_list list = {0};
    json_t *body = read_body(job);
    if (body == NULL) return;
    if (encode(job, body, &list) == 0) {
        json_t *tokens = json_array();
        for (size_t i = 0; i < list.n; i++) json_array_append_new(tokens, json_integer(list.ids[i]));
        job->result = json_pack("{s:I, s:I, s:o}", "count", (json_int_t)list.n, "max_model_len",
                                (json_int_t)job->server->opts.max_tokens, "tokens", tokens);
    }
    token_list_free(&list);
    json_decref(body);
}

static int decode(struct token_job *job, const json_t *tokens, struct text *text) {
    const struct tokenizer *tokenizer = job->server->opts.model->tokenizer;
    struct tokenizer_stream stream = {0};
    char piece[TOKENIZER_STEP_MAX];
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        json_int_t id = json_is_integer(token) ? json_integer_value(token) : -1;
        if (id < 0 || id >= (json_int_t)tokenizer_n_tokens(tokenizer))
            return bad(job, "tokens", "'tokens' holds something that is no token of this model");
        text_append(text, piece, tokenizer_decode_step(tokenizer, &stream, (token_id)id, piece));
    }
    text_append(text, piece, tokenizer_decode_end(&stream, piece));
    return 0;
}

static void run_detokenize(void *user) {
    struct token_job *job = user;
    struct text text = {0};
    json_t *body = read_body(job);
    if (body == NULL) return;
    const json_t *tokens = json_object_get(body, "tokens");
    if (!json_is_array(tokens))
        bad(job, "tokens", "'tokens' (an array of ids) is missing");
    else if (decode(job, tokens, &text) == 0)
        job->result =
            json_pack("{s:o}", "prompt", json_stringn(text.bytes == NULL ? "" : text.bytes, text.length));
    text_free(&text);
    json_decref(body);
}

static void on_done(void *user) {
    struct token_job *job = user;
    job->server->n_pending--;
    job->server->body_bytes -= job->body.length;
    if (job->exchange != NULL && job->error.status != 0)
        server_reply_error(job->exchange, &job->error, false);
    else if (job->exchange != NULL)
        server_reply_json(job->exchange, 200, job->result);
    else
        json_decref(job->result);
    text_free(&job->body);
    mem_free(job);
}

static void on_closed(void *user, const char *why) {
    (void)why;
    struct token_job *job = user;
    job->exchange = NULL;
}

static void begin(struct server *server, struct http_exchange *exchange, void (*run)(void *user)) {
    static const struct http_owner owner = {.on_closed = on_closed};
    struct token_job *job = mem_alloc(1, sizeof *job);
    struct api_error error = {.status = 503, .retry_after_seconds = 1, .message = "out of memory"};
    if (job == NULL || !server_takes_body(server, exchange, &error)) {
        mem_free(job);
        server_reply_error(exchange, &error, false);
        return;
    }
    http_take_body(exchange, &job->body);
    server->body_bytes += job->body.length;
    job->server = server;
    job->exchange = exchange;
    job->job = (struct job){.run = run, .user = job, .done = {.deliver = on_done, .user = job}};
    http_set_owner(exchange, &owner, job);
    server->n_pending++;
    worker_submit(server->worker, &job->job);
}

void route_tokenize(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    begin(server, exchange, run_tokenize);
}

void route_detokenize(struct server *server, struct http_exchange *exchange, const struct caller *caller) {
    (void)caller;
    begin(server, exchange, run_detokenize);
}
