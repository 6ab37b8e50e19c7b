/* Inside of server: what the event thread owns. */
#ifndef CABINET_SERVER_SERVER_STATE_H
#define CABINET_SERVER_SERVER_STATE_H

#include <event2/event.h>

#include "engine/service.h"
#include "model/constraint.h"
#include "plan/catalog.h"
#include "server/mailbox.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/tool_format.h"
#include "server/worker.h"

struct generation;

/* A count per second, as far as anybody looked. */
struct rate {
    uint64_t count, at_ns;
    double per_second;
};

/* How far counters have followed what engine and cache count themselves. */
struct noted_totals {
    uint64_t n_copies, copied_tokens, n_demotions, demoted_bytes;
    uint64_t read_bytes, written_bytes, billed_byte_seconds, house_byte_seconds;
};

struct server {
    struct server_opts opts;
    uint64_t arena_bytes; /* of the KV memory */
    struct event_base *base;
    struct http_server *http;
    struct mailbox *mailbox;
    struct worker *worker;
    struct cache_salts salts;
    struct plan_catalog catalog; /* of the planner's page */
    struct service *service;
    struct clock clock;
    struct metrics *metrics;
    struct constraint_vocabulary *vocabulary; /* made by the worker when it is first needed */
    enum tool_format tool_format;
    bool are_tools_native; /* the template writes tools, in a form that is read back */
    struct event *on_term, *on_interrupt, *drained; /* signals; the end of the patience with drain */
    struct generation *first;                       /* under way */
    uint32_t n_generations;
    uint32_t n_pending; /* other replies that the worker or the engine's thread prepare */
    size_t body_bytes;  /* of bodies that wait for the worker or are with it */
    uint64_t n_ids;     /* given to generations so far */
    uint64_t id_seed;
    char fingerprint[40]; /* of the program and the model */
    int64_t started_s;
    bool is_draining;
    struct rate prefill_rate, decode_rate;
    _Atomic uint64_t n_prefill_rows, n_decode_rows; /* counted by the engine's thread, as are these: */
    uint64_t n_steps, n_preemptions;
    struct noted_totals noted;
};

/* The model name that a client gave is this server's, or none. */
bool server_has_model(const struct server *server, const char *name);
/* Stops listening; ends when nothing is under way, or after drain_seconds. */
void server_stop(struct server *server);
/* A generation has gone: a draining server may be done. */
void server_check_drained(struct server *server);

#endif
