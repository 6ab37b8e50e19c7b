/* Who shares a cache: the salt that a request's blocks are kept under (kv_match). Two requests share, and can
 * notice each other in any figure, only if theirs are equal.
 *
 * A salt is 64 bits of an HMAC-SHA-256 under a secret of this process: nobody can work out which key and
 * `cache_salt` would collide with another's, and by chance two of a million do with a probability of 3e-8. */
#ifndef CABINET_SERVER_CACHE_SALT_H
#define CABINET_SERVER_CACHE_SALT_H

#include <stddef.h>
#include <stdint.h>

/* name, what shares */
#define SALT_BY_LIST(X)                                                                                      \
    X(key, "the requests of one key that have the same cache_salt")                                          \
    X(request, "all requests that have the same cache_salt")                                                 \
    X(none, "all requests")

enum salt_by {
    SALT_BY_default, /* key if there are several keys, else request */
#define X(name, meaning) SALT_BY_##name,
    SALT_BY_LIST(X)
#undef X
};

struct cache_salts {
    enum salt_by by; /* not the default */
    unsigned char secret[32];
};

enum { CACHE_SALT_LABEL = 17 };

/* An enum salt_by, or -1. */
int salt_by_named(const char *name);
/* n_keys: callers that can be told apart. IO: the system gives no random numbers. */
int cache_salts_open(struct cache_salts *salts, enum salt_by by, size_t n_keys);
void cache_salts_close(struct cache_salts *salts);
/* Of a caller (struct caller's key) and its cache_salt, NULL for none. NO_MEMORY. */
int cache_salt_of(const struct cache_salts *salts, uint32_t key, const char *cache_salt, uint64_t *salt);
/* What stands for a salt where it is shown: tells salts apart, and nothing else of them. NO_MEMORY. */
int cache_salt_label(const struct cache_salts *salts, uint64_t salt, char label[CACHE_SALT_LABEL]);

#endif
