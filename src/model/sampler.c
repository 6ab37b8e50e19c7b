#include "model/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

struct candidate {
    float logit;
    int32_t token;
};

/* Logits are looked through in blocks of so many: for the best of each, or the weight of each. */
enum { BLOCK_LOGITS = 128 };

struct sampler {
    const struct kernel_set *kernels;
    uint32_t n_vocab, n_blocks;
    uint32_t *counts;             /* (n_vocab) all zero between calls */
    struct candidate *candidates; /* (n_vocab) */
    struct candidate *best;       /* (n_blocks) of each block */
    double *weights;              /* (n_blocks) of all of a block */
};

struct sampler_opts sampler_defaults(void) {
    return (struct sampler_opts){.temperature = 0.7f, .top_p = 1, .repeat_penalty = 1};
}

static int check_range(const char *name, float value, float low, float high) {
    if (value >= low && value <= high) return 0; /* false for NaN */
    return ERR(INVALID, "%s %g is outside %g .. %g", name, (double)value, (double)low, (double)high);
}

int sampler_check(const struct sampler_opts *opts) {
    TRY(check_range("temperature", opts->temperature, 0, 100));
    TRY(check_range("top-p", opts->top_p, 0, 1));
    TRY(check_range("min-p", opts->min_p, 0, 1));
    TRY(check_range("repeat-penalty", opts->repeat_penalty, 0.01f, 100));
    TRY(check_range("presence-penalty", opts->presence_penalty, -100, 100));
    return check_range("frequency-penalty", opts->frequency_penalty, -100, 100);
}

int sampler_open(struct sampler **out, const struct kernel_set *kernels, uint32_t n_vocab) {
    struct sampler *sampler = mem_alloc(1, sizeof *sampler);
    if (sampler == NULL) return ERR_NO_MEMORY;
    sampler->kernels = kernels;
    sampler->n_vocab = n_vocab;
    sampler->n_blocks = (n_vocab + BLOCK_LOGITS - 1) / BLOCK_LOGITS;
    sampler->counts = mem_alloc(n_vocab, sizeof *sampler->counts);
    sampler->candidates = mem_alloc(n_vocab, sizeof *sampler->candidates);
    sampler->best = mem_alloc(sampler->n_blocks, sizeof *sampler->best);
    sampler->weights = mem_alloc(sampler->n_blocks, sizeof *sampler->weights);
    if (!sampler->counts || !sampler->candidates || !sampler->best || !sampler->weights) {
        sampler_close(sampler);
        return ERR_NO_MEMORY;
    }
    *out = sampler;
    return 0;
}

void sampler_close(struct sampler *sampler) {
    if (sampler == NULL) return;
    mem_free(sampler->counts);
    mem_free(sampler->candidates);
    mem_free(sampler->best);
    mem_free(sampler->weights);
    mem_free(sampler);
}

/* The penalty of Keskar et al. 2019 (CTRL), which pushes a logit down whatever its sign. */
static void repeat_penalty(float *logit, const struct sampler_opts *opts) {
    *logit = *logit > 0 ? *logit / opts->repeat_penalty : *logit * opts->repeat_penalty;
}

static void apply_penalties(struct sampler *sampler, const struct sampler_opts *opts, float *logits,
                            const int32_t *tokens, uint32_t n_tokens, uint32_t n_prompt) {
    if (opts->repeat_penalty != 1) {
        for (uint32_t i = 0; i < n_tokens; i++)
            if (sampler->counts[tokens[i]]++ == 0) repeat_penalty(&logits[tokens[i]], opts);
        for (uint32_t i = 0; i < n_tokens; i++) sampler->counts[tokens[i]] = 0;
    }
    if (opts->presence_penalty != 0 || opts->frequency_penalty != 0) {
        for (uint32_t i = n_prompt; i < n_tokens; i++) {
            if (sampler->counts[tokens[i]]++ == 0) logits[tokens[i]] -= opts->presence_penalty;
            logits[tokens[i]] -= opts->frequency_penalty;
        }
        for (uint32_t i = n_prompt; i < n_tokens; i++) sampler->counts[tokens[i]] = 0;
    }
    for (size_t i = 0; i < opts->n_biases; i++) {
        int32_t token = opts->biases[i].token;
        if (token >= 0 && (uint32_t)token < sampler->n_vocab) logits[token] += opts->biases[i].bias;
    }
}

/* How many logits the i-th block has. */
static uint32_t block_size(const struct sampler *sampler, uint32_t block) {
    const uint32_t left = sampler->n_vocab - block * BLOCK_LOGITS;
    return left < BLOCK_LOGITS ? left : BLOCK_LOGITS;
}

/* The token of the largest logit; fills `best`. */
static int32_t most_likely(struct sampler *sampler, const float *logits) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < sampler->n_blocks; i++) {
        const float *block = logits + (size_t)i * BLOCK_LOGITS;
        const size_t at = sampler->kernels->largest(block, block_size(sampler, i));
        sampler->best[i] = (struct candidate){block[at], (int32_t)(i * BLOCK_LOGITS + at)};
        const float logit = sampler->best[most].logit;
        if (block[at] > logit || (isnan(logit) && !isnan(block[at]))) most = i;
    }
    return sampler->best[most].token;
}

/* Descending logit; ties by ascending id, so that the order is total. */
static int by_logit(const void *left, const void *right) {
    const struct candidate *a = left, *b = right;
    if (a->logit != b->logit) return a->logit < b->logit ? 1 : -1;
    return a->token < b->token ? -1 : a->token > b->token;
}

/* Moves the k best of n candidates to the front, in no order (Hoare's selection, on the total order). */
static void select_best(struct candidate *candidates, size_t n, size_t k) {
    size_t low = 0, high = n;
    while (high - low > 1 && k > low && k < high) {
        struct candidate pivot = candidates[low + (high - low) / 2];
        size_t less = low, i = low, greater = high;
        while (i < greater) {
            int order = by_logit(&candidates[i], &pivot);
            struct candidate swap = candidates[i];
            if (order < 0) {
                candidates[i++] = candidates[less];
                candidates[less++] = swap;
            } else if (order > 0) {
                candidates[i] = candidates[--greater];
                candidates[greater] = swap;
            } else {
                i++;
            }
        }
        if (k <= less)
            high = less;
        else if (k >= greater)
            low = greater;
        else
            return;
    }
}

/* A logit that the k best all reach, and few others: of the blocks' best the k-th. */
static float reached_by_best(struct sampler *sampler, uint32_t k) {
    if (k >= sampler->n_blocks) return -INFINITY;
    for (uint32_t i = 0; i < sampler->n_blocks; i++)
        if (isnan(sampler->best[i].logit)) return -INFINITY;
    select_best(sampler->best, sampler->n_blocks, k);
    float least = INFINITY;
    for (uint32_t i = 0; i < k; i++) least = fminf(least, sampler->best[i].logit);
    return least;
}

/* exp((logit - max) / temperature) of all logits, summed up. */
static double weigh_all(const struct sampler *sampler, const float *logits, float max, float temperature) {
    double total = 0;
    float weights[BLOCK_LOGITS];
    for (uint32_t i = 0; i < sampler->n_blocks; i++)
        total += sampler->kernels->soften(weights, logits + (size_t)i * BLOCK_LOGITS, block_size(sampler, i),
                                          max, temperature);
    return total;
}

static size_t list_from(const struct sampler *sampler, const float *logits, float least) {
    size_t n = 0;
    for (uint32_t i = 0; i < sampler->n_vocab; i++)
        if (logits[i] >= least) sampler->candidates[n++] = (struct candidate){logits[i], (int32_t)i};
    return n;
}

/* The fewest best candidates whose weights reach `wanted`: they stand in front, best first. Sorts as many as
 * that takes, doubling. */
static size_t keep_best(struct candidate *candidates, size_t n, double wanted, float max, float temperature) {
    double reached = 0;
    for (size_t begin = 0, end = 64; begin < n; begin = end, end *= 2) {
        if (end > n) end = n;
        select_best(candidates + begin, n - begin, end - begin);
        qsort(candidates + begin, end - begin, sizeof *candidates, by_logit);
        for (size_t i = begin; i < end; i++) {
            reached += exp((double)((candidates[i].logit - max) / temperature));
            if (reached >= wanted) return i + 1;
        }
    }
    return n;
}

static int by_token(const void *left, const void *right) {
    const struct candidate *a = left, *b = right;
    return (a->token > b->token) - (a->token < b->token);
}

/* Draws among the candidates, in their order, in proportion to exp(logit / temperature). */
static int32_t draw(struct candidate *candidates, size_t n, float max, float temperature, double uniform) {
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        candidates[i].logit = expf((candidates[i].logit - max) / temperature);
        total += (double)candidates[i].logit;
    }
    double target = uniform * total, reached = 0;
    for (size_t i = 0; i < n; i++) {
        reached += (double)candidates[i].logit;
        if (reached > target) return candidates[i].token;
    }
    return candidates[n - 1].token;
}

/* The same among all tokens; logits become weights. */
static int32_t draw_of_all(struct sampler *sampler, float *logits, int32_t best, float temperature,
                           double uniform) {
    const float max = logits[best];
    double total = 0, reached = 0;
    for (uint32_t i = 0; i < sampler->n_blocks; i++) {
        float *block = logits + (size_t)i * BLOCK_LOGITS;
        sampler->weights[i] =
            sampler->kernels->soften(block, block, block_size(sampler, i), max, temperature);
        total += sampler->weights[i];
    }
    const double target = uniform * total;
    uint32_t block = 0;
    for (; block + 1 < sampler->n_blocks && reached + sampler->weights[block] <= target; block++)
        reached += sampler->weights[block];
    for (uint32_t i = block * BLOCK_LOGITS; i < sampler->n_vocab; i++) {
        reached += (double)logits[i];
        if (logits[i] > 0 && reached > target) return (int32_t)i;
    }
    return best; /* what rounding left over at the end */
}

/* Candidates that top-k and top-p leave, and perhaps some that min-p drops. */
static size_t narrow(struct sampler *sampler, const struct sampler_opts *opts, const float *logits, float max,
                     float floor) {
    const float temperature = opts->temperature;
    struct candidate *candidates = sampler->candidates;
    size_t n;
    double total = 0;
    if (opts->top_k > 0 && opts->top_k < sampler->n_vocab) {
        n = list_from(sampler, logits, reached_by_best(sampler, opts->top_k));
        if (n > opts->top_k) {
            select_best(candidates, n, opts->top_k);
            n = opts->top_k;
        }
        for (size_t i = 0; i < n && opts->top_p < 1; i++)
            total += exp((double)((candidates[i].logit - max) / temperature));
    } else if (opts->top_p < 1) {
        /* Tokens lighter than (1 - p) / n_vocab of the total weigh less than 1 - p together, so the others
         * reach p. Half of that is far from what rounding may decide. */
        total = weigh_all(sampler, logits, max, temperature);
        const double lightest = 0.5 * (1 - (double)opts->top_p) * total / sampler->n_vocab;
        n = list_from(sampler, logits, max + temperature * (float)log(lightest));
    } else {
        n = list_from(sampler, logits, floor);
    }
    if (opts->top_p < 1) n = keep_best(candidates, n, (double)opts->top_p * total, max, temperature);
    return n;
}

int32_t sampler_pick(struct sampler *sampler, const struct sampler_opts *opts, float *logits,
                     const int32_t *tokens, uint32_t n_tokens, uint32_t n_prompt) {
    apply_penalties(sampler, opts, logits, tokens, n_tokens, n_prompt);
    const int32_t best = most_likely(sampler, logits);
    const float max = logits[best], temperature = opts->temperature;
    if (temperature == 0 || !isfinite(max)) return best;
    const double uniform = rng_uniform(opts->seed, n_tokens);
    const bool takes_all = opts->top_k == 0 || opts->top_k >= sampler->n_vocab;
    if (takes_all && opts->top_p >= 1 && opts->min_p <= 0)
        return draw_of_all(sampler, logits, best, temperature, uniform);
    /* Top-k and top-p count the probability of tokens that min-p drops. */
    const float floor = opts->min_p > 0 ? max + temperature * logf(opts->min_p) : -INFINITY;
    struct candidate *candidates = sampler->candidates;
    size_t n = narrow(sampler, opts, logits, max, floor), n_kept = 0;
    for (size_t i = 0; i < n; i++)
        if (candidates[i].logit >= floor) candidates[n_kept++] = candidates[i];
    qsort(candidates, n_kept, sizeof *candidates, by_token);
    return draw(candidates, n_kept, max, temperature, uniform);
}
