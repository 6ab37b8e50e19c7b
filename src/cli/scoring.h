/* Scores a text with a model: for each scored token, how unexpected it was, and how far the model's
 * prediction is from a reference's.
 *
 * As llama.cpp's perplexity tool does it, so that figures can be compared: the text's tokens (behind the
 * model's BOS, if it wants one) are cut into chunks of n_context, a rest is left out, and each chunk is
 * computed by itself, its first token replaced by the BOS. Scored are the tokens of a chunk's second half:
 * the logits of positions n_context / 2 to n_context - 2 against the tokens that follow them. */
#ifndef CABINET_CLI_SCORING_H
#define CABINET_CLI_SCORING_H

#include <signal.h>

#include "cli/session.h"

/* Fewer tokens would leave nothing to take a standard error from. */
enum { SCORING_MIN_CONTEXT = 8 };
/* The session is opened with so many slice_rows. */
enum { SCORING_SLICE_ROWS = 64 };

struct scoring_opts {
    uint32_t n_context, max_chunks; /* of the session's context; UINT32_MAX: all chunks */
    const char *save_path;          /* write a reference file there, or NULL */
    const char *reference_path;     /* compare with this one, or NULL */
    /* Called before the first chunk (n_done 0) and after each. nll: of what is scored so far. */
    void (*on_chunk)(void *user, uint32_t n_done, uint32_t n_chunks, const double *nll, size_t n);
    void *user;
    const volatile sig_atomic_t *interrupt; /* not 0: give up; may be NULL */
};

/* What was found, by scored token: chunk after chunk, n_scored of each. */
struct scores {
    uint32_t n_context, n_chunks, n_scored;
    uint64_t n_tokens;             /* of the text, BOS included */
    uint64_t n;                    /* n_chunks * n_scored */
    double *nll;                   /* (n) -log p of the token that came */
    double *kl, *reference_nll;    /* (n) KL(reference || this); NULL without a reference */
    uint64_t n_same_top;           /* tokens for which both find the same token most likely */
    uint64_t reference_file_bytes; /* as long as a reference file is or would be */
};

/* The scores are the caller's to free, also after an error. INVALID for text that is not UTF-8 or too short,
 * and for a reference of something else; CANCELLED; CORRUPT for a damaged reference, or for a model whose
 * logits are no distribution. */
int scores_compute(struct scores *scores, struct session *session, const char *text,
                   const struct scoring_opts *opts);
void scores_free(struct scores *scores);

#endif
