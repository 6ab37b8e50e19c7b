/* Inside of http: a connection's state. */
#ifndef CABINET_SERVER_HTTP_CONNECTION_H
#define CABINET_SERVER_HTTP_CONNECTION_H

#include <cabinet_shim.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "base/text.h"
#include "server/http.h"

struct ssl_ctx_st;

enum {
    HTTP_READ_AHEAD = 256 << 10,  /* of pipelined requests while one is being replied to */
    HTTP_LOW_WATER = 64 << 10,    /* unsent bytes: with fewer, more is welcome */
    HTTP_SEND_BUFFER = 128 << 10, /* of the system, for each connection */
};

enum http_state {
    HTTP_HEAD,      /* waiting for a request, or within its head */
    HTTP_BODY,      /* within a body of known length */
    HTTP_CHUNKED,   /* within a chunked body */
    HTTP_REPLY,     /* the request is there, the reply is not complete */
    HTTP_CLOSING,   /* ends when all is written */
    HTTP_LINGERING, /* our end is closed; what still comes is thrown away, so that the reply is not lost */
};

struct http_exchange {
    struct http_server *server;
    struct http_exchange *next, *previous; /* of the server's connections */
    struct bufferevent *stream;
    struct event *deadline; /* of the head, the body, or of being idle */
    struct event *hang_up;  /* the client's end closes while reading pauses */
    enum http_state state;
    bool head_has_begun; /* its clock runs */
    bool is_reading;     /* within the loop that reads requests: a reply given there does not start another */
    bool keeps_alive;    /* after this reply */
    bool is_chunked;     /* the reply is */
    bool has_begun;      /* the reply has */
    bool is_head_only;   /* the request was HEAD */
    bool expects_continue;
    bool is_paused;        /* enough is read ahead: the socket is not read for now */
    bool has_client_ended; /* the client's end of the connection is closed */
    struct text head;      /* the request's head, cut into NUL-terminated texts */
    struct cabinet_http_head parsed;
    size_t query; /* where in the head; that of a NUL if there is none */
    struct text body;
    uint64_t body_left;          /* of the body, or of the chunk */
    bool chunk_ends, in_trailer; /* what comes next in a chunked body */
    size_t trailer_bytes;
    uint32_t tag;
    const struct http_owner *owner; /* NULL: nobody waits to reply */
    void *user;                     /* the owner's */
};

struct http_server {
    struct event_base *base;
    struct http_limits limits;
    void (*on_request)(void *user, struct http_exchange *exchange);
    void (*on_none_left)(void *user);
    void (*write_refusal)(void *user, const struct http_exchange *exchange, int status, const char *message,
                          struct text *body);
    void (*on_status)(void *user, uint32_t tag, int status);
    void *user;
    struct evconnlistener *listener;
    struct event *resume; /* listens again after the process ran out of files */
    struct ssl_ctx_st *tls;
    struct http_exchange *first;
    unsigned n_connections;
    size_t body_bytes; /* of all requests that are here, whole or in part */
    bool is_stopping;
    uint16_t port;
};

/* Takes an accepted socket over. */
void http_connection_open(struct http_server *server, evutil_socket_t socket);
void http_connection_close(struct http_exchange *connection, const char *why);
/* Reads what is in the buffer, request after request. */
void http_connection_read(struct http_exchange *connection);
/* Pauses reading where enough waits behind the present request, or goes on with it. */
void http_connection_pause(struct http_exchange *connection);
/* Frees the request's texts. */
void http_connection_drop_texts(struct http_exchange *connection);
/* The reply is complete: next request, or close. */
void http_connection_replied(struct http_exchange *connection);
/* Refuses what was read with a short error and closes. */
void http_connection_refuse(struct http_exchange *connection, int status, const char *message);

/* TLS (http_tls.c) */
int http_tls_open(struct ssl_ctx_st **tls, const char *certificate, const char *key);
void http_tls_close(struct ssl_ctx_st *tls);
struct bufferevent *http_tls_stream(struct http_server *server, evutil_socket_t socket);

#endif
