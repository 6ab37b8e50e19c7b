/* How other threads reach the event thread: what they post is delivered there, in order, soon. */
#ifndef CABINET_SERVER_MAILBOX_H
#define CABINET_SERVER_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

struct event_base;
struct mailbox;

/* The poster's, embedded in what it is about. Fill deliver and user, zero the rest. */
struct mail {
    void (*deliver)(void *user); /* on the event thread; may free the mail */
    void *user;
    struct mail *next;
    _Atomic bool is_posted; /* until just before it is delivered */
};

int mailbox_open(struct mailbox **mailbox, struct event_base *base);
/* Nobody posts any more; what was posted and not delivered is forgotten. */
void mailbox_close(struct mailbox *mailbox);
/* Any thread. Posting what is posted already does nothing: one delivery tells of both. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);
/* The same, but the event thread is not woken for it: mailbox_wake follows, for many at once. */
void mailbox_post_quietly(struct mailbox *mailbox, struct mail *mail);
void mailbox_wake(struct mailbox *mailbox);

#endif
