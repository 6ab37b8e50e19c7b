/* What a client wants of its prefixes in the cache: bodies of /v1/kv routes, brought into one form. Pure, as
 * ask.h is. */
#ifndef CABINET_SERVER_KV_ASK_H
#define CABINET_SERVER_KV_ASK_H

#include "server/ask.h"

enum kv_ask_kind {
    KV_ASK_PIN,   /* a prefix, how long, how dear */
    KV_ASK_UNPIN, /* a prefix */
    KV_ASK_DROP,  /* a prefix, or everything */
    KV_ASK_PLAN,  /* a prompt: what it would cost */
};

enum { KV_TTL_SECONDS = 3600, KV_TTL_SECONDS_MAX = 366 * 24 * 3600 };

struct kv_ask {
    char *model;      /* "" when the client named none */
    char *cache_salt; /* NULL for none */
    char *label;      /* the salt whose prefixes are meant, as the list names it; NULL: the caller's */
    /* The prefix: one of these, none if everything is meant. */
    struct ask *ask; /* of a conversation or a text: with messages, or one prompt */
    token_id *ids;   /* (n_ids) */
    uint32_t n_ids;
    uint32_t max_tokens; /* of a plan beside ids; those of `ask` are its own */
    uint32_t ttl_seconds;
    uint8_t priority;
};

/* Reads a body; an empty one is {}. 0, or negative with *error filled; kv_ask_free either way. */
int kv_ask_parse(enum kv_ask_kind kind, const char *body, size_t length, const struct ask_limits *limits,
                 struct kv_ask *ask, struct api_error *error);
/* The query of a GET: cache_salt=TEXT, percent-encoded, and nothing else; "" for none. The same results. */
int kv_ask_parse_query(const char *query, struct kv_ask *ask, struct api_error *error);
void kv_ask_free(struct kv_ask *ask);

#endif
