/* A connection's life: replies in every form, who closes and when, readers that do not read, time-outs, and
 * the server's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_rig.h"

#define HOST "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"

/* ---- replies ---- */

/* What comes back for `bytes` after which the server closes. */
static void assert_closed_with(const char *bytes, const char *const *texts) {
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, bytes);
    AWAIT(&rig, client.is_ended);
    for (; *texts != NULL; texts++) {
        bool is_unwanted = **texts == '!';
        if ((client_count(&client, *texts + is_unwanted) > 0) == is_unwanted)
            fail_msg("%s\ngives\n%s", bytes, client.received.bytes);
    }
    client_close(&client);
    rig_close(&rig);
}
#define CLOSED_WITH(bytes, ...) assert_closed_with(bytes, (const char *const[]){__VA_ARGS__, NULL})

static void forms_of_replies(void **state) {
    (void)state;
    CLOSED_WITH("GET /echo HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                "\r\nConnection: close\r\n", "\r\nContent-Length: 10\r\n", "\r\n\r\nGET /echo ");
    CLOSED_WITH("GET /echo HTTP/1.1\r\n" HOST "Connection: TE, Close\r\n\r\n", "\r\n\r\nGET /echo ");
    CLOSED_WITH("GET /echo HTTP/1.0\r\n\r\n", "\r\n\r\nGET /echo ", "\r\nConnection: close\r\n");
    CLOSED_WITH("GET /stream HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
                "\r\nTransfer-Encoding: chunked\r\n",
                "\r\n\r\n5\r\npiece\r\n5\r\npiece\r\n5\r\npiece\r\n0\r\n\r\n", "!Content-Length");
    CLOSED_WITH("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\n\r\npiecepiecepiece",
                "!chunked");
    CLOSED_WITH("HEAD /echo HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "\r\nContent-Length: 11\r\n",
                "!HEAD /echo");
    CLOSED_WITH("HEAD /stream HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n", "!piece",
                "!\r\n\r\n0\r\n");
    CLOSED_WITH("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /last HTTP/1.0\r\n\r\n",
                "\r\nConnection: keep-alive\r\n", "GET /echo ", "GET /last ");
}

static void continue_is_said_where_it_is_waited_for(void **state) {
    (void)state;
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    AWAIT(&rig, client_count(&client, "HTTP/1.1 100 Continue\r\n\r\n") == 1);
    client_send(&client, "he");
    rig_turn(&rig);
    client_send(&client, "llo");
    AWAIT(&rig, client_count(&client, "POST /echo hello") == 1);
    assert_int_equal(client_count(&client, "100 Continue"), 1);
    client_send(&client,
                "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n");
    AWAIT(&rig, client_count(&client, "HTTP/1.1 100 Continue\r\n\r\n") == 2);
    client_send(&client, "5\r\nagain\r\n0\r\n\r\n");
    AWAIT(&rig, client_count(&client, "POST /echo again") == 1);
    client_close(&client);
    rig_close(&rig);
    CLOSED_WITH("POST /echo HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nh", "POST /echo h",
                "!100 Continue");
}

/* A reply without chunks ends with the connection, also if all of it was sent long before. */
static void an_end_behind_an_empty_buffer(void **state) {
    (void)state;
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, "GET /later HTTP/1.0\r\n\r\n");
    AWAIT(&rig, rig.n_kept == 1);
    http_begin(rig.kept[0], 200, "text/plain");
    http_write(rig.kept[0], "all", 3);
    AWAIT(&rig, client_count(&client, "\r\n\r\nall") == 1);
    AWAIT(&rig, http_pending_bytes(rig.kept[0]) == 0);
    http_end(rig.kept[0]);
    AWAIT(&rig, client.is_ended);
    client_close(&client);
    rig_close(&rig);
}

/* ---- who closes ---- */

static void a_client_hangs_up(void **state) {
    (void)state;
    struct rig rig;
    struct client clients[3];
    rig_open(&rig, rig_limits());
    for (int i = 0; i < 3; i++) client_open(&clients[i], &rig, true);
    client_send(&clients[0], GET("/later"));
    client_send(&clients[1], GET("/later"));
    client_send(&clients[2], "GET /later HTT");
    AWAIT(&rig, rig.n_kept == 2);
    http_begin(rig.kept[1], 200, NULL);
    http_write(rig.kept[1], "abc", 3);
    for (int i = 0; i < 3; i++) client_close(&clients[i]);
    AWAIT(&rig, http_n_connections(rig.server) == 0);
    assert_int_equal(rig.n_closed, 2);
    assert_string_equal(rig.why, "the client closed the connection");
    assert_int_equal(rig.n_statuses, 2); /* of the one that had begun, and of the one that had not */
    assert_int_equal(rig.statuses[0] + rig.statuses[1], 200 + 499);
    rig_close(&rig);
}

/* More is pipelined than the server reads ahead, so that it does not read on to the client's end. */
static void a_client_hangs_up_behind_what_is_not_read(void **state) {
    (void)state;
    char request[3000];
    snprintf(request, sizeof request, "GET /echo HTTP/1.1\r\nHost: a\r\nPadding: %02800d\r\n\r\n", 0);
    for (int leaves = 0; leaves < 2; leaves++) {
        struct rig rig;
        struct client client;
        size_t n = 1, n_bytes = strlen(GET("/later"));
        rig_open(&rig, rig_limits());
        client_open(&client, &rig, true);
        client_send(&client, GET("/later"));
        for (; n_bytes < HTTP_READ_AHEAD + (32 << 10); n_bytes += strlen(request), n++)
            client_send(&client, request);
        AWAIT(&rig, rig.n_kept == 1 && rig.kept[0]->is_paused);
        rig_turn(&rig);
        assert_int_equal(rig.n_closed, 0);
        if (!leaves) {
            reply_echo(rig.kept[0]);
            AWAIT(&rig, rig.n_requests == n);
        }
        client_close(&client);
        if (leaves) {
            AWAIT(&rig, rig.n_closed == 1);
            assert_string_equal(rig.why, "the client closed the connection");
            assert_int_equal(rig.n_requests, 1);
        }
        rig_close(&rig);
    }
}

/* Whoever asks and closes its end has its replies. */
static void a_client_closes_its_end(void **state) {
    (void)state;
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    int fd = bufferevent_getfd(client.stream);
    const char *bytes = GET("/big") GET("/one") GET("/two");
    assert_int_equal(send(fd, bytes, strlen(bytes), 0), strlen(bytes));
    shutdown(fd, SHUT_WR);
    AWAIT(&rig, client.is_ended);
    assert_int_equal(client_count(&client, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(client_count(&client, "GET /two "), 1);
    assert_true(client.received.length > BIG);
    AWAIT(&rig, http_n_connections(rig.server) == 0);
    client_close(&client);
    rig_close(&rig);
}

static void one_connection_too_many(void **state) {
    (void)state;
    struct rig rig;
    struct client clients[3];
    struct http_limits limits = rig_limits();
    limits.max_connections = 2;
    rig_open(&rig, limits);
    for (int i = 0; i < 3; i++) client_open(&clients[i], &rig, true);
    AWAIT(&rig, clients[2].is_ended);
    assert_int_equal(client_count(&clients[2], "HTTP/1.1 503 "), 1);
    assert_int_equal(client_count(&clients[2], "\r\nRetry-After: 1\r\n"), 1);
    client_close(&clients[2]);
    client_close(&clients[1]);
    AWAIT(&rig, http_n_connections(rig.server) == 1);
    client_open(&clients[1], &rig, true);
    client_send(&clients[1], GET("/echo"));
    AWAIT(&rig, client_count(&clients[1], "GET /echo ") == 1);
    client_close(&clients[1]);
    client_close(&clients[0]);
    rig_close(&rig);
}

static void the_server_stops(void **state) {
    (void)state;
    struct rig rig;
    struct client idle, asking, late;
    rig_open(&rig, rig_limits());
    client_open(&idle, &rig, true);
    client_open(&asking, &rig, true);
    client_open(&late, &rig, true);
    client_send(&idle, GET("/echo"));
    client_send(&asking, GET("/later"));
    client_send(&late, "GET /echo HTTP/1.1\r\n");
    AWAIT(&rig, rig.n_kept == 1 && client_count(&idle, "GET /echo ") == 1 && rig.server->n_connections == 3);
    AWAIT(&rig, rig.server->first->head_has_begun || rig.server->first->next->head_has_begun ||
                    rig.server->first->next->next->head_has_begun);
    http_stop_listening(rig.server);
    http_stop_listening(rig.server);
    AWAIT(&rig, idle.is_ended);
    assert_int_equal(rig.n_none_left, 0);
    client_send(&late, HOST "\r\n"); /* what is half here is still answered */
    AWAIT(&rig, late.is_ended);
    assert_int_equal(client_count(&late, "\r\nConnection: close\r\n"), 1);
    assert_int_equal(rig.n_none_left, 0);
    reply_echo(rig.kept[0]);
    AWAIT(&rig, asking.is_ended);
    assert_int_equal(client_count(&asking, "GET /later "), 1);
    AWAIT(&rig, rig.n_none_left == 1);
    client_close(&idle);
    client_close(&asking);
    client_close(&late);
    rig_close(&rig);
}

static void the_server_closes(void **state) {
    (void)state;
    struct rig rig;
    struct client clients[3];
    rig_open(&rig, rig_limits());
    for (int i = 0; i < 3; i++) client_open(&clients[i], &rig, true);
    client_send(&clients[0], GET("/later"));
    client_send(&clients[1], GET("/later"));
    client_send(&clients[2], "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe");
    AWAIT(&rig, rig.n_kept == 2 && rig.server->body_bytes == 2);
    http_server_close(rig.server);
    assert_int_equal(rig.n_closed, 2);
    assert_string_equal(rig.why, "the server stops");
    for (int i = 0; i < 3; i++) {
        AWAIT(&rig, clients[i].is_ended);
        client_close(&clients[i]);
    }
    event_base_free(rig.base);
}

/* ---- readers that do not read ---- */

static void a_stream_waits_for_its_reader(void **state) {
    (void)state;
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, false);
    client_send(&client, GET("/later"));
    AWAIT(&rig, rig.n_kept == 1);
    http_begin(rig.kept[0], 200, NULL);
    do { /* until the system takes no more */
        http_write(rig.kept[0], big, sizeof big);
        for (int i = 0; i < 10; i++) rig_turn(&rig);
    } while (http_pending_bytes(rig.kept[0]) < sizeof big);
    unsigned before = rig.n_writable;
    rig_turn(&rig);
    assert_int_equal(rig.n_writable, before);
    bufferevent_enable(client.stream, EV_READ);
    AWAIT(&rig, rig.n_writable > before);
    http_end(rig.kept[0]);
    AWAIT(&rig, client_count(&client, "\r\n0\r\n\r\n") == 1);
    client_close(&client);
    rig_close(&rig);
}

/* Thousands of requests in a row, of which no reply is read: they are not replied to. */
static void replies_wait_for_their_reader(void **state) {
    (void)state;
    enum { N = 20 };
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, false);
    for (int i = 0; i < N; i++) client_send(&client, GET("/big"));
    AWAIT(&rig, rig.server->first != NULL && http_pending_bytes(rig.server->first) > HTTP_LOW_WATER);
    for (int i = 0; i < 1000; i++) rig_turn(&rig);
    assert_true(http_pending_bytes(rig.server->first) < HTTP_LOW_WATER + BIG + 1000);
    assert_true(rig.n_requests < N);
    bufferevent_enable(client.stream, EV_READ);
    AWAIT(&rig, client.received.length > N * BIG && rig.n_requests == N);
    client_close(&client);
    rig_close(&rig);
}

/* ---- time ---- */

enum { LATE_HEAD, LATE_BODY, LATE_CHUNK, IDLE, SILENT, NO_READER, SIPPER, N_LATE };

/* One byte at a time: the system's buffer does not get emptier by that, so that nothing is taken. */
static void sip(evutil_socket_t socket, short what, void *user) {
    (void)what, (void)user;
    char byte;
    (void)!recv(socket, &byte, 1, MSG_DONTWAIT);
}

static void every_wait_ends(void **state) {
    (void)state;
    struct http_limits limits = rig_limits();
    limits.idle_seconds = limits.head_seconds = limits.body_seconds = limits.stall_seconds = 1;
    struct rig rig;
    struct client clients[N_LATE];
    rig_open(&rig, limits);
    for (int i = 0; i < N_LATE; i++) client_open(&clients[i], &rig, i < NO_READER);
    client_send(&clients[LATE_HEAD], "GET /late HTTP/1.1\r\n");
    client_send(&clients[LATE_BODY], "POST /late HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhello");
    client_send(&clients[LATE_CHUNK],
                "POST /late HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhe");
    client_send(&clients[IDLE], GET("/echo"));
    client_send(&clients[NO_READER], GET("/later"));
    client_send(&clients[SIPPER], GET("/later"));
    AWAIT(&rig, rig.n_kept == 2);
    for (int i = 0; i < 40; i++) {
        if (i < 2) http_begin(rig.kept[i], 200, NULL);
        http_write(rig.kept[i % 2], big, sizeof big);
    }
    const struct timeval often = {.tv_usec = 50000};
    struct event *sips =
        event_new(rig.base, bufferevent_getfd(clients[SIPPER].stream), EV_PERSIST, sip, NULL);
    event_add(sips, &often);
    for (int i = 0; i < NO_READER; i++) AWAIT(&rig, clients[i].is_ended);
    AWAIT(&rig, rig.n_closed == 2);
    assert_string_equal(rig.why, HTTP_STALLED);
    for (int i = LATE_HEAD; i <= LATE_CHUNK; i++) {
        assert_int_equal(client_count(&clients[i], "HTTP/1.1 408 "), 1);
        assert_int_equal(client_count(&clients[i], "HTTP/1.1"), 1);
    }
    assert_int_equal(client_count(&clients[IDLE], "HTTP/1.1"), 1);
    assert_int_equal(client_count(&clients[SILENT], ""), 0);
    assert_int_equal(rig.n_requests, 3);
    event_free(sips);
    for (int i = 0; i < N_LATE; i++) client_close(&clients[i]);
    rig_close(&rig);
}

/* Refused in the middle of a head: told once, although the head's time runs out while the client stays. */
static void a_refusal_is_said_once(void **state) {
    (void)state;
    struct http_limits limits = rig_limits();
    limits.head_seconds = 1;
    struct rig rig;
    struct client client;
    rig_open(&rig, limits);
    client_open(&client, &rig, true);
    client_send(&client, "GET / HTTP/1.1\r\n");
    AWAIT(&rig, rig.server->first != NULL && rig.server->first->head_has_begun);
    client_send(&client, "no header\r\n\r\n");
    AWAIT(&rig, client.is_ended);
    AWAIT(&rig, http_n_connections(rig.server) == 0); /* the client is still there */
    assert_int_equal(rig.n_statuses, 1);
    assert_int_equal(rig.statuses[0], 400);
    client_close(&client);
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_replies),
        cmocka_unit_test(continue_is_said_where_it_is_waited_for),
        cmocka_unit_test(an_end_behind_an_empty_buffer),
        cmocka_unit_test(a_client_hangs_up),
        cmocka_unit_test(a_client_hangs_up_behind_what_is_not_read),
        cmocka_unit_test(a_client_closes_its_end),
        cmocka_unit_test(one_connection_too_many),
        cmocka_unit_test(the_server_stops),
        cmocka_unit_test(the_server_closes),
        cmocka_unit_test(a_stream_waits_for_its_reader),
        cmocka_unit_test(replies_wait_for_their_reader),
        cmocka_unit_test(every_wait_ends),
        cmocka_unit_test(a_refusal_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
