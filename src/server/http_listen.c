/* Listening: host and port to a socket, accepted sockets to connections, within the limit. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/http_connection.h"

enum { BACKLOG = 1024, PAUSE_US = 100000 };

/* One connection too many is told so at once, without TLS or waiting. */
static void turn_away(evutil_socket_t socket) {
    static const char reply[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                                "Connection: close\r\n\r\n";
    (void)send(socket, reply, sizeof reply - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    evutil_closesocket(socket);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *address,
                      int length, void *user) {
    (void)listener, (void)address, (void)length;
    struct http_server *server = user;
    if (server->n_connections >= server->limits.max_connections)
        turn_away(socket);
    else
        http_connection_open(server, socket);
}

static void resume(evutil_socket_t socket, short what, void *user) {
    (void)socket, (void)what;
    struct http_server *server = user;
    if (server->listener != NULL) evconnlistener_enable(server->listener);
}

/* Out of file descriptors or memory: connections wait in the backlog for a moment. */
static void on_accept_error(struct evconnlistener *listener, void *user) {
    struct http_server *server = user;
    const struct timeval pause = {.tv_usec = PAUSE_US};
    evconnlistener_disable(listener);
    evtimer_add(server->resume, &pause);
}

static int bind_to(const struct addrinfo *address, const struct http_opts *opts) {
    int descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (descriptor < 0) return ERR(IO, "no socket: %s", strerror(errno));
    (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(descriptor, address->ai_addr, address->ai_addrlen) == 0) return descriptor;
    int result = errno == EADDRINUSE
                     ? ERR(IO, "port %u of %s is in use (choose another --port)", opts->port, opts->host)
                     : ERR(IO, "cannot listen on port %u of %s: %s", opts->port, opts->host, strerror(errno));
    close(descriptor);
    return result;
}

static uint16_t port_of(int descriptor) {
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof bound;
    if (getsockname(descriptor, (struct sockaddr *)&bound, &length) != 0) return 0;
    return ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                             : ((struct sockaddr_in *)&bound)->sin_port);
}

static int listen_on(struct http_server *server, const struct http_opts *opts) {
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    snprintf(port, sizeof port, "%u", opts->port);
    int code = getaddrinfo(opts->host, port, &hints, &found);
    if (code != 0) return ERR(INVALID, "--host %s: %s", opts->host, gai_strerror(code));
    int descriptor = bind_to(found, opts);
    freeaddrinfo(found);
    TRY(descriptor);
    server->port = port_of(descriptor);
    server->listener = evconnlistener_new(server->base, on_accept, server,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, descriptor);
    if (server->listener == NULL) {
        close(descriptor);
        return ERR(IO, "cannot listen on port %u of %s", opts->port, opts->host);
    }
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    return 0;
}

int http_server_open(struct http_server **out, struct event_base *base, const struct http_opts *opts) {
    struct http_server *server = mem_alloc(1, sizeof *server);
    if (server == NULL) return ERR_NO_MEMORY;
    server->base = base;
    server->limits = opts->limits;
    server->on_request = opts->on_request;
    server->on_none_left = opts->on_none_left;
    server->write_refusal = opts->write_refusal;
    server->on_status = opts->on_status;
    server->user = opts->user;
    server->resume = evtimer_new(base, resume, server);
    int result = server->resume == NULL ? ERR(NO_MEMORY, "no memory for a timer") : 0;
    if (result == 0 && opts->tls_certificate != NULL)
        result = http_tls_open(&server->tls, opts->tls_certificate, opts->tls_key);
    if (result == 0) result = listen_on(server, opts);
    if (result < 0) {
        http_server_close(server);
        return result;
    }
    *out = server;
    return 0;
}

/* True if nothing is left to write or to wait for. */
static bool is_idle(const struct http_exchange *connection) {
    if (connection->state == HTTP_LINGERING) return true;
    return connection->state == HTTP_HEAD && !connection->head_has_begun &&
           http_pending_bytes(connection) == 0;
}

void http_stop_listening(struct http_server *server) {
    if (server->is_stopping) return;
    server->is_stopping = true;
    if (server->listener != NULL) evconnlistener_free(server->listener);
    server->listener = NULL;
    struct http_exchange *next;
    for (struct http_exchange *connection = server->first; connection != NULL; connection = next) {
        next = connection->next;
        connection->keeps_alive = false;
        if (is_idle(connection))
            http_connection_close(connection, "the server stops");
        else if (connection->state == HTTP_HEAD && !connection->head_has_begun)
            connection->state = HTTP_CLOSING; /* when its last reply is written */
    }
    if (server->n_connections == 0) server->on_none_left(server->user);
}

void http_server_close(struct http_server *server) {
    if (server == NULL) return;
    while (server->first != NULL) http_connection_close(server->first, "the server stops");
    if (server->listener != NULL) evconnlistener_free(server->listener);
    if (server->resume != NULL) event_free(server->resume);
    http_tls_close(server->tls);
    mem_free(server);
}

uint16_t http_port(const struct http_server *server) { return server->port; }
unsigned http_n_connections(const struct http_server *server) { return server->n_connections; }
