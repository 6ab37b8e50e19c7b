/* Arbitrary bytes on a connection, the first one saying how they are cut into pieces: the same requests are
 * read, and the same statuses told, as when they come at once; within the limits; and nothing is left. */
#include <event2/buffer.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "server/http_connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { MAX_BYTES = 16 << 10, MAX_HEAD = 600, MAX_BODY = 300, TURNS = 4, TURNS_AT_THE_END = 1000 };

static struct event_base *base;
static struct http_server *server;
static struct text told; /* of the input under way: requests, statuses */

static void on_request(void *user, struct http_exchange *exchange) {
    (void)user;
    size_t length;
    const char *body = http_body(exchange, &length);
    const char *host = http_header(exchange, "host");
    ASSERT(length <= MAX_BODY && strlen(http_method(exchange)) + strlen(http_path(exchange)) <= MAX_HEAD);
    ASSERT(http_path(exchange)[0] == '/' && strchr(http_path(exchange), '?') == NULL);
    text_printf(&told, "%s %s (%s) ", http_method(exchange), http_path(exchange), host == NULL ? "-" : host);
    text_append(&told, body, length);
    if (length % 2 == 0) {
        http_reply(exchange, 200, "text/plain", NULL, 0, body, length);
        return;
    }
    http_begin(exchange, 200, "text/plain");
    http_write(exchange, body, length);
    http_end(exchange);
}

static void on_status(void *user, uint32_t tag, int status) {
    (void)user, (void)tag;
    text_printf(&told, " -> %d\n", status);
}

static void write_refusal(void *user, const struct http_exchange *exchange, int status, const char *message,
                          struct text *body) {
    (void)user, (void)status;
    text_append_string(body, message);
    text_append_string(body, http_path(exchange));
    if (http_header(exchange, "Host") != NULL) text_append_string(body, http_header(exchange, "Host"));
}

static void on_none_left(void *user) { (void)user; }

static void open_server(void) {
    const struct http_opts opts = {.host = "127.0.0.1",
                                   .limits = {.max_connections = 1,
                                              .max_head_bytes = MAX_HEAD,
                                              .max_body_bytes = MAX_BODY,
                                              .max_bodies_bytes = MAX_BODY,
                                              .idle_seconds = 1000,
                                              .head_seconds = 1000,
                                              .body_seconds = 1000,
                                              .stall_seconds = 1000},
                                   .on_request = on_request,
                                   .write_refusal = write_refusal,
                                   .on_status = on_status,
                                   .on_none_left = on_none_left};
    (void)signal(SIGPIPE, SIG_IGN);
    base = event_base_new();
    ASSERT(base != NULL && http_server_open(&server, base, &opts) == 0);
}

/* What is ready happens; the client reads and forgets what it gets. */
static void turn(int client, unsigned n) {
    char dropped[4096];
    for (unsigned i = 0; i < n; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        while (recv(client, dropped, sizeof dropped, MSG_DONTWAIT) > 0) continue;
    }
}

static void feed(const uint8_t *bytes, size_t length, size_t piece) {
    int ends[2];
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    text_clear(&told);
    http_connection_open(server, ends[0]);
    for (size_t sent = 0; sent < length;) {
        size_t n = piece < length - sent ? piece : length - sent;
        ssize_t taken = send(ends[1], bytes + sent, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        turn(ends[1], TURNS);
        if (taken > 0) sent += (size_t)taken;
        if (taken < 0) break; /* refused and closed */
    }
    turn(ends[1], TURNS + (unsigned)(length / 16)); /* short requests in a row */
    close(ends[1]);
    for (int i = 0; i < TURNS_AT_THE_END && http_n_connections(server) > 0; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    ASSERT(http_n_connections(server) == 0 && server->body_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    if (length == 0 || length > MAX_BYTES) return 0;
    if (server == NULL) open_server();
    feed(bytes + 1, length - 1, MAX_BYTES);
    struct text whole = told;
    told = (struct text){0};
    feed(bytes + 1, length - 1, 1 + bytes[0] % 64);
    ASSERT(whole.length == told.length &&
           (told.length == 0 || memcmp(whole.bytes, told.bytes, told.length) == 0));
    text_free(&whole);
    text_free(&told);
    return 0;
}
