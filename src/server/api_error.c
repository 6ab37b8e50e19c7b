#include "server/api_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"
#include "server/json_text.h"

/* Makes one line of UTF-8 of what may quote a client's bytes and may have been cut within a character. */
static void tidy(char *message) {
    size_t length = strlen(message);
    for (size_t at = 0; (at += utf8_valid_prefix(message + at, length - at)) < length;) message[at] = '?';
    for (char *byte = message; *byte != '\0'; byte++)
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f) *byte = ' ';
}

int api_error_set(struct api_error *error, int status, const char *param, const char *code,
                  const char *format, ...) {
    *error = (struct api_error){.status = status, .param = param, .code = code};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    tidy(error->message);
    return ERR_INVALID;
}

static int status_of(int code) {
    switch (code) {
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
    case ERR_TOO_LARGE: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_FULL:
    case ERR_NO_MEMORY:
    case ERR_CANCELLED: return 503;
    default: return 500;
    }
}

int api_error_fill(struct api_error *error, int code, const char *message) {
    return api_error_set(error, status_of(code), NULL, NULL, "%s", message);
}

int api_error_from(struct api_error *error, int code) { return api_error_fill(error, code, err_message()); }

/* The words of both APIs for a status; a status that is not listed goes by the one before it. */
static const struct {
    int status;
    const char *openai, *anthropic;
} types[] = {
    {400, "invalid_request_error", "invalid_request_error"},
    {401, "authentication_error", "authentication_error"},
    {403, "permission_error", "permission_error"},
    {404, "invalid_request_error", "not_found_error"},
    {405, "invalid_request_error", "invalid_request_error"},
    {413, "invalid_request_error", "request_too_large"},
    {415, "invalid_request_error", "invalid_request_error"},
    {429, "rate_limit_error", "rate_limit_error"},
    {431, "invalid_request_error", "invalid_request_error"},
    {500, "server_error", "api_error"},
    {503, "server_error", "overloaded_error"},
};

void api_error_write(const struct api_error *error, bool is_anthropic, struct text *out) {
    size_t type = 0;
    while (type + 1 < sizeof types / sizeof *types && types[type + 1].status <= error->status) type++;
    text_append_string(out,
                       is_anthropic ? "{\"type\":\"error\",\"error\":{\"type\":" : "{\"error\":{\"type\":");
    json_text_string(out, is_anthropic ? types[type].anthropic : types[type].openai);
    text_append_string(out, ",\"message\":");
    json_text_string(out, error->message);
    if (!is_anthropic) {
        text_append_string(out, ",\"param\":");
        json_text_string(out, error->param);
        text_append_string(out, ",\"code\":");
        json_text_string(out, error->code);
    }
    text_append_string(out, "}}");
}
