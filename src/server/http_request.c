/* Reading requests: heads by httparse, bodies by length or chunks, within limits. */
#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "server/http_connection.h"

/* ---- the head ---- */

static const char *span_text(const struct http_exchange *connection, struct cabinet_span span) {
    return connection->head.bytes + span.offset;
}

static bool has_head(const struct http_exchange *exchange) {
    return exchange->head.length > 0 && !exchange->head.failed;
}

const char *http_header(const struct http_exchange *exchange, const char *name) {
    for (size_t i = 0; has_head(exchange) && i < exchange->parsed.n_headers; i++)
        if (strcasecmp(span_text(exchange, exchange->parsed.headers[i][0]), name) == 0)
            return span_text(exchange, exchange->parsed.headers[i][1]);
    return NULL;
}

static unsigned count_headers(const struct http_exchange *exchange, const char *name) {
    unsigned n = 0;
    for (size_t i = 0; i < exchange->parsed.n_headers; i++)
        n += strcasecmp(span_text(exchange, exchange->parsed.headers[i][0]), name) == 0;
    return n;
}

/* Puts a NUL behind method, path and every name and value: what stood there is a separator. */
static void cut_head(struct http_exchange *connection) {
    char *bytes = connection->head.bytes;
    struct cabinet_http_head *parsed = &connection->parsed;
    bytes[parsed->method.offset + parsed->method.length] = '\0';
    bytes[parsed->target.offset + parsed->target.length] = '\0';
    char *query = strchr(bytes + parsed->target.offset, '?');
    if (query != NULL) *query++ = '\0';
    connection->query =
        query != NULL ? (size_t)(query - bytes) : parsed->target.offset + parsed->target.length;
    for (size_t i = 0; i < parsed->n_headers; i++)
        for (int part = 0; part < 2; part++)
            bytes[parsed->headers[i][part].offset + parsed->headers[i][part].length] = '\0';
}

/* Every line ends with CR LF: a bare LF is where parsers disagree. */
static bool has_bare_lf(const char *bytes, size_t length) {
    for (const char *lf = bytes; (lf = memchr(lf, '\n', length - (size_t)(lf - bytes))) != NULL; lf++)
        if (lf == bytes || lf[-1] != '\r') return true;
    return false;
}

static bool parse_length(const char *text, uint64_t *length) {
    if (*text == '\0' || strlen(text) > 18) return false;
    *length = 0;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text)) return false;
        *length = *length * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

/* How the body is delimited: sets the next state, or refuses. False if refused. */
static bool begin_body(struct http_exchange *connection) {
    const struct http_limits *limits = &connection->server->limits;
    const char *length = http_header(connection, "Content-Length");
    const char *encoding = http_header(connection, "Transfer-Encoding");
    unsigned n_lengths = count_headers(connection, "Content-Length");
    unsigned n_encodings = count_headers(connection, "Transfer-Encoding");
    bool is_ambiguous = n_lengths > 1 || n_encodings > 1 || (n_lengths > 0 && n_encodings > 0) ||
                        (encoding != NULL && connection->parsed.minor_version == 0);
    if (is_ambiguous) {
        http_connection_refuse(connection, 400, "the length of the body is ambiguous");
        return false;
    }
    connection->body_left = 0;
    if (encoding != NULL && strcasecmp(encoding, "chunked") != 0)
        http_connection_refuse(connection, 501, "the only Transfer-Encoding known is chunked");
    else if (length != NULL && !parse_length(length, &connection->body_left))
        http_connection_refuse(connection, 400, "Content-Length is no number");
    else if (connection->body_left > limits->max_body_bytes)
        http_connection_refuse(connection, 413, "the body is larger than this server takes");
    else {
        connection->state = encoding != NULL ? HTTP_CHUNKED : HTTP_BODY;
        return true;
    }
    return false;
}

static bool wants_close(const struct http_exchange *connection) {
    const char *value = http_header(connection, "Connection");
    if (connection->parsed.minor_version == 0) return value == NULL || strcasecmp(value, "keep-alive") != 0;
    return value != NULL && strcasestr(value, "close") != NULL;
}

/* False if it was refused. */
static bool take_head(struct http_exchange *connection) {
    cut_head(connection);
    if (*http_path(connection) != '/')
        http_connection_refuse(connection, 400, "the request's target is no path");
    else if (count_headers(connection, "Host") > 1 ||
             (connection->parsed.minor_version > 0 && count_headers(connection, "Host") == 0))
        http_connection_refuse(connection, 400, "a request needs exactly one Host header");
    else {
        connection->keeps_alive = !wants_close(connection) && !connection->server->is_stopping;
        connection->is_head_only = strcmp(http_method(connection), "HEAD") == 0;
        const char *expect = http_header(connection, "Expect");
        connection->expects_continue =
            connection->parsed.minor_version > 0 && expect != NULL && strcasecmp(expect, "100-continue") == 0;
        return begin_body(connection);
    }
    return false;
}

static void set_deadline(struct http_exchange *connection, unsigned seconds) {
    const struct timeval time = {.tv_sec = seconds};
    evtimer_add(connection->deadline, &time);
}

/* True if there may be more to read. */
static bool read_head(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    const struct http_limits *limits = &connection->server->limits;
    size_t length = evbuffer_get_length(input), looked = length;
    if (length == 0) return false;
    if (looked > limits->max_head_bytes) looked = limits->max_head_bytes;
    const uint8_t *bytes = evbuffer_pullup(input, (ev_ssize_t)looked);
    ptrdiff_t head_bytes =
        bytes == NULL ? CABINET_HTTP_MALFORMED : cabinet_http_parse_head(bytes, looked, &connection->parsed);
    if (head_bytes == CABINET_HTTP_TOO_MANY_HEADERS ||
        (head_bytes == CABINET_HTTP_PARTIAL && length >= limits->max_head_bytes)) {
        http_connection_refuse(connection, 431, "the request's head is too large");
        return false;
    }
    if (head_bytes == CABINET_HTTP_PARTIAL) {
        if (!connection->head_has_begun) set_deadline(connection, limits->head_seconds);
        connection->head_has_begun = true;
        return false;
    }
    if (head_bytes < 0 || has_bare_lf((const char *)bytes, (size_t)head_bytes)) {
        http_connection_refuse(connection, 400, "malformed HTTP request");
        return false;
    }
    connection->head_has_begun = false;
    text_append(&connection->head, (const char *)bytes, (size_t)head_bytes);
    evbuffer_drain(input, (size_t)head_bytes);
    if (connection->head.failed) {
        http_connection_refuse(connection, 503, "out of memory");
        return false;
    }
    set_deadline(connection, limits->body_seconds);
    return take_head(connection);
}

/* ---- the body ---- */

static void send_continue(struct http_exchange *connection) {
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (connection->expects_continue && evbuffer_get_length(bufferevent_get_input(connection->stream)) == 0)
        bufferevent_write(connection->stream, line, sizeof line - 1);
    connection->expects_continue = false;
}

void http_connection_drop_texts(struct http_exchange *connection) {
    connection->server->body_bytes -= connection->body.length;
    text_free(&connection->body);
    text_free(&connection->head);
}

/* One body must not be too large, and all of them together must leave memory for what the server is for. */
static bool may_grow(struct http_exchange *connection, uint64_t n) {
    const struct http_server *server = connection->server;
    if (n > server->limits.max_body_bytes - connection->body.length)
        http_connection_refuse(connection, 413, "the body is larger than this server takes");
    else if (n > server->limits.max_bodies_bytes - server->body_bytes)
        http_connection_refuse(connection, 503, "too many requests are arriving at once; try again");
    else
        return true;
    return false;
}

/* Moves up to body_left bytes; false if it was refused. */
static bool move_body(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    while (connection->body_left > 0 && evbuffer_get_length(input) > 0) {
        size_t n = evbuffer_get_contiguous_space(input);
        if (n > connection->body_left) n = (size_t)connection->body_left;
        if (!may_grow(connection, n)) return false;
        size_t before = connection->body.length;
        text_append(&connection->body, (const char *)evbuffer_pullup(input, (ev_ssize_t)n), n);
        connection->server->body_bytes += connection->body.length - before;
        evbuffer_drain(input, n);
        connection->body_left -= n;
    }
    if (!connection->body.failed) return true;
    http_connection_refuse(connection, 503, "out of memory");
    return false;
}

static void hand_over(struct http_exchange *connection) {
    connection->state = HTTP_REPLY;
    connection->has_begun = connection->is_chunked = false;
    connection->owner = NULL;
    connection->tag = 0;
    evtimer_del(connection->deadline);
    connection->server->on_request(connection->server->user, connection);
}

static bool read_body(struct http_exchange *connection) {
    send_continue(connection);
    if (!move_body(connection)) return false;
    if (connection->body_left > 0) return false;
    hand_over(connection);
    return true;
}

/* A line of the trailers: consumed, and whether it was empty. -1 partial or refused. */
static int take_trailer(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    size_t length, most = connection->server->limits.max_head_bytes - connection->trailer_bytes;
    char *line = evbuffer_readln(input, &length, EVBUFFER_EOL_CRLF_STRICT);
    bool is_whole = line != NULL;
    if (!is_whole) length = evbuffer_get_length(input);
    bool is_too_large = length > most + !is_whole; /* what is partial may end with a CR */
    bool is_strict = !is_whole || (memchr(line, '\n', length) == NULL && memchr(line, '\0', length) == NULL);
    free(line); /* libevent's own allocation */
    if (is_too_large)
        http_connection_refuse(connection, 431, "the trailers are too large");
    else if (!is_strict)
        http_connection_refuse(connection, 400, "malformed trailer");
    if (is_too_large || !is_strict || !is_whole) return -1;
    connection->trailer_bytes += length;
    return length == 0;
}

/* The line end behind a chunk. False if it is not all there, or was refused. */
static bool take_chunk_end(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    char end[2];
    if (evbuffer_copyout(input, end, sizeof end) < (ev_ssize_t)sizeof end) return false;
    if (memcmp(end, "\r\n", sizeof end) != 0) {
        http_connection_refuse(connection, 400, "a chunk is longer than it says");
        return false;
    }
    evbuffer_drain(input, sizeof end);
    connection->chunk_ends = false;
    return true;
}

/* One step in a chunked body: a size line, some of a chunk, its end, or the trailers. */
static bool read_chunked(struct http_exchange *connection) {
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    send_continue(connection);
    if (connection->body_left > 0) {
        if (!move_body(connection) || connection->body_left > 0) return false;
        connection->chunk_ends = true;
    }
    if (connection->chunk_ends && !take_chunk_end(connection)) return false;
    if (connection->in_trailer) {
        int is_empty = take_trailer(connection);
        if (is_empty < 0) return false;
        if (is_empty == 0) return true; /* trailers are read and forgotten */
        connection->in_trailer = false;
        hand_over(connection);
        return true;
    }
    enum { SIZE_LINE = 512 };
    size_t length = evbuffer_get_length(input);
    if (length == 0) return false;
    size_t looked = length < SIZE_LINE ? length : SIZE_LINE;
    const uint8_t *bytes = evbuffer_pullup(input, (ev_ssize_t)looked);
    ptrdiff_t n = bytes == NULL || !isxdigit(*bytes) /* the parser takes no digits for zero */
                      ? CABINET_HTTP_MALFORMED
                      : cabinet_http_parse_chunk_size(bytes, looked, &connection->body_left);
    if (n == CABINET_HTTP_PARTIAL && length < SIZE_LINE) return false;
    if (n <= 0 || has_bare_lf((const char *)bytes, (size_t)n)) {
        http_connection_refuse(connection, 400, "malformed chunk");
        return false;
    }
    evbuffer_drain(input, (size_t)n);
    connection->in_trailer = connection->body_left == 0;
    connection->trailer_bytes = 0;
    return may_grow(connection, connection->body_left);
}

/* A client that pipelines requests and does not read the replies is not read any further. */
static bool takes_replies(const struct http_exchange *connection) {
    return http_pending_bytes(connection) <= HTTP_LOW_WATER;
}

void http_connection_read(struct http_exchange *connection) {
    if (connection->is_reading) return;
    connection->is_reading = true;
    bool goes_on = true;
    while (goes_on) switch (connection->state) {
        case HTTP_HEAD: goes_on = takes_replies(connection) && read_head(connection); break;
        case HTTP_BODY: goes_on = read_body(connection); break;
        case HTTP_CHUNKED: goes_on = read_chunked(connection); break;
        default: goes_on = false; break;
        }
    connection->is_reading = false;
    http_connection_pause(connection);
}

const char *http_method(const struct http_exchange *exchange) {
    return span_text(exchange, exchange->parsed.method);
}

const char *http_query(const struct http_exchange *exchange) {
    return exchange->head.bytes + exchange->query;
}
const char *http_path(const struct http_exchange *exchange) {
    return has_head(exchange) ? span_text(exchange, exchange->parsed.target) : "";
}

void http_take_body(struct http_exchange *exchange, struct text *body) {
    exchange->server->body_bytes -= exchange->body.length;
    *body = exchange->body;
    exchange->body = (struct text){0};
}

const char *http_body(const struct http_exchange *exchange, size_t *length) {
    *length = exchange->body.length;
    return exchange->body.bytes == NULL ? "" : exchange->body.bytes;
}
