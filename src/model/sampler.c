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

struct sampler {
    uint32_t n_vocab;
    uint32_t *counts;             /* (n_vocab) all zero between calls */
    struct candidate *candidates; /* (n_vocab) */
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

int sampler_open(struct sampler **out, uint32_t n_vocab) {
    struct sampler *sampler = mem_alloc(1, sizeof *sampler);
    if (sampler == NULL) return ERR_NO_MEMORY;
    sampler->n_vocab = n_vocab;
    sampler->counts = mem_alloc(n_vocab, sizeof *sampler->counts);
    sampler->candidates = mem_alloc(n_vocab, sizeof *sampler->candidates);
    if (sampler->counts == NULL || sampler->candidates == NULL) {
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

static int32_t most_likely(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
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

/* The fewest best candidates whose probabilities reach top_p: they stand in front, best first. Sorts as many
 * as that takes, doubling. */
static size_t keep_top_p(struct candidate *candidates, size_t n, float top_p, float max, float temperature) {
    double total = 0;
    for (size_t i = 0; i < n; i++) total += exp((double)((candidates[i].logit - max) / temperature));
    double reached = 0;
    for (size_t begin = 0, end = 64; begin < n; begin = end, end *= 2) {
        if (end > n) end = n;
        select_best(candidates + begin, n - begin, end - begin);
        qsort(candidates + begin, end - begin, sizeof *candidates, by_logit);
        for (size_t i = begin; i < end; i++) {
            reached += exp((double)((candidates[i].logit - max) / temperature));
            if (reached >= (double)top_p * total) return i + 1;
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

int32_t sampler_pick(struct sampler *sampler, const struct sampler_opts *opts, float *logits,
                     const int32_t *tokens, uint32_t n_tokens, uint32_t n_prompt) {
    apply_penalties(sampler, opts, logits, tokens, n_tokens, n_prompt);
    int32_t best = most_likely(logits, sampler->n_vocab);
    float max = logits[best], temperature = opts->temperature;
    if (temperature == 0 || !isfinite(max)) return best;
    struct candidate *candidates = sampler->candidates;
    float floor = opts->min_p > 0 ? max + temperature * logf(opts->min_p) : -INFINITY;
    /* Top-p counts the probability of tokens that min-p drops afterwards; without top-p they need not be
     * listed. */
    float listed = opts->top_p < 1 ? -INFINITY : floor;
    size_t n = 0;
    for (uint32_t i = 0; i < sampler->n_vocab; i++)
        if (logits[i] >= listed) candidates[n++] = (struct candidate){logits[i], (int32_t)i};
    bool is_narrowed = false;
    if (opts->top_k > 0 && opts->top_k < n) {
        select_best(candidates, n, opts->top_k);
        n = opts->top_k;
        is_narrowed = true;
    }
    if (opts->top_p < 1) {
        n = keep_top_p(candidates, n, opts->top_p, max, temperature);
        while (n > 1 && candidates[n - 1].logit < floor) n--;
        is_narrowed = true;
    }
    if (is_narrowed) qsort(candidates, n, sizeof *candidates, by_token);
    return draw(candidates, n, max, temperature, rng_uniform(opts->seed, n_tokens));
}
