/* Writing replies: whole ones with a length, streams in chunks. */
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "server/http_connection.h"

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].text;
    return "Status";
}

/* Status line and the fields that every reply has. */
static void write_head(struct http_exchange *exchange, int status, const char *content_type) {
    struct evbuffer *output = bufferevent_get_output(exchange->stream);
    exchange->server->on_status(exchange->server->user, exchange->tag, status);
    time_t now = time(NULL);
    struct tm broken_down;
    char date[64];
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &broken_down));
    evbuffer_add_printf(output, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Content-Type-Options: nosniff\r\n", status,
                        reason(status), date);
    if (content_type != NULL) evbuffer_add_printf(output, "Content-Type: %s\r\n", content_type);
    if (!exchange->keeps_alive)
        evbuffer_add_printf(output, "Connection: close\r\n");
    else if (exchange->parsed.minor_version == 0) /* which closes otherwise */
        evbuffer_add_printf(output, "Connection: keep-alive\r\n");
}

void http_reply(struct http_exchange *exchange, int status, const char *content_type,
                const struct http_field *fields, size_t n_fields, const char *bytes, size_t length) {
    ASSERT(exchange->state == HTTP_REPLY && !exchange->has_begun);
    struct evbuffer *output = bufferevent_get_output(exchange->stream);
    write_head(exchange, status, content_type);
    for (size_t i = 0; i < n_fields; i++)
        evbuffer_add_printf(output, "%s: %s\r\n", fields[i].name, fields[i].value);
    if (status != 304) evbuffer_add_printf(output, "Content-Length: %zu\r\n", length);
    evbuffer_add(output, "\r\n", 2);
    if (length > 0 && !exchange->is_head_only) evbuffer_add(output, bytes, length);
    http_connection_replied(exchange);
}

void http_begin(struct http_exchange *exchange, int status, const char *content_type) {
    ASSERT(exchange->state == HTTP_REPLY && !exchange->has_begun);
    struct evbuffer *output = bufferevent_get_output(exchange->stream);
    exchange->has_begun = true;
    exchange->is_chunked = exchange->parsed.minor_version > 0;
    if (!exchange->is_chunked) exchange->keeps_alive = false; /* the end of the connection is the reply's */
    write_head(exchange, status, content_type);
    evbuffer_add_printf(output, "Cache-Control: no-cache\r\n%s\r\n",
                        exchange->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
}

void http_write(struct http_exchange *exchange, const char *bytes, size_t length) {
    ASSERT(exchange->state == HTTP_REPLY && exchange->has_begun);
    if (length == 0 || exchange->is_head_only) return;
    struct evbuffer *output = bufferevent_get_output(exchange->stream);
    if (exchange->is_chunked) evbuffer_add_printf(output, "%zx\r\n", length);
    evbuffer_add(output, bytes, length);
    if (exchange->is_chunked) evbuffer_add(output, "\r\n", 2);
}

void http_end(struct http_exchange *exchange) {
    ASSERT(exchange->state == HTTP_REPLY && exchange->has_begun);
    if (exchange->is_chunked && !exchange->is_head_only)
        evbuffer_add(bufferevent_get_output(exchange->stream), "0\r\n\r\n", 5);
    http_connection_replied(exchange);
}

size_t http_pending_bytes(const struct http_exchange *exchange) {
    return evbuffer_get_length(bufferevent_get_output(exchange->stream));
}

void http_set_tag(struct http_exchange *exchange, uint32_t tag) { exchange->tag = tag; }

void http_set_owner(struct http_exchange *exchange, const struct http_owner *owner, void *user) {
    exchange->owner = owner;
    exchange->user = user;
}

void http_connection_refuse(struct http_exchange *connection, int status, const char *message) {
    const struct http_server *server = connection->server;
    struct text body = {0};
    server->write_refusal(server->user, connection, status, message, &body);
    connection->state = HTTP_REPLY;
    connection->tag = 0;
    connection->has_begun = connection->keeps_alive = connection->is_head_only = false;
    http_reply(connection, status, "application/json", NULL, 0, body.bytes, body.length);
    text_free(&body);
}
