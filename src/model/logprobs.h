/* Log-probabilities of tokens, from the logits of one position. */
#ifndef CABINET_MODEL_LOGPROBS_H
#define CABINET_MODEL_LOGPROBS_H

#include <stdint.h>

enum { LOGPROBS_MAX_TOP = 20 };

struct token_logprob {
    int32_t token;
    float logprob; /* natural logarithm of the probability */
};

/* The log-probability of `token`, and in `top` the n_top (at most LOGPROBS_MAX_TOP) most likely tokens, most
 * likely first, ties by lower id. logits (n_vocab) stay as they are. -INFINITY if no probability is defined
 * (all logits are -INFINITY or some are NaN). */
float logprobs_of(const float *logits, uint32_t n_vocab, int32_t token, uint32_t n_top,
                  struct token_logprob *top);

#endif
