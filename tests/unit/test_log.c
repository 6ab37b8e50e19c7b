#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"

/* 2026-03-01T12:34:56.789Z */
static uint64_t fixed_ns(void *state) {
    (void)state;
    return 1772368496789123456u;
}

static struct clock fixed_clock(void) { return (struct clock){.now_ns = fixed_ns}; }

/* A log that writes into a pipe, and what came out of it. */
struct sink {
    struct log log;
    int read_fd;
    size_t length;
    char bytes[1 << 16];
};

static void sink_open(struct sink *sink, enum log_format format, enum log_level least) {
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log_open(&sink->log, fds[1], format, least, fixed_clock());
    sink->read_fd = fds[0];
    sink->length = 0;
}

static const char *sink_read(struct sink *sink) {
    sink->length = 0;
    ssize_t n;
    while ((n = read(sink->read_fd, sink->bytes + sink->length, sizeof sink->bytes - 1 - sink->length)) > 0)
        sink->length += (size_t)n;
    sink->bytes[sink->length] = '\0';
    return sink->bytes;
}

static void sink_close(struct sink *sink) {
    close(sink->log.fd);
    close(sink->read_fd);
    log_close(&sink->log);
}

/* What one logfmt line says of a key, unescaped; NULL if it has no such key. A reader that knows only the
 * format: pairs apart by spaces, quotes, backslash escapes. */
static char *logfmt_value(const char *line, const char *key, char *value) {
    const char *at = line;
    while (*at != '\n' && *at != '\0') {
        const char *name = at;
        while (*at != '=' && *at != '\n' && *at != '\0') at++;
        size_t name_length = (size_t)(at - name);
        assert_int_equal(*at, '=');
        at++;
        char *out = value;
        if (*at == '"') {
            for (at++; *at != '"'; at++) {
                assert_true(*at != '\0' && *at != '\n');
                if (*at != '\\') {
                    *out++ = *at;
                    continue;
                }
                at++;
                if (*at == 'u') {
                    unsigned code = (unsigned)strtoul((char[]){at[1], at[2], at[3], at[4], '\0'}, NULL, 16);
                    assert_true(code < 0x80); /* all that the tests read back this way */
                    *out++ = (char)code;
                    at += 4;
                } else {
                    *out++ = *at == 'n' ? '\n' : *at == 'r' ? '\r' : *at == 't' ? '\t' : *at;
                }
            }
            at++;
        } else {
            while (*at != ' ' && *at != '\n' && *at != '\0') *out++ = *at++;
        }
        *out = '\0';
        if (name_length == strlen(key) && memcmp(name, key, name_length) == 0) return value;
        if (*at == ' ') at++;
    }
    return NULL;
}

static size_t count_lines(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) n += *text == '\n';
    return n;
}

static void a_line_says_when_what_and_how_much(void **state) {
    (void)state;
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, LOG_INFO);
    LOG(&sink.log, LOG_INFO, "request_finished", log_text("id", "chatcmpl-1"), log_count("output_tokens", 64),
        log_ms("ttft_ms", 41234567), log_number("share", 0.25), log_bool("is_streamed", true),
        log_text("user", NULL));
    assert_string_equal(sink_read(&sink), "time=2026-03-01T12:34:56.789Z level=info event=request_finished "
                                          "id=chatcmpl-1 output_tokens=64 ttft_ms=41.235 share=0.25 "
                                          "is_streamed=true\n");
    sink_close(&sink);
    sink_open(&sink, LOG_JSON, LOG_INFO);
    LOG(&sink.log, LOG_WARN, "full", log_count("most", UINT64_MAX), log_number("rate", NAN),
        log_text("user", NULL), log_ms("wait_ms", 999));
    assert_string_equal(sink_read(&sink),
                        "{\"time\":\"2026-03-01T12:34:56.789Z\",\"level\":\"warn\",\"event\":\"full\","
                        "\"most\":18446744073709551615,\"rate\":null,\"wait_ms\":0.001}\n");
    sink_close(&sink);
}

static void what_is_below_the_level_is_not_written(void **state) {
    (void)state;
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, LOG_WARN);
    log_event(&sink.log, LOG_INFO, "quiet", 0, NULL);
    log_event(&sink.log, LOG_ERROR, "loud", 0, NULL);
    log_event(NULL, LOG_ERROR, "nowhere", 0, NULL);
    assert_string_equal(sink_read(&sink), "time=2026-03-01T12:34:56.789Z level=error event=loud\n");
    sink_close(&sink);
    assert_int_equal(log_level_named("warn"), LOG_WARN);
    assert_int_equal(log_level_named("loud"), -1);
    assert_int_equal(log_format_named("json"), LOG_JSON);
    assert_int_equal(log_format_named(""), -1);
}

/* Every byte, and what is special in one of the formats or in a terminal. */
static const char *const nasty[] = {
    "",
    " ",
    "=",
    "\"",
    "\\",
    "a b",
    "a=b",
    "\\n",
    "two\nlines",
    "cr\rlf\n",
    "tab\there",
    "quote\"inside",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "ends with backslash\\",
    "level=error event=forged",
    "x\" level=\"error",
    "{\"a\":1}",
    "caf\xc3\xa9",
    "\xf0\x9f\x98\x80",
};

static void texts_come_back_as_they_were(void **state) {
    (void)state;
    struct sink sink;
    char value[8192];
    for (size_t i = 0; i < sizeof nasty / sizeof nasty[0]; i++) {
        sink_open(&sink, LOG_LOGFMT, LOG_INFO);
        LOG(&sink.log, LOG_INFO, "e", log_text("before", "x"), log_text("text", nasty[i]),
            log_count("after", 7));
        const char *line = sink_read(&sink);
        assert_int_equal(count_lines(line), 1);
        assert_string_equal(logfmt_value(line, "text", value), nasty[i]);
        assert_string_equal(logfmt_value(line, "level", value), "info");
        assert_string_equal(logfmt_value(line, "after", value), "7");
        sink_close(&sink);

        sink_open(&sink, LOG_JSON, LOG_INFO);
        LOG(&sink.log, LOG_INFO, "e", log_text("text", nasty[i]), log_count("after", 7));
        line = sink_read(&sink);
        assert_int_equal(count_lines(line), 1);
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_string_equal(json_string_value(json_object_get(object, "text")), nasty[i]);
        assert_int_equal(json_integer_value(json_object_get(object, "after")), 7);
        json_decref(object);
        sink_close(&sink);
    }
}

/* No byte of a text reaches the line as a control, whatever it is, and a line is UTF-8. */
static void no_byte_breaks_a_line(void **state) {
    (void)state;
    struct sink sink;
    for (unsigned format = LOG_LOGFMT; format <= LOG_JSON; format++)
        for (unsigned byte = 0; byte < 256; byte++) {
            char text[] = {'a', (char)byte, 'b', (char)byte};
            sink_open(&sink, (enum log_format)format, LOG_INFO);
            LOG(&sink.log, LOG_INFO, "e", log_bytes("text", text, sizeof text));
            const char *line = sink_read(&sink);
            assert_int_equal(line[sink.length - 1], '\n');
            for (size_t i = 0; i + 1 < sink.length; i++)
                assert_true((uint8_t)line[i] >= 0x20 && line[i] != 0x7f);
            json_t *string = json_stringn(line, sink.length); /* NULL for what is not UTF-8 */
            assert_non_null(string);
            json_decref(string);
            if (byte >= 0x80)
                assert_non_null(strstr(line, "a\xef\xbf\xbd"
                                             "b\xef\xbf\xbd"));
            sink_close(&sink);
        }
}

static void unicode_controls_are_escaped(void **state) {
    (void)state;
    struct sink sink;
    sink_open(&sink, LOG_LOGFMT, LOG_INFO);
    /* NEL, CSI, line separator, right-to-left override; then a broken and an overlong sequence */
    LOG(&sink.log, LOG_INFO, "e",
        log_text("text", "\xc2\x85\xc2\x9b\xe2\x80\xa8\xe2\x80\xae|\xe2\x82|\xc0\xaf|\xed\xa0\x80"));
    assert_non_null(strstr(sink_read(&sink), "text=\"\\u0085\\u009b\\u2028\\u202e|\xef\xbf\xbd|\xef\xbf\xbd"
                                             "\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\n"));
    sink_close(&sink);
}

static void lines_stay_bounded_and_whole(void **state) {
    (void)state;
    struct sink sink;
    static char text[9000];
    char value[8192];
    for (unsigned format = LOG_LOGFMT; format <= LOG_JSON; format++)
        for (size_t length = 0; length < sizeof text - 1; length += 97) {
            /* three bytes a character, so that cuts fall inside of one */
            for (size_t i = 0; i < length; i++) text[i] = "\xe2\x82\xac"[i % 3];
            text[length] = '\0';
            static char controls[LOG_TEXT_BYTES + 1];
            memset(controls, 1, length < LOG_TEXT_BYTES ? length : LOG_TEXT_BYTES);
            sink_open(&sink, (enum log_format)format, LOG_INFO);
            struct log_field fields[8];
            for (size_t i = 0; i < 5; i++) fields[i] = log_text("text", text);
            fields[5] = log_text("controls", controls);
            fields[6] = log_text("id", "last");
            fields[7] = log_count("n", 1);
            log_event(&sink.log, LOG_INFO, "long", 8, fields);
            const char *line = sink_read(&sink);
            assert_true(sink.length <= LOG_LINE_BYTES);
            assert_int_equal(count_lines(line), 1);
            if (format == LOG_JSON) {
                json_t *object = json_loads(line, 0, NULL);
                assert_non_null(object);
                assert_string_equal(json_string_value(json_object_get(object, "id")), "last");
                json_decref(object);
            } else {
                assert_string_equal(logfmt_value(line, "id", value), "last");
                bool has_all = logfmt_value(line, "controls", value) != NULL;
                assert_true((logfmt_value(line, "truncated", value) == NULL) == has_all);
                assert_true(has_all || length > 300);
                assert_true(!has_all || length < 700);
            }
            sink_close(&sink);
        }
}

/* However full a line is, there is room for its end, and for what it says of itself. */
static void a_full_line_still_ends(void **state) {
    (void)state;
    struct sink sink;
    char text[LOG_TEXT_BYTES + 1] = {0}, last[LOG_TEXT_BYTES + 1] = {0};
    memset(text, 'x', LOG_TEXT_BYTES);
    for (unsigned format = LOG_LOGFMT; format <= LOG_JSON; format++)
        for (size_t length = 0; length < LOG_TEXT_BYTES; length++) {
            memset(last, 'y', length);
            last[length] = '\0';
            sink_open(&sink, (enum log_format)format, LOG_INFO);
            sink.log.n_lost = INT64_MAX; /* as jansson reads it */
            LOG(&sink.log, LOG_INFO, "full", log_text("a", text), log_text("b", text), log_text("c", text),
                log_text("last", last), log_count("more", INT64_MAX), log_count("most", INT64_MAX));
            const char *line = sink_read(&sink);
            assert_true(sink.length <= LOG_LINE_BYTES && line[sink.length - 1] == '\n');
            bool has_all =
                strstr(line, "last") != NULL && strstr(line, "more") != NULL && strstr(line, "most") != NULL;
            assert_true((strstr(line, "truncated") == NULL) == has_all);
            assert_non_null(strstr(line, "9223372036854775807"));
            assert_non_null(strstr(line, "lines_lost"));
            json_t *object = format == LOG_JSON ? json_loads(line, 0, NULL) : NULL;
            assert_true((object != NULL) == (format == LOG_JSON));
            json_decref(object);
            sink_close(&sink);
        }
}

static void a_long_text_is_cut_between_characters(void **state) {
    (void)state;
    struct sink sink;
    char text[LOG_TEXT_BYTES + 8], value[LOG_LINE_BYTES];
    for (size_t i = 0; i < sizeof text - 1; i++) text[i] = "\xe2\x82\xac"[i % 3];
    text[sizeof text - 1] = '\0';
    sink_open(&sink, LOG_LOGFMT, LOG_INFO);
    LOG(&sink.log, LOG_INFO, "e", log_text("text", text));
    assert_non_null(logfmt_value(sink_read(&sink), "text", value));
    size_t kept = LOG_TEXT_BYTES / 3 * 3;
    assert_memory_equal(value, text, kept);
    assert_string_equal(value + kept, "\xe2\x80\xa6");
    sink_close(&sink);
}

static void a_reader_that_sleeps_costs_lines_but_no_time(void **state) {
    (void)state;
    struct sink sink;
    char value[8192], text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    sink_open(&sink, LOG_LOGFMT, LOG_INFO);
    fcntl(sink.log.fd, F_SETFL, 0); /* a write that finds no room would wait for ever */
    for (int i = 0; i < 1000; i++) LOG(&sink.log, LOG_INFO, "e", log_text("text", text));
    size_t kept = count_lines(sink_read(&sink));
    assert_true(kept > 0 && kept < 1000);
    log_event(&sink.log, LOG_INFO, "again", 0, NULL);
    const char *line = sink_read(&sink);
    assert_string_equal(logfmt_value(line, "event", value), "again");
    assert_int_equal(strtoul(logfmt_value(line, "lines_lost", value), NULL, 10), 1000 - kept);
    log_event(&sink.log, LOG_INFO, "well", 0, NULL);
    assert_null(logfmt_value(sink_read(&sink), "lines_lost", value));
    sink_close(&sink);
}

static void a_reader_that_is_gone_costs_nothing(void **state) {
    (void)state;
    struct sink sink;
    signal(SIGPIPE, SIG_IGN);
    sink_open(&sink, LOG_JSON, LOG_INFO);
    close(sink.read_fd);
    log_event(&sink.log, LOG_INFO, "e", 0, NULL);
    log_event(&sink.log, LOG_INFO, "e", 0, NULL);
    assert_int_equal(sink.log.n_lost, 2);
    close(sink.log.fd);
    log_event(&sink.log, LOG_INFO, "e", 0, NULL); /* not even an open file */
    assert_int_equal(sink.log.n_lost, 3);
    log_close(&sink.log);
}

enum { N_THREADS = 4, N_LINES = 200 };

static void *log_many(void *argument) {
    struct log *log = argument;
    for (uint64_t i = 0; i < N_LINES; i++)
        LOG(log, LOG_INFO, "e", log_count("i", i), log_text("text", "a b"));
    return NULL;
}

static void threads_write_whole_lines(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    struct log log;
    log_open(&log, fileno(file), LOG_JSON, LOG_INFO, fixed_clock());
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &log), 0);
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    rewind(file);
    uint64_t n = 0, sum = 0;
    char line[LOG_LINE_BYTES + 1];
    while (fgets(line, sizeof line, file) != NULL) {
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        sum += (uint64_t)json_integer_value(json_object_get(object, "i"));
        n++;
        json_decref(object);
    }
    assert_int_equal(n, N_THREADS * N_LINES);
    assert_int_equal(sum, N_THREADS * N_LINES * (N_LINES - 1) / 2);
    log_close(&log);
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_when_what_and_how_much),
        cmocka_unit_test(what_is_below_the_level_is_not_written),
        cmocka_unit_test(texts_come_back_as_they_were),
        cmocka_unit_test(no_byte_breaks_a_line),
        cmocka_unit_test(unicode_controls_are_escaped),
        cmocka_unit_test(lines_stay_bounded_and_whole),
        cmocka_unit_test(a_full_line_still_ends),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(a_reader_that_sleeps_costs_lines_but_no_time),
        cmocka_unit_test(a_reader_that_is_gone_costs_nothing),
        cmocka_unit_test(threads_write_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
