/* GET over HTTP and HTTPS, with the redirects followed: the one place that knows libcurl.
 *
 * What holds: certificates are checked (CURL_CA_BUNDLE or SSL_CERT_FILE may name others than the system's); a
 * redirect never leads from https to http; at most HTTP_MAX_REDIRECTS are followed; the token goes to the
 * endpoint's scheme, host and port and nowhere else, and in the clear only to this machine. */
#ifndef CABINET_HUB_HTTP_H
#define CABINET_HUB_HTTP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "hub/listing.h"

enum { HTTP_MAX_REDIRECTS = 8, HTTP_ETAG_LENGTH = 256 };

struct http_opts {
    const char *endpoint;
    const char *token;  /* NULL: none */
    unsigned timeout_s; /* to connect, and for a connection on which nothing comes */
    const volatile sig_atomic_t *interrupt;
};

struct http_request {
    const char *url;
    uint64_t offset;      /* > 0: asks for the bytes from there on */
    const char *if_range; /* "", or the ETag without which the whole is wanted */
};

struct http_response {
    unsigned status;             /* of the last hop */
    bool is_transient;           /* another attempt may go better */
    uint64_t length;             /* of the body, or HUB_BYTES_UNKNOWN */
    char etag[HTTP_ETAG_LENGTH]; /* a strong one in its quotes, or "" */
    bool has_range;              /* a Content-Range that is well-formed */
    uint64_t range_first, total; /* of it; `total` may be HUB_BYTES_UNKNOWN */
    /* What the first hop that says so publishes about the file (X-Linked-ETag, X-Linked-Size). */
    char sha256[SHA256_HEX + 1];
    uint64_t linked_bytes;
};

/* Takes the body of an answer 200 or 206; a negative result ends the transfer and is http_get's. */
struct http_sink {
    int (*begin)(void *state, const struct http_response *response); /* once, before `take` */
    int (*take)(void *state, const void *bytes, size_t n);
    void *state;
};

struct http_client;

/* INVALID: the token would travel in the clear. */
int http_open(struct http_client **client, const struct http_opts *opts);
void http_close(struct http_client *client);

/* 0 whenever a server answered: see response->status. IO (connection, certificate, redirects), CANCELLED, or
 * what the sink returned; `response` is filled as far as it is known. */
int http_get(struct http_client *client, const struct http_request *request, const struct http_sink *sink,
             struct http_response *response);

/* ---- of libcurl, for every client in this folder ---- */

/* A handle for http and https that keeps its last error in `message`, (CURL_ERROR_SIZE), and gives up after
 * timeout_s to connect or with fewer bytes a second than that. INTERNAL, NO_MEMORY. */
int http_handle_open(void **handle, char *message, unsigned timeout_s, long least_bytes_per_second);
void http_handle_close(void *handle); /* NULL is allowed */
/* INTERNAL: what there is to say when an option of a handle cannot be set. */
int http_handle_lacks(void);
/* The header that carries a token, to be freed with mem_free; INVALID with the complaint if it could not
 * stand in one. */
int http_bearer(char **line, const char *token, const char *complaint);

#endif
