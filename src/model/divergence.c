#include "model/divergence.h"

#include <math.h>

uint32_t divergence_top(const float *logits, size_t n) {
    uint32_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = (uint32_t)i;
    return best;
}

double divergence_log_sum(const float *logits, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        if ((double)logits[i] > max) max = (double)logits[i];
    if (!isfinite(max)) return NAN;
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - max); /* a NaN stays one */
    return max + log(sum);
}

double divergence_kl(const float *reference, double reference_log_sum, const float *other,
                     double other_log_sum, size_t n) {
    double kl = 0;
    if (isnan(reference_log_sum) || isnan(other_log_sum)) return NAN;
    for (size_t i = 0; i < n; i++) {
        double log_p = (double)reference[i] - reference_log_sum, p = exp(log_p);
        if (p > 0) kl += p * (log_p - ((double)other[i] - other_log_sum));
    }
    return kl;
}

double divergence_mean(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

struct perplexity perplexity_of(const double *nll, size_t n) {
    double mean = divergence_mean(nll, n), squares = 0;
    for (size_t i = 0; i < n; i++) squares += (nll[i] - mean) * (nll[i] - mean);
    double error = n > 1 ? sqrt(squares / (double)n / (double)(n - 1)) : 0;
    return (struct perplexity){exp(mean), exp(mean) * error};
}

double divergence_quantile(const double *sorted, size_t n, double fraction) {
    double at = fraction * (double)(n - 1);
    size_t below = (size_t)at, above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}
