#include "plan/assumption.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

void plan_assume(struct plan_assumptions *assumptions, const char *format, ...) {
    if (assumptions == NULL) return;
    char text[PLAN_ASSUMPTION_LENGTH];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < assumptions->n; i++)
        if (strcmp(assumptions->texts[i], text) == 0) return;
    ASSERT(assumptions->n < PLAN_MAX_ASSUMPTIONS);
    memcpy(assumptions->texts[assumptions->n++], text, sizeof text);
}
