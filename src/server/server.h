/* The server: many conversations at once over OpenAI's API, from one engine.
 *
 * Three threads share the work: the event thread (HTTP, replies), the worker (bodies, templates, tokenising,
 * grammars) and the engine's. What passes between them goes through mailbox.h, worker.h and engine/service.h.
 */
#ifndef CABINET_SERVER_SERVER_H
#define CABINET_SERVER_SERVER_H

#include "base/log.h"
#include "engine/engine.h"
#include "plan/hardware.h"
#include "plan/model.h"
#include "server/access.h"
#include "server/cache_salt.h"
#include "server/http.h"

struct server;

struct server_opts {
    const char *model_name;      /* what clients call the model */
    struct http_opts http;       /* without callbacks */
    struct access_policy access; /* taken over: server_close frees the keys */
    struct engine *engine;
    const struct model *model;
    uint32_t max_tokens;    /* of a sequence: the context */
    uint32_t max_requests;  /* under way at once, waiting ones included; more are told 429 */
    unsigned drain_seconds; /* that running requests have to finish after server_stop */
    struct kv_price price;  /* told with each request's bill, if it is set */
    bool is_debug;          /* /debug routes without an admin key */
    enum salt_by salt_by;   /* who shares cached prefixes */
    /* What the planner's page offers beside the catalog: the model that is served and this machine. NULL: not
     * known; else they live as long as the server. */
    const struct plan_model *plan_model;
    const struct plan_hardware *plan_hardware;
    struct log *log;
};

/* Listens. Engine, model and log stay open as long as the server. */
int server_open(struct server **server, const struct server_opts *opts);
/* Serves until it is stopped and drained, or interrupted; SIGTERM and SIGINT stop, a second one interrupts.
 */
int server_run(struct server *server);
void server_close(struct server *server);
uint16_t server_port(const struct server *server);

#endif
