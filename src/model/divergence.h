/* How well a row of logits predicts a token, and how far it is from another row: what perplexity and KL
 * divergence are made of. Natural logarithms: everything is in nats.
 *
 * Rows are (n) unnormalised logits. -INFINITY is a probability of zero; a row with a NaN or +INFINITY, or
 * with nothing but -INFINITY, is no distribution, and whatever is computed from it is NaN. Sums are formed in
 * double precision, in order of the token ids. */
#ifndef CABINET_MODEL_DIVERGENCE_H
#define CABINET_MODEL_DIVERGENCE_H

#include <stddef.h>
#include <stdint.h>

/* log(sum(exp(logits))), computed around the largest logit so that it neither overflows nor underflows. */
double divergence_log_sum(const float *logits, size_t n);

/* The most likely token; ties go to the lower id, as in sampling. */
uint32_t divergence_top(const float *logits, size_t n);

/* KL(reference || other) = sum p (log p - log q) (Kullback and Leibler 1951), p and q being the softmax of
 * the rows, whose log sums are passed. A token with p = 0 adds nothing; p > 0 with q = 0 is INFINITY. Not
 * below 0 but for rounding. */
double divergence_kl(const float *reference, double reference_log_sum, const float *other,
                     double other_log_sum, size_t n);

/* exp(mean nll), and its standard error exp(mean) sqrt(var / (n - 1)) with var the mean squared deviation of
 * the n values: the delta method, as llama.cpp's perplexity tool states it. It takes tokens as independent,
 * which they are not quite. With one value the error is 0, which says nothing; n > 0. */
struct perplexity {
    double value, standard_error;
};
struct perplexity perplexity_of(const double *nll, size_t n);

double divergence_mean(const double *values, size_t n);

/* The value below which a fraction of the ascending values lie, 0 <= fraction <= 1, interpolated between
 * neighbours (Hyndman and Fan 1996, definition 7); n > 0. */
double divergence_quantile(const double *sorted, size_t n, double fraction);

#endif
