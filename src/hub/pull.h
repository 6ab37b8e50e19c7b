/* A model by its name, from the hub or another server into the cache folder. */
#ifndef CABINET_HUB_PULL_H
#define CABINET_HUB_PULL_H

#include "hub/download.h"
#include "hub/name.h"

struct pull_opts {
    struct http_opts http;
    unsigned n_retries;
    uint64_t retry_delay_ms;
    const struct pull_listener *listener;
};

struct pull_file {
    char *path; /* absolute */
    bool was_there;
    struct download_result result; /* of a file that was there: its bytes alone */
};
struct pull_result {
    struct pull_file *files; /* all parts of a split model, in order */
    unsigned n_files;
};

/* Asks the hub what it has, chooses, and downloads what is not there yet. On failure `result` is empty;
 * complete files and parts stay. */
int pull(const struct hub_name *name, const struct pull_opts *opts, struct pull_result *result);
void pull_result_free(struct pull_result *result);

#endif
