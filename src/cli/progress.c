#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "hub/listing.h"

#define TERMINAL_INTERVAL_NS UINT64_C(200000000)
#define LOG_INTERVAL_NS UINT64_C(5000000000)

struct progress progress_make(struct clock clock) {
    return (struct progress){.clock = clock, .is_terminal = isatty(STDERR_FILENO) == 1};
}

void progress_end(struct progress *progress) {
    if (progress->has_line) fputs("\r\033[K", stderr);
    progress->has_line = false;
}

static void note(void *state, const char *text) {
    progress_end(state);
    fprintf(stderr, "cabinet: %s\n", text);
}

/* ", 12.3 MiB/s, 4 s left": what can be said of it. */
static void print_rate(const struct progress *progress, uint64_t now_ns, uint64_t done, uint64_t total) {
    double seconds = (double)(now_ns - progress->begun_ns) / 1e9;
    double rate = seconds > 0 ? (double)(done - progress->begun_done) / seconds : 0;
    if (!(rate > 0)) return;
    char buffer[CLI_BYTES_LENGTH];
    fprintf(stderr, ", %s/s", cli_format_bytes(buffer, rate));
    if (total == HUB_BYTES_UNKNOWN || total < done) return;
    uint64_t left_s = (uint64_t)((double)(total - done) / rate);
    if (left_s < 100)
        fprintf(stderr, ", %" PRIu64 " s left", left_s);
    else
        fprintf(stderr, ", %" PRIu64 " min left", left_s / 60);
}

static void show(void *state, const char *file, uint64_t done, uint64_t total) {
    struct progress *progress = state;
    uint64_t now_ns = clock_now_ns(&progress->clock);
    /* Another file, or the same one from its start. */
    bool is_first = progress->begun_ns == 0 || done < progress->last_done;
    if (is_first) {
        progress->begun_ns = progress->shown_ns = now_ns;
        progress->begun_done = done;
    }
    progress->last_done = done;
    uint64_t interval_ns = progress->is_terminal ? TERMINAL_INTERVAL_NS : LOG_INTERVAL_NS;
    /* A log is spared the downloads that take no time. */
    bool is_due = (is_first && progress->is_terminal) || now_ns - progress->shown_ns >= interval_ns;
    if (!is_due) return;
    progress->shown_ns = now_ns;
    char a[CLI_BYTES_LENGTH], b[CLI_BYTES_LENGTH];
    progress_end(progress);
    fprintf(stderr, "%s: %s", file, cli_format_bytes(a, (double)done));
    if (total != HUB_BYTES_UNKNOWN) fprintf(stderr, " of %s", cli_format_bytes(b, (double)total));
    print_rate(progress, now_ns, done, total);
    if (progress->is_terminal)
        progress->has_line = true;
    else
        fputc('\n', stderr);
    fflush(stderr);
}

struct pull_listener progress_listener(struct progress *progress) {
    return (struct pull_listener){.progress = show, .note = note, .state = progress};
}
