/* One file from a URL to its place: resumed, retried, checked. */
#ifndef CABINET_HUB_DOWNLOAD_H
#define CABINET_HUB_DOWNLOAD_H

#include "hub/http.h"
#include "hub/retry.h"

/* What is asked for. */
struct download {
    const char *url;
    const char *path;   /* where it shall lie; its folders are made */
    uint64_t bytes;     /* as published, or HUB_BYTES_UNKNOWN: then what the server says holds */
    const char *sha256; /* as published, or "" */
};

struct download_result {
    uint64_t bytes;              /* of the file */
    uint64_t downloaded_bytes;   /* that came over the network */
    uint64_t resumed_bytes;      /* that an earlier run had left, and that were of use */
    char sha256[SHA256_HEX + 1]; /* as computed */
    bool is_checked;             /* and equal to a published one */
};

/* On failure, what can be resumed stays beside the path, and the message says so; what is wrong (another
 * SHA-256, length or kind of file than promised) does not. NOT_FOUND, IO, CORRUPT, INVALID (the server
 * refuses), CANCELLED, … */
int download(struct http_client *client, const struct download *wanted, struct retry retry,
             struct download_result *result);

/* The error for an answer that is neither 200 nor 206: what it means for `what`. */
int download_refused(const struct http_response *response, const char *what);

#endif
