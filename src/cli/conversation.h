/* A conversation: messages, the sequence that remembers them, and how they become a prompt. */
#ifndef CABINET_CLI_CONVERSATION_H
#define CABINET_CLI_CONVERSATION_H

#include <jansson.h>

#include "cli/answer.h"

struct conversation {
    struct session *session;
    struct sequence *sequence;
    const char *system; /* or NULL; borrowed */
    struct chat_message *messages;
    size_t n_messages, capacity;
    struct bill bill; /* of the latest answer */
    bool has_bill;
};

int conversation_open(struct conversation *conversation, struct session *session, const char *system);
void conversation_close(struct conversation *conversation);
/* Forgets all turns; the cache of the system prompt is found again by the next one. */
int conversation_reset(struct conversation *conversation);

/* Adds the user's turn, generates the answer and adds it. When that fails or nothing was answered, the
 * conversation is as before. */
int conversation_ask(struct conversation *conversation, const char *text, const struct answer_opts *opts,
                     struct answer *answer);

/* Writes {"model", "messages": [{"role", "content"}]} to a file; IO on failure. */
int conversation_save(const struct conversation *conversation, const char *model, const char *path);

#endif
