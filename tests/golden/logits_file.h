/* Golden logits: the files of tests/golden, and how far tested logits are from them.
 *
 * Two formats, told apart by their magic and described in README.md: *full* files hold every logit, *compact*
 * files the n_top most probable next tokens of their last n_rows positions and the mass of all others. */
#ifndef CABINET_TESTS_LOGITS_FILE_H
#define CABINET_TESTS_LOGITS_FILE_H

#include <stddef.h>
#include <stdint.h>

struct logits_file {
    uint32_t n_tokens;
    uint32_t n_vocab;
    uint32_t n_top;            /* 0 in a full file */
    uint32_t n_rows;           /* the last n_rows positions have logits here; all in a full file */
    const int32_t *tokens;     /* (n_tokens): the input; the last row predicts what follows the last token */
    const float *logits;       /* full: (n_tokens, n_vocab), else NULL */
    const float *log_rest;     /* compact: (n_rows), log of the mass outside the top, else NULL */
    const float *top_logprobs; /* compact: (n_rows, n_top), falling */
    const void *top_ids;       /* compact: (n_rows, n_top) of u16, of u32 if n_vocab > 65536 */
    void *bytes;               /* the file; everything above points into it */
};

/* Reads a file of either format. Pointers live until logits_file_free. NOT_FOUND, IO, NO_MEMORY, or CORRUPT
 * (wrong magic, length or token ids); *file is zeroed on failure. */
int logits_file_read(struct logits_file *file, const char *path);
void logits_file_free(struct logits_file *file); /* a zeroed or freed one is fine */

/* Sums over the positions compared so far. Start from {.margin = m}, zero otherwise. All in double precision.
 */
struct logits_compare {
    double margin; /* nats by which the golden winner must lead before another top 1 counts as wrong */
    double kl_mean,
        kl_max;           /* KL(golden || tested) in nats; INFINITY once a tested logit was NaN or infinite */
    double max_abs_diff;  /* full: of logits; compact: of log-probabilities of the top tokens */
    double mean_abs_diff; /* over all compared values */
    double worst_lead;    /* the golden winner's largest lead over a different top 1 */
    size_t n;             /* positions */
    size_t top1_equal;
    size_t top1_wrong_beyond_margin;
    size_t n_not_finite; /* tested logits that are NaN or infinite */
};

/* Compares `logits` (n_vocab) with the file's `row`. In a compact file the KL is over n_top + 1 buckets, the
 * last of them all other tokens: a lower bound of the full KL. INVALID if there is no such row. */
int logits_compare_row(struct logits_compare *compare, const struct logits_file *file, size_t row,
                       const float *logits);
/* The same for every row: `logits` is (n_rows, n_vocab). */
int logits_compare_all(struct logits_compare *compare, const struct logits_file *file, const float *logits);

#endif
