/* The log: one line an event, as logfmt or JSON.
 *
 *   time=2026-03-01T12:34:56.789Z level=info event=request_finished id=chatcmpl-1 output_tokens=64
 * ttft_ms=41.2
 *   {"time":"2026-03-01T12:34:56.789Z","level":"info","event":"request_finished","id":"chatcmpl-1",...}
 *
 * Any thread may log. Nothing in a text can end a line or a value: quotes, backslashes and control characters
 * (with those that Unicode adds) are escaped, what is not UTF-8 becomes U+FFFD. A line holds at most
 * LOG_LINE_BYTES and is written by one call, so that lines of several writers to one pipe do not mix. A field
 * that finds no room is left out, and the line says truncated=true.
 *
 * Logging never fails its caller and does not wait for a reader: a line that cannot be written at once is
 * counted, and the next one that can says lines_lost=N. The process ignores SIGPIPE. */
#ifndef CABINET_BASE_LOG_H
#define CABINET_BASE_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

enum {
    LOG_LINE_BYTES = 4096, /* with its newline; what Linux writes to a pipe in one piece */
    LOG_TEXT_BYTES = 1024, /* of one text, before escaping; a longer one is cut and ends with U+2026 */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log {
    int fd;                 /* borrowed */
    enum log_format format; /* */
    enum log_level least;   /* what is below is not written */
    struct clock wall;      /* nanoseconds since 1970, UTC: clock_wall() */
    pthread_mutex_t lock;   /* one line is written at a time */
    uint64_t n_lost;        /* lines since the last one that was written whole */
    bool is_torn;           /* half a line is written: a newline comes first */
};

void log_open(struct log *log, int fd, enum log_format format, enum log_level least, struct clock wall);
void log_close(struct log *log);

enum log_kind { LOG_KIND_TEXT, LOG_KIND_COUNT, LOG_KIND_NUMBER, LOG_KIND_MS, LOG_KIND_BOOL };

/* A name and a value. Names are constants of the program: letters, digits and '_', the unit last. */
struct log_field {
    const char *name;
    enum log_kind kind;
    union {
        struct {
            const char *bytes; /* NULL: the field is left out */
            size_t length;
        } text;
        uint64_t count; /* a count, or nanoseconds */
        double number;  /* not finite: null in JSON, NaN or Inf in logfmt */
        bool truth;
    };
};

struct log_field log_text(const char *name, const char *text); /* may be NULL: then there is no field */
struct log_field log_bytes(const char *name, const char *bytes, size_t length);
struct log_field log_count(const char *name, uint64_t count);
struct log_field log_number(const char *name, double number); /* six significant digits */
struct log_field log_bool(const char *name, bool truth);
/* A time in milliseconds, to the microsecond: log_ms("ttft_ms", nanoseconds). */
struct log_field log_ms(const char *name, uint64_t nanoseconds);

/* Writes a line, unless `level` is below the log's or `log` is NULL. `event` is a constant of the program. */
void log_event(struct log *log, enum log_level level, const char *event, size_t n_fields,
               const struct log_field *fields);
/* The same with the fields as arguments, at least one: LOG(log, LOG_INFO, "ready", log_count("port", 8080))
 */
#define LOG(log, level, event, ...)                                                                          \
    log_event(log, level, event, sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field),       \
              (struct log_field[]){__VA_ARGS__})

/* "debug", "info", "warn", "error": its level, or -1. "logfmt", "json": its format, or -1. */
int log_level_named(const char *name);
int log_format_named(const char *name);

#endif
