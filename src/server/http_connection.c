/* A connection's life: accepted, read, replied to, closed; and the server that owns them all. */
#include "server/http_connection.h"

#include <errno.h>
#include <event2/buffer.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { LINGER_SECONDS = 2 };

static void set_deadline(struct http_exchange *connection, unsigned seconds) {
    const struct timeval time = {.tv_sec = seconds};
    evtimer_add(connection->deadline, &time);
}

static void list_remove(struct http_exchange *connection) {
    struct http_server *server = connection->server;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        server->first = connection->next;
    if (connection->next != NULL) connection->next->previous = connection->previous;
    server->n_connections--;
}

void http_connection_close(struct http_exchange *connection, const char *why) {
    struct http_server *server = connection->server;
    const struct http_owner *owner = connection->owner;
    connection->owner = NULL;
    if (connection->state == HTTP_REPLY && !connection->has_begun)
        server->on_status(server->user, connection->tag, 499);
    if (owner != NULL && owner->on_closed != NULL) owner->on_closed(connection->user, why);
    list_remove(connection);
    event_free(connection->deadline);
    event_free(connection->hang_up);
    bufferevent_free(connection->stream);
    http_connection_drop_texts(connection);
    mem_free(connection);
    if (server->is_stopping && server->n_connections == 0) server->on_none_left(server->user);
}

/* Not by libevent's high watermark: above it, libevent calls back again and again. */
void http_connection_pause(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    bool is_full = evbuffer_get_length(input) >= HTTP_READ_AHEAD;
    if (is_full && !connection->is_paused)
        bufferevent_disable(connection->stream, EV_READ);
    else if (!is_full && connection->is_paused && !connection->has_client_ended)
        bufferevent_enable(connection->stream, EV_READ);
    connection->is_paused = is_full;
    if (is_full && connection->state == HTTP_REPLY) event_add(connection->hang_up, NULL);
}

/* What comes now is thrown away: nothing is read behind this reply. */
static void drain(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    evbuffer_drain(input, evbuffer_get_length(input));
    http_connection_pause(connection);
}

/* All is written: our end closes, and the client's is waited for a moment. */
static void linger(struct http_exchange *connection) {
    if (connection->server->tls != NULL || connection->server->is_stopping || connection->has_client_ended ||
        shutdown(bufferevent_getfd(connection->stream), SHUT_WR) != 0) {
        http_connection_close(connection, "done");
        return;
    }
    connection->state = HTTP_LINGERING;
    drain(connection);
    set_deadline(connection, LINGER_SECONDS);
}

void http_connection_replied(struct http_exchange *connection) {
    enum { SOON = BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS };
    connection->owner = NULL;
    http_connection_drop_texts(connection);
    if (!connection->keeps_alive) {
        connection->state = HTTP_CLOSING;
        drain(connection);
        evtimer_del(connection->deadline);
        if (http_pending_bytes(connection) == 0) bufferevent_trigger(connection->stream, EV_WRITE, SOON);
        return;
    }
    connection->state = HTTP_HEAD;
    connection->head_has_begun = false;
    set_deadline(connection, connection->server->limits.idle_seconds);
    if (!connection->is_reading) bufferevent_trigger(connection->stream, EV_READ, SOON);
}

/* ---- libevent's callbacks ---- */

static void on_read(struct bufferevent *stream, void *user) {
    struct http_exchange *connection = user;
    (void)stream;
    if (connection->state == HTTP_CLOSING || connection->state == HTTP_LINGERING)
        drain(connection);
    else
        http_connection_read(connection);
}

static void on_write(struct bufferevent *stream, void *user) {
    struct http_exchange *connection = user;
    size_t pending = evbuffer_get_length(bufferevent_get_output(stream));
    if (connection->state == HTTP_CLOSING && pending == 0) {
        linger(connection);
    } else if (connection->state == HTTP_HEAD) {
        http_connection_read(connection); /* which may have waited for this */
        if (connection->state == HTTP_HEAD && connection->has_client_ended &&
            http_pending_bytes(connection) == 0)
            http_connection_close(connection, "done");
    } else if (connection->owner != NULL && connection->owner->on_writable != NULL) {
        connection->owner->on_writable(connection->user);
    }
}

static void on_event(struct bufferevent *stream, short what, void *user) {
    (void)stream;
    struct http_exchange *connection = user;
    if (what & BEV_EVENT_CONNECTED) return; /* TLS is agreed on */
    bool is_replied = connection->state == HTTP_HEAD || connection->state == HTTP_CLOSING;
    if ((what & BEV_EVENT_EOF) && is_replied && http_pending_bytes(connection) > 0 &&
        connection->server->tls == NULL) { /* it asked, closed its end, and waits for the reply */
        connection->has_client_ended = true;
        return;
    }
    if (what & BEV_EVENT_TIMEOUT) {
        http_connection_close(connection, HTTP_STALLED);
    } else {
        http_connection_close(connection, "the client closed the connection");
    }
}

static void on_deadline(evutil_socket_t socket, short what, void *user) {
    (void)socket, (void)what;
    struct http_exchange *connection = user;
    bool is_within = (connection->state == HTTP_HEAD && connection->head_has_begun) ||
                     connection->state == HTTP_BODY || connection->state == HTTP_CHUNKED;
    if (is_within)
        http_connection_refuse(connection, 408, "the request takes too long to arrive");
    else
        http_connection_close(connection, "idle");
}

/* Behind what is not read, an end is not seen by reading. */
static void on_hang_up(evutil_socket_t socket, short what, void *user) {
    (void)socket, (void)what;
    struct http_exchange *connection = user;
    if (connection->state == HTTP_REPLY && connection->is_paused)
        http_connection_close(connection, "the client closed the connection");
}

static int set_up(struct http_exchange *connection, evutil_socket_t socket) {
    struct http_server *server = connection->server;
    connection->deadline = evtimer_new(server->base, on_deadline, connection);
    connection->hang_up = event_new(server->base, socket, EV_CLOSED, on_hang_up, connection);
    if (connection->deadline == NULL || connection->hang_up == NULL) return ERR_NO_MEMORY;
    connection->stream = server->tls != NULL
                             ? http_tls_stream(server, socket)
                             : bufferevent_socket_new(server->base, socket, BEV_OPT_CLOSE_ON_FREE);
    if (connection->stream == NULL) return ERR_NO_MEMORY;
    const struct timeval stall = {.tv_sec = server->limits.stall_seconds};
    bufferevent_setcb(connection->stream, on_read, on_write, on_event, connection);
    bufferevent_set_timeouts(connection->stream, NULL, &stall);
    bufferevent_setwatermark(connection->stream, EV_WRITE, HTTP_LOW_WATER, 0);
    bufferevent_enable(connection->stream, EV_READ | EV_WRITE);
    set_deadline(connection, server->limits.head_seconds);
    return 0;
}

void http_connection_open(struct http_server *server, evutil_socket_t socket) {
    struct http_exchange *connection = mem_alloc(1, sizeof *connection);
    if (connection == NULL) {
        evutil_closesocket(socket);
        return;
    }
    int on = 1, unsent = HTTP_SEND_BUFFER;
    (void)setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* tokens go out as they come */
    /* Else the system keeps megabytes for who does not read. */
    (void)setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &unsent, sizeof unsent);
    connection->server = server;
    if (set_up(connection, socket) < 0) {
        if (connection->deadline != NULL) event_free(connection->deadline);
        if (connection->hang_up != NULL) event_free(connection->hang_up);
        if (connection->stream == NULL) evutil_closesocket(socket);
        mem_free(connection);
        return;
    }
    connection->next = server->first;
    if (server->first != NULL) server->first->previous = connection;
    server->first = connection;
    server->n_connections++;
}
