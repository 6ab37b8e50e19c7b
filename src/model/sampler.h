/* From logits to the next token: penalties, temperature, top-k, top-p, min-p, and a draw.
 *
 * The draw for a position depends on the seed and that position alone (base/rng.h), so a seed gives one text
 * at any batch size, chunking and thread count. */
#ifndef CABINET_MODEL_SAMPLER_H
#define CABINET_MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel_set.h"

struct logit_bias {
    int32_t token;
    float bias;
};

struct sampler_opts {
    float temperature;    /* 0 takes the most likely token */
    uint32_t top_k;       /* keep the k most likely; 0 keeps all */
    float top_p;          /* keep the fewest most likely tokens whose probabilities reach p; 1 keeps all */
    float min_p;          /* drop tokens below min_p times the most likely one's probability; 0 drops none */
    float repeat_penalty; /* > 1 divides positive and multiplies negative logits of tokens seen anywhere; 1 is
                             off */
    float presence_penalty;  /* subtracted once from tokens in the output */
    float frequency_penalty; /* subtracted for each time a token is in the output */
    uint64_t seed;
    const struct logit_bias *biases; /* added to logits; borrowed */
    size_t n_biases;
};

/* Temperature 0.7, everything else off. */
struct sampler_opts sampler_defaults(void);
/* INVALID names the option that is out of range and the range. */
int sampler_check(const struct sampler_opts *opts);

struct sampler; /* scratch for one vocabulary; may serve any number of sequences, one after the other */
int sampler_open(struct sampler **sampler, const struct kernel_set *kernels, uint32_t n_vocab);
void sampler_close(struct sampler *sampler);

/* Picks the token for position n_tokens, after `tokens` of which the first n_prompt are the prompt.
 * logits (n_vocab) is changed. Ties go to the lower id. Allocates nothing. */
int32_t sampler_pick(struct sampler *sampler, const struct sampler_opts *opts, float *logits,
                     const int32_t *tokens, uint32_t n_tokens, uint32_t n_prompt);

#endif
