/* Calls to a Cabinet server's API, for verbs that look at one from the shell.
 *
 * What holds: certificates are checked (CURL_CA_BUNDLE or SSL_CERT_FILE may name others than the system's);
 * no redirect is followed, so that the key goes to the server that was named and nowhere else; answers are
 * bounded. */
#ifndef CABINET_HUB_API_CLIENT_H
#define CABINET_HUB_API_CLIENT_H

#include "base/text.h"

enum { API_CLIENT_MAX_BYTES = 64 << 20 };

struct api_client_opts {
    const char *url;    /* http or https, without a user name: "http://127.0.0.1:8080" */
    const char *key;    /* NULL: none */
    unsigned timeout_s; /* to connect, and for a connection on which nothing comes */
};

struct api_client;

/* INVALID: the URL is none, or the key could not stand in a header. */
int api_client_open(struct api_client **client, const struct api_client_opts *opts);
void api_client_close(struct api_client *client);
/* One request; `path` begins with a slash, `body` is JSON text or NULL. *answer, cleared first, is what a 2xx
 * brought. Else NOT_FOUND (404), INVALID (another 4xx) or IO, with what the server says or what hinders. */
int api_client_call(struct api_client *client, const char *method, const char *path, const char *body,
                    struct text *answer);

#endif
