/* How far a download is, on stderr: one line in place on a terminal, otherwise a line now and then. */
#ifndef CABINET_CLI_PROGRESS_H
#define CABINET_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "hub/retry.h"

struct progress {
    struct clock clock;
    bool is_terminal;
    bool has_line;       /* on the terminal, without its end */
    uint64_t begun_ns;   /* when the rate's first byte came; 0: nothing came yet */
    uint64_t begun_done; /* how many there were by then */
    uint64_t last_done;
    uint64_t shown_ns;
};

struct progress progress_make(struct clock clock);
/* Borrows `progress`. */
struct pull_listener progress_listener(struct progress *progress);
/* Leaves the terminal's line empty for what follows. */
void progress_end(struct progress *progress);

#endif
