/* A thread for what must hold up neither the event thread nor the engine: parsing bodies, templates,
 * tokenising, grammars. Jobs run one after the other, in order. */
#ifndef CABINET_SERVER_WORKER_H
#define CABINET_SERVER_WORKER_H

#include "server/mailbox.h"

struct worker;

/* The submitter's; zero it but for these: */
struct job {
    void (*run)(void *user); /* on the worker */
    struct mail done;        /* posted behind run */
    void *user;              /* run's */
    struct job *next;
};

int worker_open(struct worker **worker, struct mailbox *mailbox);
/* Ends after the job under way; the others are forgotten. */
void worker_close(struct worker *worker);
void worker_submit(struct worker *worker, struct job *job);

#endif
