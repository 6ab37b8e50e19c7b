/* Requests as the HTTP layer reads them: whole or in pieces, one behind the other, within limits, and nothing
 * that two readers could read in two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_rig.h"

#define HOST "Host: a\r\n"
#define CHUNKED "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

/* ---- what is read ---- */

/* Sends `bytes` in pieces of `n`, and gives what comes back when `expected` is there or the end. */
static void assert_reply_in_pieces(const char *bytes, size_t n, const char *expected) {
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    for (size_t i = 0, length = strlen(bytes); i < length; i += n) {
        bufferevent_write(client.stream, bytes + i, n < length - i ? n : length - i);
        rig_turn(&rig);
    }
    AWAIT(&rig, client_count(&client, expected) > 0 || client.is_ended);
    if (client_count(&client, expected) == 0) fail_msg("%s\ngives\n%s", bytes, client.received.bytes);
    client_close(&client);
    rig_close(&rig);
}

static void pieces_do_not_matter(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *expected;
    } cases[] = {
        {"GET /echo?a=b HTTP/1.1\r\n" HOST "\r\n", "GET /echo "},
        {"\r\n\r\nGET /echo HTTP/1.1\r\n" HOST "\r\n", "GET /echo "},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", "POST /echo hello"},
        {"POST /echo HTTP/1.1\r\nhost:a\r\ncontent-length:  005  \r\n\r\nhello", "POST /echo hello"},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "POST /echo "},
        {CHUNKED "5\r\nhello\r\n0\r\n\r\n", "POST /echo hello"},
        {CHUNKED "1\r\nh\r\n00004\r\nello\r\n000\r\n\r\n", "POST /echo hello"},
        {CHUNKED "a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n", "POST /echo 0123456789abcdefghij"},
        {CHUNKED "5;name=value\r\nhello\r\n0;last\r\n\r\n", "POST /echo hello"},
        {CHUNKED "5\r\nhello\r\n0\r\nTrailer: is forgotten\r\nAnother: one\r\n\r\n", "POST /echo hello"},
        {"POST /echo HTTP/1.1\r\n" HOST "transfer-encoding: CHUNKED\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n",
         "POST /echo \r\n"},
        {CHUNKED "0\r\n\r\n", "POST /echo "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_reply_in_pieces(cases[i].bytes, 1, cases[i].expected);
        assert_reply_in_pieces(cases[i].bytes, 7, cases[i].expected);
        assert_reply_in_pieces(cases[i].bytes, 10000, cases[i].expected);
    }
}

static void requests_one_behind_the_other(void **state) {
    (void)state;
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, "GET /one HTTP/1.1\r\n" HOST "\r\nGET /later HTTP/1.1\r\n" HOST "\r\n" CHUNKED
                         "3\r\ntwo\r\n0\r\n\r\nGET /three HTTP/1.1\r\n" HOST "\r\n");
    AWAIT(&rig, rig.n_requests == 2);
    rig_turn(&rig);
    assert_int_equal(rig.n_requests, 2); /* the others wait */
    assert_int_equal(client_count(&client, "HTTP/1.1 200 OK\r\n"), 1);
    reply_echo(rig.kept[0]);
    AWAIT(&rig, client_count(&client, "HTTP/1.1 200 OK\r\n") == 4);
    const char *one = strstr(client.received.bytes, "GET /one "),
               *later = strstr(client.received.bytes, "GET /later "),
               *two = strstr(client.received.bytes, "POST /echo two"),
               *three = strstr(client.received.bytes, "GET /three ");
    assert_true(one != NULL && one < later && later < two && two < three);
    client_close(&client);
    rig_close(&rig);
}

/* ---- what is refused ---- */

/* The server replies to `bytes` with `status`, closes, and the request behind them is never one. */
static void assert_refused(const char *bytes, int status) {
    struct rig rig;
    struct client client;
    char line[32];
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, bytes);
    client_send(&client, "GET /smuggled HTTP/1.1\r\n" HOST "\r\n");
    AWAIT(&rig, client.is_ended);
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (rig.n_requests != 0 || client.received.bytes == NULL ||
        strncmp(client.received.bytes, line, strlen(line)) != 0 || client_count(&client, "HTTP/1.1") != 1)
        fail_msg("%s\nis a request or not refused with %d:\n%s", bytes, status, client.received.bytes);
    assert_int_equal(client_count(&client, "\r\nConnection: close\r\n"), 1);
    assert_int_equal(client_count(&client, "\"refused\": "), 1);
    assert_int_equal(rig.n_statuses, 1);
    assert_int_equal(rig.statuses[0], status);
    client_close(&client);
    rig_close(&rig);
}

static void what_is_no_request(void **state) {
    (void)state;
    static const char *const cases[] = {
        "nonsense\r\n\r\n",
        "GET /echo\r\n\r\n",
        "GET /echo HTTP/2.0\r\n" HOST "\r\n",
        "GET  /echo HTTP/1.1\r\n" HOST "\r\n",
        "GET /echo HTTP/1.1 \r\n" HOST "\r\n",
        "GET echo HTTP/1.1\r\n" HOST "\r\n",
        "GET http://a/echo HTTP/1.1\r\n" HOST "\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n",
        "GET /echo HTTP/1.1\r\n\r\n",                   /* no Host */
        "GET /echo HTTP/1.1\r\n" HOST HOST "\r\n",      /* two */
        "GET /echo HTTP/1.1\r\n" HOST "a : b\r\n\r\n",  /* a space before the colon */
        "GET /echo HTTP/1.1\r\n" HOST " a: b\r\n\r\n",  /* a folded line */
        "GET /echo HTTP/1.1\r\n" HOST "\ta: b\r\n\r\n", /* */
        "GET /echo HTTP/1.1\r\n" HOST "a\r\n\r\n",      /* no colon */
        "GET /echo HTTP/1.1\r\n" HOST "a: b\x01\r\n\r\n",
        "GET /echo HTTP/1.1\r\n" HOST "a: b\rc\r\n\r\n",
        /* bare line feeds */
        "GET /echo HTTP/1.1\n" HOST "\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_refused(cases[i], 400);
}

static void bodies_that_two_readers_read_differently(void **state) {
    (void)state;
#define POST_HEAD "POST /echo HTTP/1.1\r\nHost: a\r\n"
    static const char *const cases[] = {
        POST_HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST_HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        POST_HEAD "Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello",
        POST_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        POST_HEAD "Content-Length : 5\r\n\r\nhello",
        POST_HEAD "Content-Length\t: 5\r\n\r\nhello",
        POST_HEAD "Content-Length: +5\r\n\r\nhello",
        POST_HEAD "Content-Length: -5\r\n\r\nhello",
        POST_HEAD "Content-Length: 5 \t5\r\n\r\nhello",
        POST_HEAD "Content-Length: 5, 5\r\n\r\nhello",
        POST_HEAD "Content-Length: 0x5\r\n\r\nhello",
        POST_HEAD "Content-Length: 5.0\r\n\r\nhello",
        POST_HEAD "Content-Length: \r\n\r\nhello",
        POST_HEAD "Content-Length: 18446744073709551621\r\n\r\nhello",
        POST_HEAD "Content-Length: 5\r\n 6\r\n\r\nhello",
        POST_HEAD "Transfer-Encoding:\x0b"
                  "chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_refused(cases[i], 400);
    static const char *const unknown[] = {
        POST_HEAD "Transfer-Encoding: identity\r\n\r\n",
        POST_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: chunked;a\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        POST_HEAD "Transfer-Encoding: \r\n\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) assert_refused(unknown[i], 501);
}

static void chunks_that_are_none(void **state) {
    (void)state;
    static const char *const cases[] = {
        CHUNKED "\r\n\r\n", /* no digit is no zero */
        CHUNKED ";a\r\n\r\n",
        CHUNKED " 0\r\n\r\n",
        CHUNKED " \r\n\r\n",
        CHUNKED "-1\r\n",
        CHUNKED "+1\r\nh\r\n0\r\n\r\n",
        CHUNKED "0x1\r\nh\r\n0\r\n\r\n",
        CHUNKED "g\r\n",
        CHUNKED "5 5\r\nhello\r\n0\r\n\r\n",
        CHUNKED "5\nhello\r\n0\r\n\r\n",
        CHUNKED "5\rhello\r\n0\r\n\r\n",
        CHUNKED "5;a\nb\r\nhello\r\n0\r\n\r\n",
        CHUNKED "5\r\nhello\n0\r\n\r\n",
        CHUNKED "5\r\nhello!\r\n0\r\n\r\n",
        CHUNKED "5\r\nhell\r\n0\r\n\r\n",
        CHUNKED "00000000000000005\r\nhello\r\n0\r\n\r\n",
        CHUNKED "0\r\na: b\nGET /smuggled HTTP/1.1\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_refused(cases[i], 400);
    assert_refused(CHUNKED "ffffffffffffffff\r\n", 413);
    assert_refused(CHUNKED "10000000000000000\r\n", 400);
}

/* A line that begins with a NUL is not an empty one. */
static void nul_ends_no_line(void **state) {
    (void)state;
    static const char behind[] = CHUNKED "0\r\n\0x\r\nGET /smuggled HTTP/1.1\r\n" HOST "\r\n";
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    bufferevent_write(client.stream, behind, sizeof behind - 1);
    AWAIT(&rig, client.is_ended);
    assert_int_equal(rig.n_requests, 0);
    assert_int_equal(rig.statuses[0], 400);
    client_close(&client);
    rig_close(&rig);
}

/* ---- limits ---- */

/* `prefix`, n times `c`, `suffix`. */
static char *stretched(const char *prefix, size_t n, char c, const char *suffix) {
    struct text text = {0};
    text_append_string(&text, prefix);
    for (size_t i = 0; i < n; i++) text_append(&text, &c, 1);
    text_append_string(&text, suffix);
    return text.bytes;
}

static void assert_stretched_refused(const char *prefix, size_t n, const char *suffix, int status) {
    char *bytes = stretched(prefix, n, 'x', suffix);
    assert_refused(bytes, status);
    mem_free(bytes);
}

static void too_much(void **state) {
    (void)state;
    struct text many = {0};
    assert_stretched_refused("GET /", 5000, " HTTP/1.1\r\n" HOST "\r\n", 431);
    assert_stretched_refused("GET / HTTP/1.1\r\n" HOST "a: ", 5000, "\r\n\r\n", 431);
    assert_stretched_refused("GET / HTTP/1.1\r\n" HOST "a: ", 5000, "", 431); /* without an end */
    text_append_string(&many, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 200; i++) text_append_string(&many, "a:b\r\n");
    text_append_string(&many, "\r\n");
    assert_refused(many.bytes, 431);
    text_free(&many);
    assert_refused("POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n", 413);
    assert_refused("POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n",
                   413);
    assert_refused(CHUNKED "3e9\r\n", 413);
    assert_stretched_refused(CHUNKED "384\r\n", 900, "\r\n65\r\n", 413); /* 900 and 101 more */
    assert_stretched_refused(CHUNKED "1;", 600, "\r\nh\r\n0\r\n\r\n", 400);
    assert_stretched_refused(CHUNKED "0\r\na: ", 5000, "\r\n\r\n", 431);
    text_append_string(&many, CHUNKED "0\r\n");
    for (int i = 0; i < 1000; i++) text_append_string(&many, "abc:def\r\n");
    assert_refused(many.bytes, 431);
    text_free(&many);
    /* and just not too much */
    char *bytes = stretched("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 1000, 'x', "");
    assert_reply_in_pieces(bytes, 10000, "xxxx");
    mem_free(bytes);
}

/* Sends a whole request first, so that nothing of it is taken for the refused one's. */
static void assert_refusal(const char *bytes, const char *expected) {
    struct rig rig;
    struct client client;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, "GET /before HTTP/1.1\r\nHost: before\r\n\r\n");
    client_send(&client, bytes);
    AWAIT(&rig, client.is_ended);
    if (client_count(&client, expected) != 1)
        fail_msg("%s\nis refused with\n%s", bytes, client.received.bytes);
    client_close(&client);
    rig_close(&rig);
}

static void a_refusal_knows_what_is_read(void **state) {
    (void)state;
    assert_refusal("POST /path?a=b HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n",
                   "\"/path a 413 the body");
    assert_refusal("POST /path HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx",
                   "\"/path a 400 malformed");
    assert_refusal("nonsense\r\n\r\n", "\"  400 malformed");
}

/* Each of two bodies is within its limit, both together are not. */
static void too_much_together(void **state) {
    (void)state;
    static const char head[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n";
    struct rig rig;
    struct client clients[3];
    rig_open(&rig, rig_limits());
    for (int i = 0; i < 3; i++) client_open(&clients[i], &rig, true);
    char *most = stretched(head, 999, 'x', "");
    client_send(&clients[0], most);
    AWAIT(&rig, rig.server->body_bytes == 999);
    client_send(&clients[1], most);
    AWAIT(&rig, clients[1].is_ended);
    assert_int_equal(client_count(&clients[1], "HTTP/1.1 503 "), 1);
    client_send(&clients[0], "x");
    AWAIT(&rig, client_count(&clients[0], "HTTP/1.1 200 ") == 1);
    client_send(&clients[2], most); /* the first is gone */
    client_send(&clients[2], "x");
    AWAIT(&rig, client_count(&clients[2], "HTTP/1.1 200 ") == 1);
    assert_int_equal(rig.server->body_bytes, 0);
    mem_free(most);
    for (int i = 0; i < 3; i++) client_close(&clients[i]);
    rig_close(&rig);
}

static void a_body_is_taken(void **state) {
    (void)state;
    struct rig rig;
    struct client client;
    struct text body;
    size_t length;
    rig_open(&rig, rig_limits());
    client_open(&client, &rig, true);
    client_send(&client, "POST /later HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    AWAIT(&rig, rig.n_kept == 1);
    assert_int_equal(rig.server->body_bytes, 5);
    http_take_body(rig.kept[0], &body);
    assert_int_equal(rig.server->body_bytes, 0);
    assert_string_equal(body.bytes, "hello");
    assert_string_equal(http_body(rig.kept[0], &length), "");
    assert_int_equal(length, 0);
    reply_echo(rig.kept[0]);
    AWAIT(&rig, client_count(&client, "POST /later ") == 1);
    text_free(&body);
    client_close(&client);
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(requests_one_behind_the_other),
        cmocka_unit_test(what_is_no_request),
        cmocka_unit_test(bodies_that_two_readers_read_differently),
        cmocka_unit_test(chunks_that_are_none),
        cmocka_unit_test(nul_ends_no_line),
        cmocka_unit_test(too_much),
        cmocka_unit_test(a_refusal_knows_what_is_read),
        cmocka_unit_test(too_much_together),
        cmocka_unit_test(a_body_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
