#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local char message[512];
static _Thread_local char place[128];

int err_set(int code, const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    snprintf(place, sizeof place, "%s:%d", file, line);
    return code;
}

const char *err_message(void) { return message; }
const char *err_place(void) { return place; }

const char *err_name(int code) {
    switch (code) {
#define X(name, meaning)                                                                                     \
    case ERR_##name: return #name;
        ERR_LIST(X)
#undef X
    default: return code < 0 ? "UNKNOWN" : "OK";
    }
}

void err_assert_failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "cabinet: broken invariant at %s:%d: %s (this is a bug; please report it)\n", file, line,
            condition);
    abort();
}
