/* The interactive chat of `cabinet run`. */
#ifndef CABINET_CLI_CHAT_H
#define CABINET_CLI_CHAT_H

#include "cli/conversation.h"

struct chat_opts {
    const char *system; /* or NULL */
    const char *model;  /* as the user named it */
    struct answer_opts answer;
    volatile sig_atomic_t *interrupted; /* set by Ctrl-C; the loop clears it before each answer */
};

/* Reads turns until the end of input or /exit. An answer that fails is reported and the chat goes on; with
 * input that is no terminal, the first failure ends it. */
int chat_loop(struct session *session, const struct chat_opts *opts);

#endif
