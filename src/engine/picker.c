#include "engine/picker.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "sched/sequence.h"

/* Tokens of the vocabulary that end an answer: first to count, then to list them. */
static uint32_t list_ends(const struct tokenizer *tokenizer, uint32_t n_vocab, token_id *ends) {
    uint32_t n = 0;
    for (token_id id = 0; (uint32_t)id < n_vocab; id++) {
        if (!tokenizer_is_end(tokenizer, id)) continue;
        if (ends != NULL) ends[n] = id;
        n++;
    }
    return n;
}

int picker_open(struct picker *picker, const struct tokenizer *tokenizer, const struct kernel_set *kernels,
                uint32_t n_vocab, uint32_t max_rows, struct team *team) {
    *picker = (struct picker){.tokenizer = tokenizer, .team = team, .n_vocab = n_vocab};
    uint32_t n_known = tokenizer_n_tokens(tokenizer) < n_vocab ? tokenizer_n_tokens(tokenizer) : n_vocab;
    picker->n_ends = list_ends(tokenizer, n_known, NULL);
    picker->ends = mem_alloc(picker->n_ends, sizeof *picker->ends);
    picker->picks = mem_alloc(max_rows, sizeof *picker->picks);
    picker->tops = mem_alloc(max_rows, LOGPROBS_MAX_TOP * sizeof *picker->tops);
    picker->samplers = mem_alloc(team_size(team), sizeof(struct sampler *));
    picker->changed = mem_alloc((size_t)team_size(team) * n_vocab, sizeof *picker->changed);
    if (!picker->ends || !picker->picks || !picker->tops || !picker->samplers || !picker->changed)
        return ERR_NO_MEMORY;
    list_ends(tokenizer, n_known, picker->ends);
    for (uint32_t i = 0; i < max_rows; i++)
        picker->picks[i].top = picker->tops + (size_t)i * LOGPROBS_MAX_TOP;
    for (unsigned i = 0; i < team_size(team); i++) TRY(sampler_open(&picker->samplers[i], kernels, n_vocab));
    return 0;
}

void picker_close(struct picker *picker) {
    for (unsigned i = 0; picker->samplers != NULL && i < team_size(picker->team); i++)
        sampler_close(picker->samplers[i]);
    mem_free(picker->samplers);
    mem_free(picker->changed);
    mem_free(picker->tops);
    mem_free(picker->picks);
    mem_free(picker->ends);
    *picker = (struct picker){0};
}

static void apply_mask(float *logits, const uint32_t *mask, uint32_t n_vocab) {
    for (uint32_t first = 0; first < n_vocab; first += 32) {
        uint32_t word = mask[first / 32];
        if (word == UINT32_MAX) continue;
        for (uint32_t i = first; i < n_vocab && i < first + 32; i++)
            if ((word >> (i - first) & 1) == 0) logits[i] = -INFINITY;
    }
}

static void pick_one(void *argument, unsigned rank, size_t item) {
    const struct picker *picker = argument;
    struct pick *pick = &picker->picks[item];
    const struct request *request = pick->request;
    if (request == NULL) return;
    const struct sequence *sequence = request->sequence;
    float *logits = pick->logits;
    if (request->wants_logprobs) { /* of the distribution before anything changes it */
        logits = picker->changed + (size_t)rank * picker->n_vocab;
        memcpy(logits, pick->logits, picker->n_vocab * sizeof *logits);
    }
    if (pick->mask != NULL) apply_mask(logits, pick->mask, picker->n_vocab);
    if (request->n_output < request->min_output_tokens)
        for (uint32_t i = 0; i < picker->n_ends; i++) logits[picker->ends[i]] = -INFINITY;
    pick->token = sampler_pick(picker->samplers[rank], &request->sampling, logits, sequence->tokens,
                               sequence->n_tokens, request->n_prompt);
    pick->logprob = NAN;
    if (request->wants_logprobs)
        pick->logprob =
            logprobs_of(pick->logits, picker->n_vocab, pick->token, request->n_top_logprobs, pick->top);
}

void picker_run(struct picker *picker, uint32_t n) {
    team_for(n > 1 ? picker->team : NULL, n, 1, pick_one, picker);
}
