/* Errors: a small set of codes, and one line of text that says what, where and what to do.
 *
 * A function that can fail returns int: 0, or a negative `enum err`. The text of the latest failure stays in
 * a thread-local until the next one. Outcomes that are part of normal work (a miss, a full pool) are values
 * of the function that has them, bugs are ASSERT, and the environment (files, memory, input) is ERR. */
#ifndef CABINET_BASE_ERR_H
#define CABINET_BASE_ERR_H

#include <stddef.h>

/* name, what it means. Codes are negative, in this order from -1. */
#define ERR_LIST(X)                                                                                          \
    X(INVALID, "an argument or option that cannot be right")                                                 \
    X(NOT_FOUND, "a file, model or name that is not there")                                                  \
    X(UNSUPPORTED, "well-formed, but of a kind that this build does not run")                                \
    X(CORRUPT, "bytes that contradict their own format")                                                     \
    X(TOO_LARGE, "more than a stated bound")                                                                 \
    X(FULL, "the KV pool has no room")                                                                       \
    X(NO_MEMORY, "the system gave no memory")                                                                \
    X(IO, "reading, writing or mapping failed")                                                              \
    X(CANCELLED, "stopped on request")                                                                       \
    X(INTERNAL, "a library or this program broke its promise")

enum err_ordinal {
#define X(name, meaning) ERR_ORDINAL_##name,
    ERR_LIST(X)
#undef X
};

enum err {
#define X(name, meaning) ERR_##name = -1 - (int)ERR_ORDINAL_##name,
    ERR_LIST(X)
#undef X
};

/* Records the message and returns `code`. Use the macro: `return ERR(CORRUPT, "tensor %s: ...", name);` */
int err_set(int code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define ERR(code, ...) err_set(ERR_##code, __FILE__, __LINE__, __VA_ARGS__)

/* Forwards a failure of `expression` to the caller. */
#define TRY(expression)                                                                                      \
    do {                                                                                                     \
        int try_result_ = (expression);                                                                      \
        if (try_result_ < 0) return try_result_;                                                             \
    } while (0)

/* The latest failure of this thread: its text, its place ("file:line"), and the name of a code.
 * The strings live until the next failure on the same thread. Never NULL. */
const char *err_message(void);
const char *err_place(void);
const char *err_name(int code);

/* A broken promise of the program itself. Stays on in release builds; prints and aborts. */
void err_assert_failed(const char *file, int line, const char *condition) __attribute__((noreturn, cold));
#define ASSERT(condition) ((condition) ? (void)0 : err_assert_failed(__FILE__, __LINE__, #condition))
/* A place that is never reached as long as `what` holds. */
#define UNREACHABLE(what) err_assert_failed(__FILE__, __LINE__, what)

#endif
