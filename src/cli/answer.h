/* One answer: prompt tokens in, streamed text and a bill out. */
#ifndef CABINET_CLI_ANSWER_H
#define CABINET_CLI_ANSWER_H

#include <signal.h>
#include <stdio.h>

#include "cli/bill.h"

struct answer_opts {
    struct sampler_opts sampling;
    uint32_t max_output_tokens;
    FILE *stream;                           /* text goes here as it is made; NULL: nowhere */
    const volatile sig_atomic_t *interrupt; /* not 0: stop this answer; may be NULL */
};

struct answer {
    char *text; /* NUL-terminated; may hold NULs of its own */
    size_t length, capacity;
    struct token_list tokens; /* the output */
    enum finish_reason finish;
    struct bill bill;
};

/* Generates on `sequence`. On success *answer is the caller's to free, also when it was interrupted. */
int answer_generate(struct session *session, struct sequence *sequence, const struct token_list *prompt,
                    const struct answer_opts *opts, struct answer *answer);
void answer_free(struct answer *answer);
/* "end", "length", "context", "cancelled" */
const char *answer_finish_name(enum finish_reason finish);

#endif
