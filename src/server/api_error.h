/* What a client is told when a request fails: an HTTP status and OpenAI's error object (or Anthropic's). */
#ifndef CABINET_SERVER_API_ERROR_H
#define CABINET_SERVER_API_ERROR_H

#include <stdbool.h>

#include "base/text.h"

enum { API_ERROR_MESSAGE = 400 };

struct api_error {
    int status;        /* 400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 429, 431, 500, 503 */
    const char *param; /* the field at fault, or NULL; lives for ever */
    const char *code;  /* "model_not_found", "context_length_exceeded", ..., or NULL; lives for ever */
    unsigned retry_after_seconds;    /* with 429 and 503; 0: not said */
    const char *allow;               /* with 405, the methods that there are; lives until the reply */
    char message[API_ERROR_MESSAGE]; /* one line of valid UTF-8 */
};

/* Fills *error and returns a negative number, for `return api_error_set(error, 400, "n", NULL, "...")`. */
int api_error_set(struct api_error *error, int status, const char *param, const char *code,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* From the latest ERR of this thread: `code` is its enum err. */
int api_error_from(struct api_error *error, int code);
/* The same with a message that was kept from another thread. */
int api_error_fill(struct api_error *error, int code, const char *message);
/* OpenAI's {"error": {message, type, param, code}}; for Anthropic {"type": "error", "error": {type,
 * message}}. */
void api_error_write(const struct api_error *error, bool is_anthropic, struct text *out);

#endif
