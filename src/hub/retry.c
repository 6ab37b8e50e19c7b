#include "hub/retry.h"

#include <stdio.h>
#include <time.h>

#include "base/err.h"

enum { MAX_DELAY_MS = 60000, SLICE_MS = 100 };

void pull_note(const struct pull_listener *listener, const char *text) {
    if (listener != NULL && listener->note != NULL) listener->note(listener->state, text);
}

/* In slices: a signal that arrives just before a sleep does not cut it short. */
static void wait_ms(uint64_t ms, const volatile sig_atomic_t *interrupt) {
    for (uint64_t left = ms; left > 0 && *interrupt == 0;) {
        uint64_t slice = left < SLICE_MS ? left : SLICE_MS;
        struct timespec time = {.tv_nsec = (long)slice * 1000000};
        (void)nanosleep(&time, NULL);
        left -= slice;
    }
}

bool retry_again(struct retry *retry) {
    if (retry->n_left == 0 || *retry->interrupt != 0) return false;
    char text[600];
    snprintf(text, sizeof text, "%s; trying again", err_message());
    pull_note(retry->listener, text);
    wait_ms(retry->delay_ms, retry->interrupt);
    retry->n_left--;
    retry->delay_ms = retry->delay_ms < MAX_DELAY_MS / 2 ? retry->delay_ms * 2 : MAX_DELAY_MS;
    return *retry->interrupt == 0;
}
