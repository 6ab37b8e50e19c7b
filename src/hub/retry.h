/* Bounded attempts, with a wait between them that doubles. */
#ifndef CABINET_HUB_RETRY_H
#define CABINET_HUB_RETRY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Whom a pull tells how it gets on. All of it is optional. */
struct pull_listener {
    /* A file's bytes so far, those of an earlier run included; `total` may be HUB_BYTES_UNKNOWN. */
    void (*progress)(void *state, const char *file, uint64_t done, uint64_t total);
    /* One line of text. */
    void (*note)(void *state, const char *text);
    void *state;
};

struct retry {
    unsigned n_left;   /* attempts after the first */
    uint64_t delay_ms; /* before the next one */
    const volatile sig_atomic_t *interrupt;
    const struct pull_listener *listener;
};

/* After a failed attempt: says why (the latest error) and waits; true if there is one more to make. */
bool retry_again(struct retry *retry);
void pull_note(const struct pull_listener *listener, const char *text);

#endif
