/* Who may ask: keys, and without keys only this machine.
 *
 * With keys every API route needs one, and what it shows of others needs an admin key. Without, a browser
 * could be made to talk to a server on loopback for a stranger's page (DNS rebinding): so only loopback names
 * are accepted as Host, and as Origin. */
#ifndef CABINET_SERVER_ACCESS_H
#define CABINET_SERVER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/api_error.h"

enum { ACCESS_KEY_MAX = 256, ACCESS_MAX_KEYS = 1024 };

struct access_key {
    char bytes[ACCESS_KEY_MAX]; /* padded with zeros */
};

struct access_keys {
    struct access_key *keys; /* (n) */
    size_t n;
};

/* Adds the keys of a file: one a line, '#' begins a comment. NOT_FOUND, INVALID (with the line, never the
 * key), TOO_LARGE. */
int access_keys_read(struct access_keys *keys, const char *path);
int access_keys_add(struct access_keys *keys, const char *key);
void access_keys_free(struct access_keys *keys);

struct access_policy {
    struct access_keys keys, admin_keys;
    bool is_open_to_all; /* --insecure: any Host, and the Origin of that host, without keys */
};

struct access_request {
    const char *authorization, *x_api_key, *host, *origin; /* headers; NULL where there is none */
};

struct caller {
    uint32_t key;  /* 1 + index of its key; 0: there are no keys */
    bool is_admin; /* may see everybody's */
};

enum access_need { ACCESS_ANYBODY, ACCESS_CALLER, ACCESS_ADMIN };

/* 0 and *caller, or negative and *error with 401 or 403. Takes the same time whichever key is wrong. */
int access_check(const struct access_policy *policy, enum access_need need,
                 const struct access_request *request, struct caller *caller, struct api_error *error);

/* Is this "localhost", 127.x.y.z or [::1], with or without a port, or ::1? */
bool access_is_loopback(const char *host);

#endif
