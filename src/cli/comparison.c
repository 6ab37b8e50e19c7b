#include "cli/comparison.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/divergence.h"

static int by_value(const void *left, const void *right) {
    const double *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* kl and delta: (n) room for the values. */
static void fill(struct comparison_figures *figures, double *kl, double *delta, uint64_t n_same) {
    size_t n = (size_t)figures->n;
    double squares = 0;
    figures->delta_ln_ppl = divergence_mean(delta, n);
    for (size_t i = 0; i < n; i++)
        squares += (delta[i] - figures->delta_ln_ppl) * (delta[i] - figures->delta_ln_ppl);
    figures->delta_ln_ppl_stderr = n > 1 ? sqrt(squares / (double)n / (double)(n - 1)) : 0;
    figures->top1_agreement = (double)n_same / (double)n;
    figures->kl_mean = divergence_mean(kl, n);
    qsort(kl, n, sizeof *kl, by_value);
    figures->kl_median = divergence_quantile(kl, n, 0.5);
    figures->kl_p99 = divergence_quantile(kl, n, 0.99);
    figures->kl_max = kl[n - 1];
}

int comparison_figures(struct comparison_figures *figures, const struct token_comparison *tokens,
                       uint32_t n_windows, uint32_t stride, uint32_t begin, uint32_t end) {
    ASSERT(begin < end && end <= stride && n_windows > 0);
    uint32_t length = end - begin;
    *figures = (struct comparison_figures){.n = (uint64_t)n_windows * length};
    double *kl = mem_alloc(figures->n, sizeof *kl), *delta = mem_alloc(figures->n, sizeof *delta);
    uint64_t n_same = 0, at = 0;
    int result = kl == NULL || delta == NULL ? ERR_NO_MEMORY : 0;
    for (uint32_t window = 0; result == 0 && window < n_windows; window++) {
        for (uint32_t i = begin; i < end; i++, at++) {
            const struct token_comparison *token = &tokens[(size_t)window * stride + i];
            kl[at] = token->kl;
            delta[at] = token->delta_nll;
            n_same += token->is_same_top;
        }
    }
    if (result == 0) fill(figures, kl, delta, n_same);
    mem_free(kl);
    mem_free(delta);
    return result;
}
