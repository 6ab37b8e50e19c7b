/* A line-up: one model run with several settings of its KV cache at once, token by token over the same text.
 *
 * Each setting is an engine of its own over the shared weights. They step through a window side by side: the
 * first computes a chunk, the others follow to the same position, and each row of logits is compared with
 * that of the setting it refers to. So a reference's logits are kept for one chunk only. */
#ifndef CABINET_CLI_LINEUP_H
#define CABINET_CLI_LINEUP_H

#include <signal.h>

#include "cli/comparison.h"
#include "engine/engine.h"

enum { LINEUP_MAX = 16, LINEUP_ALL_IN_TOKENS = 4096 };

struct setting {
    char name[KV_RULES_LENGTH + 16];
    struct kv_rules kv;
    bool is_again; /* the same numbers from other threads and chunks */
    int reference; /* index of the setting that this one is compared with, or -1 */
    /* A window that is not demoted takes so many times the memory there is; 0: there is enough */
    double pressure;
    /* found */
    size_t bytes_per_token; /* of a sealed block, scales and all; under pressure what a window's end held */
    uint64_t all_in_bytes, all_in_tokens; /* of so many tokens: sealed, sink and open blocks, slabs' waste */
    struct token_comparison *tokens;      /* (n_scored) of the latest window; NULL without a reference */
    /* within */
    struct engine *engine;
    struct sequence *sequence;
    struct request request;
    struct lineup *lineup;
    uint32_t n_delivered; /* positions of the window whose logits have come, or need not come */
    bool is_referred_to;
    float *rows;             /* (chunk_tokens, n_vocab) of the latest chunk, if others refer to it */
    double *log_sums, *nlls; /* (chunk_tokens) */
    uint32_t *tops;
};

struct lineup_opts {
    const struct model *model;
    struct team *team, *other_team;         /* the second for settings that are "again" */
    uint32_t n_context;                     /* longest window */
    uint64_t kv_memory_bytes;               /* most for all settings together */
    const volatile sig_atomic_t *interrupt; /* not 0: give up */
    /* Called after each chunk of a window. */
    void (*on_progress)(void *user, uint32_t n_done, uint32_t n_tokens);
    void *user;
};

struct lineup {
    struct lineup_opts opts;
    struct setting settings[LINEUP_MAX];
    unsigned n;
    uint32_t n_vocab, chunk_tokens;
    /* the window under way */
    const token_id *window;
    uint32_t n_window, first_scored, chunk_begin;
    int result;
};

/* Opens the engines of lineup->settings[0 .. n), whose name, kv, is_again and reference are set; a setting
 * stands behind its reference. INVALID for a format that the model's heads cannot take, FULL or NO_MEMORY. On
 * failure nothing is left to close. */
int lineup_open(struct lineup *lineup, const struct lineup_opts *opts);
void lineup_close(struct lineup *lineup);

/* Runs a window of n tokens through all settings and fills their `tokens`: entry i compares the predictions
 * of token first_target + i, up to token n - 1. n <= n_context, 1 <= first_target < n. CANCELLED, or CORRUPT
 * where logits are no distribution. */
int lineup_run(struct lineup *lineup, const token_id *window, uint32_t n, uint32_t first_target);

/* The logits behind `prompt` of one setting, at positions first .. n - 1, by `deliver` (request.on_logits).
 * Goes on from what that setting has cached of the last prompt. */
int lineup_ask(struct lineup *lineup, unsigned setting, const token_id *prompt, uint32_t n, uint32_t first,
               void (*deliver)(void *user, uint32_t position, uint32_t n_rows, const float *logits),
               void *user);

#endif
