#include "model/logprobs.h"

#include <math.h>

#include "base/err.h"

/* Keeps `top` (n entries so far, of at most n_top) in falling order. Equal ones stay behind those that came
 * first, which have the lower id. */
static uint32_t insert(struct token_logprob *top, uint32_t n, uint32_t n_top, struct token_logprob entry) {
    if (n == n_top && !(entry.logprob > top[n - 1].logprob)) return n;
    uint32_t at = n < n_top ? n : n_top - 1;
    for (; at > 0 && entry.logprob > top[at - 1].logprob; at--) top[at] = top[at - 1];
    top[at] = entry;
    return n < n_top ? n + 1 : n;
}

float logprobs_of(const float *logits, uint32_t n_vocab, int32_t token, uint32_t n_top,
                  struct token_logprob *top) {
    ASSERT(n_top <= LOGPROBS_MAX_TOP && n_top <= n_vocab && token >= 0 && (uint32_t)token < n_vocab);
    float max = -INFINITY;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (logits[i] > max) max = logits[i];
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) sum += (double)expf(logits[i] - max);
    float log_sum = (float)log(sum); /* apart from max, which may be too large to keep its digits in a sum */
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_vocab && n_top > 0; i++)
        n = insert(top, n, n_top, (struct token_logprob){(int32_t)i, logits[i]});
    for (uint32_t i = 0; i < n_top; i++)
        top[i].logprob = isfinite(log_sum) ? top[i].logprob - max - log_sum : -INFINITY;
    return isfinite(log_sum) ? logits[token] - max - log_sum : -INFINITY;
}
