#include "server/server.h"
#include "kv/kv_usage.h"

#include <event2/thread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/account.h"
#include "server/route.h"

bool server_has_model(const struct server *server, const char *name) {
    return name[0] == '\0' || strcmp(name, server->opts.model_name) == 0;
}

uint16_t server_port(const struct server *server) { return http_port(server->http); }

/* The last reply may still be on its way out when nothing is under way any more. */
void server_check_drained(struct server *server) {
    if (server->is_draining && server->n_generations == 0 && server->http != NULL)
        http_stop_listening(server->http);
}

static void on_none_left(void *user) {
    struct server *server = user;
    event_base_loopexit(server->base, NULL);
}

/* ---- stopping ---- */

static void interrupt(struct server *server, const char *why) {
    LOG(server->opts.log, LOG_WARN, "server_interrupted", log_text("why", why));
    event_base_loopbreak(server->base);
}

static void on_patience_ended(evutil_socket_t socket, short what, void *user) {
    (void)socket, (void)what;
    interrupt(user, "requests were still running after --drain-seconds");
}

void server_stop(struct server *server) {
    const struct timeval patience = {.tv_sec = server->opts.drain_seconds};
    server->is_draining = true;
    LOG(server->opts.log, LOG_INFO, "server_drains", log_count("requests", server->n_generations));
    evtimer_add(server->drained, &patience);
    server_check_drained(server);
}

static void on_signal(evutil_socket_t number, short what, void *user) {
    (void)number, (void)what;
    struct server *server = user;
    if (server->is_draining)
        interrupt(server, "a second signal");
    else
        server_stop(server);
}

static void after_step(struct engine *engine, void *user) {
    struct server *server = user;
    account_step(server, engine);
    mailbox_wake(server->mailbox);
}

/* ---- opening and closing ---- */

/* As many descriptors as the system allows: every connection takes one. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_events(struct server *server) {
    evthread_use_pthreads();
    server->base = event_base_new();
    if (server->base == NULL) return ERR(IO, "no event loop: the system gives no descriptor");
    server->on_term = evsignal_new(server->base, SIGTERM, on_signal, server);
    server->on_interrupt = evsignal_new(server->base, SIGINT, on_signal, server);
    server->drained = evtimer_new(server->base, on_patience_ended, server);
    if (server->on_term == NULL || server->on_interrupt == NULL || server->drained == NULL)
        return ERR(NO_MEMORY, "no memory for the event loop");
    evsignal_add(server->on_term, NULL);
    evsignal_add(server->on_interrupt, NULL);
    return 0;
}

static int open_parts(struct server *server) {
    const struct server_opts *opts = &server->opts;
    raise_descriptor_limit();
    (void)signal(SIGPIPE, SIG_IGN);
    size_t n_keys = opts->access.keys.n + opts->access.admin_keys.n;
    TRY(cache_salts_open(&server->salts, opts->salt_by, n_keys));
    TRY(plan_catalog_open(&server->catalog, NULL));
    TRY(open_events(server));
    TRY(metrics_open(&server->metrics, opts->model_name, opts->max_tokens));
    TRY(mailbox_open(&server->mailbox, server->base));
    TRY(worker_open(&server->worker, server->mailbox));
    account_watch(server, true);
    account_load(server, opts->engine);
    TRY(service_open(&server->service, opts->engine, after_step, server));
    struct http_opts http = opts->http;
    http.on_request = route_dispatch;
    http.write_refusal = route_write_refusal;
    http.on_none_left = on_none_left;
    http.on_status = account_status;
    http.user = server;
    return http_server_open(&server->http, server->base, &http);
}

int server_open(struct server **out, const struct server_opts *opts) {
    struct server *server = mem_alloc(1, sizeof *server);
    if (server == NULL) return ERR_NO_MEMORY;
    server->opts = *opts;
    server->arena_bytes = kv_usage(engine_kv(opts->engine)).arena_bytes;
    server->clock = clock_monotonic();
    server->started_s = (int64_t)time(NULL);
    server->id_seed = clock_now_ns(&server->clock) ^ (uint64_t)server->started_s << 32;
    snprintf(server->fingerprint, sizeof server->fingerprint, "fp_cabinet_%s_%08x", CABINET_VERSION,
             (unsigned)(opts->model->weights.panel_bytes * 2654435761u >> 8));
    const char *source = chat_template_source(opts->model->chat);
    server->tool_format = tool_format_of(source);
    server->are_tools_native = chat_template_knows_tools(opts->model->chat) && tool_format_is_native(source);
    int result = open_parts(server);
    if (result < 0) {
        server_close(server);
        return result;
    }
    *out = server;
    return 0;
}

int server_run(struct server *server) {
    if (event_base_dispatch(server->base) < 0) return ERR(IO, "the event loop failed");
    return 0;
}

/* What is still under way is cancelled by the closing of its connection, and goes when the engine's thread
 * has let go of it. */
void server_close(struct server *server) {
    if (server == NULL) return;
    http_server_close(server->http);
    server->http = NULL;
    while (server->n_generations + server->n_pending > 0) event_base_loop(server->base, EVLOOP_ONCE);
    worker_close(server->worker);
    service_close(server->service);
    mailbox_close(server->mailbox);
    constraint_vocabulary_close(server->vocabulary);
    account_watch(server, false);
    metrics_close(server->metrics);
    if (server->drained != NULL) event_free(server->drained);
    if (server->on_interrupt != NULL) event_free(server->on_interrupt);
    if (server->on_term != NULL) event_free(server->on_term);
    if (server->base != NULL) event_base_free(server->base);
    cache_salts_close(&server->salts);
    plan_catalog_close(&server->catalog);
    access_keys_free(&server->opts.access.keys);
    access_keys_free(&server->opts.access.admin_keys);
    mem_free(server);
}
