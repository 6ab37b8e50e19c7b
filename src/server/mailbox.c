#include "server/mailbox.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

struct mailbox {
    _Atomic(struct mail *) posted; /* latest first */
    int wake_fd;
    struct event *woken;
};

static void deliver_all(evutil_socket_t fd, short what, void *user) {
    (void)what;
    struct mailbox *mailbox = user;
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
    struct mail *latest = atomic_exchange(&mailbox->posted, NULL), *first = NULL;
    while (latest != NULL) { /* into the order of posting */
        struct mail *mail = latest;
        latest = mail->next;
        mail->next = first;
        first = mail;
    }
    while (first != NULL) {
        struct mail *mail = first;
        first = mail->next;
        /* From here on it may be posted again. An exchange, so that who found it posted is seen. */
        (void)atomic_exchange(&mail->is_posted, false);
        mail->deliver(mail->user);
    }
}

int mailbox_open(struct mailbox **out, struct event_base *base) {
    struct mailbox *mailbox = mem_alloc(1, sizeof *mailbox);
    if (mailbox == NULL) return ERR_NO_MEMORY;
    mailbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->wake_fd < 0) {
        mem_free(mailbox);
        return ERR(IO, "no event descriptor: %s", strerror(errno));
    }
    mailbox->woken = event_new(base, mailbox->wake_fd, EV_READ | EV_PERSIST, deliver_all, mailbox);
    if (mailbox->woken == NULL || event_add(mailbox->woken, NULL) != 0) {
        mailbox_close(mailbox);
        return ERR(NO_MEMORY, "no memory for an event");
    }
    *out = mailbox;
    return 0;
}

void mailbox_close(struct mailbox *mailbox) {
    if (mailbox == NULL) return;
    if (mailbox->woken != NULL) event_free(mailbox->woken);
    close(mailbox->wake_fd);
    mem_free(mailbox);
}

void mailbox_post_quietly(struct mailbox *mailbox, struct mail *mail) {
    if (atomic_exchange(&mail->is_posted, true)) return;
    mail->next = atomic_load(&mailbox->posted);
    while (!atomic_compare_exchange_weak(&mailbox->posted, &mail->next, mail)) continue;
}

void mailbox_wake(struct mailbox *mailbox) {
    if (atomic_load(&mailbox->posted) == NULL) return;
    const uint64_t one = 1;
    (void)!write(mailbox->wake_fd, &one, sizeof one);
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail) {
    mailbox_post_quietly(mailbox, mail);
    mailbox_wake(mailbox);
}
