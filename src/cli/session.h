/* One model with a team and an engine, as the verbs that run a model need them. */
#ifndef CABINET_CLI_SESSION_H
#define CABINET_CLI_SESSION_H

#include <argp.h>

#include "engine/engine.h"

struct session_opts {
    const char *model;           /* a path or a short name */
    unsigned n_threads;          /* 0: all cores */
    uint64_t kv_memory_bytes;    /* 0: half of the free memory */
    uint64_t weight_cache_bytes; /* that repacked weights may take on disk; 0: none are kept */
    uint32_t max_tokens;         /* 0: default_tokens */
    uint32_t default_tokens;     /* or the model's own context where that is shorter; 0: the model's own */
    uint32_t max_sequences;
    uint32_t chunk_tokens;
    double chunk_factor; /* see engine_opts, as n_cached */
    uint32_t n_cached;
    uint32_t slice_rows; /* see engine_opts */
    struct kv_price price;
    const struct evict_policy *retain;
    struct kv_rules kv;
};

struct session {
    struct kv_price price;
    struct team *team;
    struct model model;
    struct engine *engine;
    uint32_t max_tokens;
    unsigned n_threads;
};

/* Defaults: one sequence, f16, chunks of 512, a weight cache of 16 GiB. */
struct session_opts session_defaults(void);
/* --kv, --kv-memory, --weight-cache and --threads, for a verb's argp: the child's input is its session_opts,
 * which the verb sets in state->child_inputs at ARGP_KEY_INIT. */
extern const struct argp_child session_argp_children[];
/* The same and, as second child, prices: its input is a struct kv_price. */
extern const struct argp_child session_price_argp_children[];
/* Opens all of it. Errors name what and how much. */
int session_open(struct session *session, const struct session_opts *opts);
void session_close(struct session *session);

#endif
