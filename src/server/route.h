/* Routes: which path is answered by whom, and who may ask. */
#ifndef CABINET_SERVER_ROUTE_H
#define CABINET_SERVER_ROUTE_H

#include <jansson.h>

#include "server/server_state.h"

/* Method, path, handler, who may ask (access.h), and what the metrics call it. Bodies must be JSON, and there
 * is one with POST. A path that ends with a {name} takes whatever stands there, slashes too; the handler
 * reads it. */
#define ROUTE_LIST(X)                                                                                        \
    X(GET, "/v1/models", models, CALLER, models)                                                             \
    X(GET, "/v1/models/{model}", model, CALLER, models)                                                      \
    X(POST, "/v1/chat/completions", chat, CALLER, chat_completions)                                          \
    X(POST, "/v1/completions", completions, CALLER, completions)                                             \
    X(POST, "/v1/responses", responses, CALLER, responses)                                                   \
    X(POST, "/v1/messages", messages, CALLER, messages)                                                      \
    X(POST, "/tokenize", tokenize, CALLER, tokenize)                                                         \
    X(POST, "/detokenize", detokenize, CALLER, detokenize)                                                   \
    X(GET, "/v1/kv", kv_list, CALLER, kv)                                                                    \
    X(DELETE, "/v1/kv", kv_drop, CALLER, kv)                                                                 \
    X(POST, "/v1/kv/pin", kv_pin, CALLER, kv)                                                                \
    X(POST, "/v1/kv/unpin", kv_unpin, CALLER, kv)                                                            \
    X(POST, "/v1/plan", plan, CALLER, plan)                                                                  \
    X(GET, "/v1/kv/live", live, CALLER, live)                                                                \
    X(GET, "/v1/plan/names", plan_names, CALLER, plan)                                                       \
    X(POST, "/v1/plan/curves", plan_curves, CALLER, plan)                                                    \
    X(GET, "/metrics", metrics, CALLER, metrics)                                                             \
    X(GET, "/debug/check", debug_check, DEBUG, debug)                                                        \
    X(GET, "/version", version, CALLER, version)                                                             \
    X(GET, "/openapi.json", openapi, CALLER, openapi)                                                        \
    X(GET, "/health", health, ANYBODY, health)                                                               \
    X(GET, "/ready", ready, ANYBODY, ready)

/* What refuses a request that is not whole (http.h). */
void route_write_refusal(void *server, const struct http_exchange *exchange, int status, const char *message,
                         struct text *body);
/* Answers a whole request: finds its route, checks who asks, hands over. */
void route_dispatch(void *server, struct http_exchange *exchange);

#define X(method, path, name, need, label)                                                                   \
    void route_##name(struct server *server, struct http_exchange *exchange, const struct caller *caller);
ROUTE_LIST(X)
#undef X

/* Errors go out in Anthropic's form: by the path, or by the header that its clients send. */
bool route_speaks_anthropic(const struct http_exchange *exchange);
/* The page's files; false if there is no such path. */
bool route_page(struct server *server, struct http_exchange *exchange);

/* Room for the body among those that wait for the worker; if not, what to reply. */
bool server_takes_body(struct server *server, const struct http_exchange *exchange, struct api_error *error);
void server_reply_error(struct http_exchange *exchange, const struct api_error *error, bool is_anthropic);
/* Takes the object over. */
void server_reply_json(struct http_exchange *exchange, int status, json_t *object);

#endif
