/* Routes: which path is answered by whom, and who may ask. */
#ifndef CABINET_SERVER_ROUTE_H
#define CABINET_SERVER_ROUTE_H

#include <jansson.h>

#include "server/server_state.h"

/* Method, path, handler, who may ask (access.h). POST bodies must be JSON. */
#define ROUTE_LIST(X)                                                                                        \
    X(GET, "/v1/models", models, CALLER)                                                                     \
    X(POST, "/v1/chat/completions", chat, CALLER)                                                            \
    X(POST, "/v1/completions", completions, CALLER)                                                          \
    X(POST, "/v1/responses", responses, CALLER)                                                              \
    X(POST, "/v1/messages", messages, CALLER)                                                                \
    X(POST, "/tokenize", tokenize, CALLER)                                                                   \
    X(POST, "/detokenize", detokenize, CALLER)                                                               \
    X(GET, "/v1/kv/live", live, CALLER)                                                                      \
    X(GET, "/metrics", metrics, CALLER)                                                                      \
    X(GET, "/debug/check", debug_check, DEBUG)                                                               \
    X(GET, "/version", version, CALLER)                                                                      \
    X(GET, "/openapi.json", openapi, CALLER)                                                                 \
    X(GET, "/health", health, ANYBODY)                                                                       \
    X(GET, "/ready", ready, ANYBODY)

/* Answers a whole request: finds its route, checks who asks, hands over. */
void route_dispatch(void *server, struct http_exchange *exchange);

#define X(method, path, name, need)                                                                          \
    void route_##name(struct server *server, struct http_exchange *exchange, const struct caller *caller);
ROUTE_LIST(X)
#undef X

/* The page's files; false if there is no such path. */
bool route_page(struct server *server, struct http_exchange *exchange);

void server_reply_error(struct http_exchange *exchange, const struct api_error *error, bool is_anthropic);
/* Takes the object over. */
void server_reply_json(struct http_exchange *exchange, int status, json_t *object);

#endif
