/* How far a setting's predictions are from a reference's, token by token, and the figures that sum it up. */
#ifndef CABINET_CLI_COMPARISON_H
#define CABINET_CLI_COMPARISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one scored token. */
struct token_comparison {
    double kl;        /* KL(reference || setting), nats */
    double delta_nll; /* -log p(token) of the setting less that of the reference */
    bool is_same_top; /* both find the same token most likely */
};

struct comparison_figures {
    uint64_t n; /* tokens */
    double kl_mean, kl_median, kl_p99, kl_max;
    double top1_agreement;
    /* Mean of the paired differences, and its standard error sqrt(var / (n - 1)), var being their mean
     * squared deviation: tokens count as independent, which they are not quite. */
    double delta_ln_ppl, delta_ln_ppl_stderr;
};

/* Figures of positions [begin, end) of each of n_windows windows of `stride` tokens; NO_MEMORY. */
int comparison_figures(struct comparison_figures *figures, const struct token_comparison *tokens,
                       uint32_t n_windows, uint32_t stride, uint32_t begin, uint32_t end);

#endif
