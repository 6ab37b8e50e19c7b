#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"logfmt", "json"};

static int find_name(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return (int)i;
    return -1;
}

int log_level_named(const char *name) {
    return find_name(level_names, sizeof level_names / sizeof level_names[0], name);
}

int log_format_named(const char *name) {
    return find_name(format_names, sizeof format_names / sizeof format_names[0], name);
}

void log_open(struct log *log, int fd, enum log_format format, enum log_level least, struct clock wall) {
    *log = (struct log){.fd = fd, .format = format, .least = least, .wall = wall};
    pthread_mutex_init(&log->lock, NULL);
}

void log_close(struct log *log) { pthread_mutex_destroy(&log->lock); }

/* ---- fields ---- */

struct log_field log_bytes(const char *name, const char *bytes, size_t length) {
    return (struct log_field){.name = name, .kind = LOG_KIND_TEXT, .text = {bytes, length}};
}

struct log_field log_text(const char *name, const char *text) {
    return log_bytes(name, text, text == NULL ? 0 : strlen(text));
}

struct log_field log_count(const char *name, uint64_t count) {
    return (struct log_field){.name = name, .kind = LOG_KIND_COUNT, .count = count};
}

struct log_field log_number(const char *name, double number) {
    return (struct log_field){.name = name, .kind = LOG_KIND_NUMBER, .number = number};
}

struct log_field log_bool(const char *name, bool truth) {
    return (struct log_field){.name = name, .kind = LOG_KIND_BOOL, .truth = truth};
}

struct log_field log_ms(const char *name, uint64_t nanoseconds) {
    return (struct log_field){.name = name, .kind = LOG_KIND_MS, .count = nanoseconds};
}

/* ---- a line ---- */

struct line {
    enum log_format format;
    bool is_full; /* something did not fit */
    size_t length, limit;
    char bytes[LOG_LINE_BYTES];
};

/* What the ends of a line may add beyond `limit`: lines_lost, truncated, the closing brace and the newline.
 */
enum { TAIL_BYTES = 64 };

static void put(struct line *line, const char *bytes, size_t length) {
    if (length > line->limit - line->length) {
        line->is_full = true;
        return;
    }
    memcpy(line->bytes + line->length, bytes, length);
    line->length += length;
}

static void put_string(struct line *line, const char *string) { put(line, string, strlen(string)); }

/* One character of a text. */
struct character {
    size_t length;  /* bytes that it takes in the text */
    uint32_t value; /* REPLACEMENT for bytes that are no UTF-8 */
};

enum { REPLACEMENT = 0xfffd };
#define REPLACEMENT_BYTES "\xef\xbf\xbd"
#define ELLIPSIS_BYTES "\xe2\x80\xa6"

static struct character next_character(const uint8_t *bytes, size_t length) {
    enum utf8_state state = UTF8_UNFINISHED;
    size_t n = 0;
    while (state == UTF8_UNFINISHED && n < length) state = utf8_state(bytes, ++n);
    if (state != UTF8_COMPLETE)
        return (struct character){n > 1 && state == UTF8_BAD ? n - 1 : n, REPLACEMENT};
    if (n == 1) return (struct character){1, bytes[0]};
    uint32_t value = bytes[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) value = value << 6 | (bytes[i] & 0x3f);
    return (struct character){n, value};
}

/* Controls, and what ends a line or turns its direction, in Unicode too. */
static bool is_unsafe(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* Bytes of a text that are logged: all, or as many whole characters as LOG_TEXT_BYTES hold. */
static size_t text_cut(const uint8_t *bytes, size_t length) {
    if (length <= LOG_TEXT_BYTES) return length;
    size_t at = LOG_TEXT_BYTES;
    for (int back = 0; back < UTF8_MAX - 1 && (bytes[at] & 0xc0) == 0x80; back++) at--;
    return (bytes[at] & 0xc0) == 0x80 ? LOG_TEXT_BYTES : at;
}

static void put_escaped(struct line *line, const uint8_t *bytes, size_t length) {
    for (size_t at = 0; at < length;) {
        struct character c = next_character(bytes + at, length - at);
        char escape[8];
        if (c.value == '"' || c.value == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c.value);
        else if (c.value == '\n')
            strcpy(escape, "\\n");
        else if (c.value == '\r')
            strcpy(escape, "\\r");
        else if (c.value == '\t')
            strcpy(escape, "\\t");
        else if (is_unsafe(c.value))
            snprintf(escape, sizeof escape, "\\u%04" PRIx32, c.value);
        else if (c.value == REPLACEMENT)
            strcpy(escape, REPLACEMENT_BYTES);
        else
            escape[0] = '\0';
        if (escape[0] != '\0')
            put_string(line, escape);
        else
            put(line, (const char *)bytes + at, c.length);
        at += c.length;
    }
}

/* A value that logfmt needs no quotes for. */
static bool is_plain(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (bytes[i] <= ' ' || bytes[i] >= 0x7f || bytes[i] == '"' || bytes[i] == '=' || bytes[i] == '\\')
            return false;
    return length > 0;
}

static void put_text(struct line *line, const char *text, size_t length) {
    const uint8_t *bytes = (const uint8_t *)text;
    size_t cut = text_cut(bytes, length);
    bool quotes = line->format == LOG_JSON || cut < length || !is_plain(bytes, cut);
    if (quotes) put_string(line, "\"");
    put_escaped(line, bytes, cut);
    if (cut < length) put_string(line, ELLIPSIS_BYTES);
    if (quotes) put_string(line, "\"");
}

static void put_name(struct line *line, const char *name) {
    bool is_first = line->length == 0;
    if (line->format == LOG_JSON) {
        put_string(line, is_first ? "{\"" : ",\"");
        put_string(line, name);
        put_string(line, "\":");
    } else {
        if (!is_first) put_string(line, " ");
        put_string(line, name);
        put_string(line, "=");
    }
}

static void put_number(struct line *line, double number) {
    char digits[40];
    if (isfinite(number))
        snprintf(digits, sizeof digits, "%.6g", number);
    else if (line->format == LOG_JSON)
        strcpy(digits, "null");
    else
        strcpy(digits, isnan(number) ? "NaN" : number > 0 ? "Inf" : "-Inf");
    put_string(line, digits);
}

/* Milliseconds with microseconds behind the point, without a detour over floating point. */
static void put_ms(struct line *line, uint64_t nanoseconds) {
    char digits[40];
    uint64_t us = nanoseconds / 1000 + (nanoseconds % 1000 >= 500);
    snprintf(digits, sizeof digits, "%" PRIu64 ".%03" PRIu64, us / 1000, us % 1000);
    put_string(line, digits);
}

static void put_value(struct line *line, const struct log_field *field) {
    char digits[24];
    switch (field->kind) {
    case LOG_KIND_TEXT: put_text(line, field->text.bytes, field->text.length); break;
    case LOG_KIND_COUNT:
        snprintf(digits, sizeof digits, "%" PRIu64, field->count);
        put_string(line, digits);
        break;
    case LOG_KIND_NUMBER: put_number(line, field->number); break;
    case LOG_KIND_MS: put_ms(line, field->count); break;
    case LOG_KIND_BOOL: put_string(line, field->truth ? "true" : "false"); break;
    }
}

/* All of a field or nothing of it. */
static void put_field(struct line *line, struct log_field field, bool *is_truncated) {
    if (field.kind == LOG_KIND_TEXT && field.text.bytes == NULL) return;
    size_t start = line->length;
    put_name(line, field.name);
    put_value(line, &field);
    if (line->is_full) {
        line->length = start;
        line->is_full = false;
        *is_truncated = true;
    }
}

static void put_time(struct line *line, uint64_t ns, bool *is_truncated) {
    char text[40];
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + length, sizeof text - length, ".%03uZ", (unsigned)(ns / 1000000u % 1000u));
    put_field(line, log_text("time", text), is_truncated);
}

static void build(struct line *line, const struct log *log, enum log_level level, const char *event,
                  size_t n_fields, const struct log_field *fields) {
    bool is_truncated = false;
    line->limit = LOG_LINE_BYTES - TAIL_BYTES;
    put_time(line, clock_now_ns(&log->wall), &is_truncated);
    put_field(line, log_text("level", level_names[level]), &is_truncated);
    put_field(line, log_text("event", event), &is_truncated);
    for (size_t i = 0; i < n_fields; i++) put_field(line, fields[i], &is_truncated);
    line->limit = LOG_LINE_BYTES;
    if (is_truncated) put_field(line, log_bool("truncated", true), &is_truncated);
    if (log->n_lost > 0) put_field(line, log_count("lines_lost", log->n_lost), &is_truncated);
    put_string(line, log->format == LOG_JSON ? "}\n" : "\n");
}

/* ---- writing ---- */

static bool is_writable(int fd) {
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int n;
    do n = poll(&ready, 1, 0);
    while (n < 0 && errno == EINTR);
    return n == 1 && (ready.revents & POLLOUT) != 0;
}

/* How many bytes could be written without waiting. */
static size_t write_bytes(int fd, const char *bytes, size_t length) {
    size_t done = 0;
    while (done < length && is_writable(fd)) {
        ssize_t n = write(fd, bytes + done, length - done);
        if (n == 0 || (n < 0 && errno != EINTR)) break;
        if (n > 0) done += (size_t)n;
    }
    return done;
}

static void write_line(struct log *log, const struct line *line) {
    if (log->is_torn) log->is_torn = write_bytes(log->fd, "\n", 1) != 1;
    size_t done = log->is_torn ? 0 : write_bytes(log->fd, line->bytes, line->length);
    if (done == line->length) {
        log->n_lost = 0;
    } else {
        log->n_lost++;
        log->is_torn = log->is_torn || done > 0;
    }
}

void log_event(struct log *log, enum log_level level, const char *event, size_t n_fields,
               const struct log_field *fields) {
    if (log == NULL || level < log->least) return;
    int saved = errno;
    struct line line;
    line.format = log->format;
    line.is_full = false;
    line.length = 0;
    pthread_mutex_lock(&log->lock);
    build(&line, log, level, event, n_fields, fields);
    write_line(log, &line);
    pthread_mutex_unlock(&log->lock);
    errno = saved;
}
