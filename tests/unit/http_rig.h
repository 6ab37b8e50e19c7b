/* The HTTP layer over loopback with clients of raw bytes in the same event loop: nothing else runs, so a
 * test decides what happens between two bytes. Comes after cmocka.h. */
#ifndef CABINET_TESTS_HTTP_RIG_H
#define CABINET_TESTS_HTTP_RIG_H

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/http_connection.h"

enum { MAX_KEPT = 8, MAX_STATUSES = 256, PATIENCE_SECONDS = 30 };

/* A server whose paths are: /echo (replies "METHOD PATH BODY"), /later (is kept in `kept`), /stream (three
 * pieces), /big (BIG bytes). */
enum { BIG = 300000 };
struct rig {
    struct event_base *base;
    struct http_server *server;
    unsigned n_requests, n_closed, n_writable, n_none_left;
    struct http_exchange *kept[MAX_KEPT];
    unsigned n_kept;
    int statuses[MAX_STATUSES]; /* as on_status told them */
    unsigned n_statuses;
    const char *why; /* the latest on_closed's */
};

static char big[BIG];

static inline void on_closed(void *user, const char *why) {
    struct rig *rig = user;
    rig->n_closed++;
    rig->why = why;
}

static inline void on_writable(void *user) { ((struct rig *)user)->n_writable++; }

static inline void reply_echo(struct http_exchange *exchange) {
    size_t length;
    const char *body = http_body(exchange, &length);
    struct text text = {0};
    text_printf(&text, "%s %s ", http_method(exchange), http_path(exchange));
    text_append(&text, body, length);
    http_reply(exchange, 200, "text/plain", NULL, 0, text.bytes, text.length);
    text_free(&text);
}

static inline void on_request(void *user, struct http_exchange *exchange) {
    static const struct http_owner owner = {on_closed, on_writable};
    struct rig *rig = user;
    rig->n_requests++;
    if (strcmp(http_path(exchange), "/later") == 0) {
        http_set_owner(exchange, &owner, rig);
        assert_true(rig->n_kept < MAX_KEPT);
        rig->kept[rig->n_kept++] = exchange;
    } else if (strcmp(http_path(exchange), "/stream") == 0) {
        http_begin(exchange, 200, "text/plain");
        for (int i = 0; i < 3; i++) http_write(exchange, "piece", 5);
        http_end(exchange);
    } else if (strcmp(http_path(exchange), "/big") == 0) {
        http_reply(exchange, 200, "text/plain", NULL, 0, big, sizeof big);
    } else {
        reply_echo(exchange);
    }
}

/* The body of a refusal: its path and Host, as far as they are known, and the message. */
static inline void write_refusal(void *user, const struct http_exchange *exchange, int status,
                                 const char *message, struct text *body) {
    (void)user;
    const char *host = http_header(exchange, "Host");
    text_printf(body, "{\"refused\": \"%s %s %d %s\"}", http_path(exchange), host == NULL ? "" : host, status,
                message);
}

static inline void on_status(void *user, uint32_t tag, int status) {
    (void)tag;
    struct rig *rig = user;
    assert_true(rig->n_statuses < MAX_STATUSES);
    rig->statuses[rig->n_statuses++] = status;
}

static inline void on_none_left(void *user) { ((struct rig *)user)->n_none_left++; }

static inline struct http_limits rig_limits(void) {
    return (struct http_limits){.max_connections = 8,
                                .max_head_bytes = 4096,
                                .max_body_bytes = 1000,
                                .max_bodies_bytes = 1500,
                                .idle_seconds = 60,
                                .head_seconds = 60,
                                .body_seconds = 60,
                                .stall_seconds = 60};
}

static inline void rig_open(struct rig *rig, struct http_limits limits) {
    *rig = (struct rig){.base = event_base_new()};
    memset(big, 'b', sizeof big);
    const struct http_opts opts = {.host = "127.0.0.1",
                                   .limits = limits,
                                   .on_request = on_request,
                                   .write_refusal = write_refusal,
                                   .on_status = on_status,
                                   .on_none_left = on_none_left,
                                   .user = rig};
    if (http_server_open(&rig->server, rig->base, &opts) < 0) fail_msg("%s", err_message());
}

static inline void rig_close(struct rig *rig) {
    http_server_close(rig->server);
    event_base_free(rig->base);
}

/* What is ready happens. */
static inline void rig_turn(struct rig *rig) { event_base_loop(rig->base, EVLOOP_NONBLOCK); }

/* ---- a client ---- */

struct client {
    struct rig *rig;
    struct bufferevent *stream;
    struct text received;
    bool is_ended; /* the server has closed its end */
};

static inline void client_read(struct bufferevent *stream, void *user) {
    struct client *client = user;
    struct evbuffer *input = bufferevent_get_input(stream);
    size_t length = evbuffer_get_length(input);
    text_append(&client->received, (const char *)evbuffer_pullup(input, -1), length);
    evbuffer_drain(input, length);
}

static inline void client_event(struct bufferevent *stream, short what, void *user) {
    (void)stream;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) ((struct client *)user)->is_ended = true;
}

/* One that does not read has room for little. */
static inline void client_open(struct client *client, struct rig *rig, bool reads) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_port(rig->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    if (!reads) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    evutil_make_socket_nonblocking(fd);
    *client = (struct client){.rig = rig};
    client->stream = bufferevent_socket_new(rig->base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(client->stream, client_read, NULL, client_event, client);
    bufferevent_enable(client->stream, reads ? EV_READ | EV_WRITE : EV_WRITE);
}

static inline void client_close(struct client *client) {
    bufferevent_free(client->stream);
    text_free(&client->received);
}

static inline void client_send(struct client *client, const char *text) {
    bufferevent_write(client->stream, text, strlen(text));
}

/* How often a text was received. */
static inline unsigned client_count(const struct client *client, const char *text) {
    unsigned n = 0;
    for (const char *at = client->received.bytes; at != NULL && (at = strstr(at, text)) != NULL; at++) n++;
    return n;
}

/* Runs the loop until the condition holds. Fails when nothing has happened for too long. */
#define AWAIT(rig, condition)                                                                                \
    do {                                                                                                     \
        const struct timeval patience_ = {.tv_sec = PATIENCE_SECONDS};                                       \
        bool is_late_ = false;                                                                               \
        struct event *late_ = evtimer_new((rig)->base, set_true, &is_late_);                                 \
        evtimer_add(late_, &patience_);                                                                      \
        while (!(condition) && !is_late_) event_base_loop((rig)->base, EVLOOP_ONCE);                         \
        event_free(late_);                                                                                   \
        if (is_late_) fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition);                          \
    } while (0)

static inline void set_true(evutil_socket_t socket, short what, void *flag) {
    (void)socket, (void)what;
    *(bool *)flag = true;
}

#endif
