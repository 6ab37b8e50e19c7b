/* HTTP/1.1 over libevent: connections in, whole requests out, replies back. One thread owns all of it.
 *
 * Reading is strict, so that no proxy in front reads another request out of the same bytes: one
 * Content-Length or one `Transfer-Encoding: chunked`, never both, no folded or bare-LF lines; whatever is
 * refused closes the connection. A connection has one exchange at a time; pipelined requests wait in its
 * buffer. */
#ifndef CABINET_SERVER_HTTP_H
#define CABINET_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http_server;
struct text;
struct http_exchange; /* one request and its reply */

struct http_limits {
    unsigned max_connections;
    size_t max_head_bytes, max_body_bytes;
    size_t max_bodies_bytes;                           /* of all connections together */
    unsigned idle_seconds, head_seconds, body_seconds; /* keep-alive; from first to last byte of each */
    unsigned stall_seconds; /* a reader that takes nothing for so long is cut off */
};

/* Why an exchange was closed whose client took nothing for stall_seconds. */
#define HTTP_STALLED "the client does not read"

/* Whoever replies to an exchange later than it was asked. Both may be NULL. */
struct http_owner {
    /* The client hung up, stalled, or the server closes, before the reply was complete: the exchange is gone
     * when this returns. `why` lives for ever. */
    void (*on_closed)(void *user, const char *why);
    /* Little of what was written is left: more is welcome. */
    void (*on_writable)(void *user);
};

struct http_opts {
    const char *host;
    uint16_t port;                         /* 0: any free one */
    const char *tls_certificate, *tls_key; /* PEM files, both or none */
    struct http_limits limits;
    /* A whole request: reply to it now, or set its owner and reply later. */
    void (*on_request)(void *user, struct http_exchange *exchange);
    /* Writes the JSON body that refuses a request which is not whole. While its head is not there, http_path
     * is
     * "" and http_header NULL. */
    void (*write_refusal)(void *user, const struct http_exchange *exchange, int status, const char *message,
                          struct text *body);
    /* A reply begins with this status, or was never given: 499. `tag` is http_set_tag's, 0 at first. */
    void (*on_status)(void *user, uint32_t tag, int status);
    /* After http_stop_listening the last connection has closed (or there was none). */
    void (*on_none_left)(void *user);
    void *user;
};

/* Listens. INVALID or IO says what about host, port or files. */
int http_server_open(struct http_server **server, struct event_base *base, const struct http_opts *opts);
/* Stops listening; connections close when they are idle, or have had their reply. May be called again. */
void http_stop_listening(struct http_server *server);
/* Closes every connection (owners of unfinished exchanges are told). */
void http_server_close(struct http_server *server);
uint16_t http_port(const struct http_server *server);
unsigned http_n_connections(const struct http_server *server);

/* ---- the request: NUL-terminated texts that live as long as the exchange ---- */
const char *http_method(const struct http_exchange *exchange);
const char *http_path(const struct http_exchange *exchange);  /* without the query */
const char *http_query(const struct http_exchange *exchange); /* behind the path's '?'; "" for none */
/* The first header of that name (any case), or NULL. */
const char *http_header(const struct http_exchange *exchange, const char *name);
const char *http_body(const struct http_exchange *exchange, size_t *length);
/* The body becomes the caller's (text_free); http_body is empty then. */
void http_take_body(struct http_exchange *exchange, struct text *body);

void http_set_tag(struct http_exchange *exchange, uint32_t tag);
void http_set_owner(struct http_exchange *exchange, const struct http_owner *owner, void *user);

/* ---- the reply: whole, or begun, written and ended. The exchange is gone after reply or end. ---- */
struct http_field {
    const char *name, *value;
};
/* `fields` (n_fields) are more header fields; bytes may be NULL for none. */
void http_reply(struct http_exchange *exchange, int status, const char *content_type,
                const struct http_field *fields, size_t n_fields, const char *bytes, size_t length);
void http_begin(struct http_exchange *exchange, int status, const char *content_type);
void http_write(struct http_exchange *exchange, const char *bytes, size_t length);
void http_end(struct http_exchange *exchange);
/* Written and not yet taken by the socket. */
size_t http_pending_bytes(const struct http_exchange *exchange);

#endif
