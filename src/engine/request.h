/* A request: what a client asked of the model, and what became of it. */
#ifndef CABINET_ENGINE_REQUEST_H
#define CABINET_ENGINE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/bill.h"
#include "model/logprobs.h"
#include "model/sampler.h"
#include "model/tokenizer.h"

struct constraint;
struct sequence;

enum finish_reason {
    FINISH_NONE,    /* still running */
    FINISH_END,     /* the model ended its answer */
    FINISH_STOPPED, /* on_token said so */
    FINISH_LENGTH,  /* max_output_tokens reached */
    FINISH_CONTEXT, /* the context is full */
    FINISH_CANCELLED,
    FINISH_FAILED, /* `error` says how; err_message() right after the step says why */
};

/* An output token, as it is delivered. */
struct token_report {
    token_id token;
    float logprob; /* NAN unless wants_logprobs */
    uint32_t n_top;
    const struct token_logprob *top; /* (n_top) borrowed for the call */
};

/* The caller owns it and keeps it until it is finished. Callbacks come from inside engine_step (on_finish
 * also from engine_cancel), and may call engine_cancel but nothing else of the engine. */
struct request {
    /* asked */
    struct sequence *sequence;
    struct sampler_opts sampling;
    uint32_t max_output_tokens;
    uint32_t min_output_tokens; /* before that no end token is taken */
    bool ignores_end;           /* goes on after an end token, as benchmarks want */
    bool skips_cache;           /* computes what other sequences have cached, as benchmarks want */
    bool releases_cache;        /* at its end the sequence gives its slots back; full blocks stay findable */
    bool wants_logprobs;
    uint32_t n_top_logprobs;       /* at most LOGPROBS_MAX_TOP */
    int32_t priority;              /* lower goes first */
    uint64_t salt;                 /* only sequences of equal salt share */
    struct constraint *constraint; /* borrowed: what the output must be; NULL: anything */
    uint32_t *mask;                /* with a constraint: room for a bit for each token of the vocabulary */
    /* May be NULL; end tokens are not delivered. True stops the answer behind this token. */
    bool (*on_token)(void *user, const struct token_report *token);
    /* May be NULL. Else it gets the logits of the prompt's positions from first_logits on, in order and in
     * slices: (n_rows, n_vocab) for `position` and those after it, borrowed for the call. What is cached is
     * reused only up to first_logits. */
    void (*on_logits)(void *user, uint32_t position, uint32_t n_rows, const float *logits);
    uint32_t first_logits;
    void (*on_finish)(void *user); /* may be NULL; the last that is heard of the request, which may go then */
    void *user;
    /* became of it */
    enum finish_reason finish;
    int error;
    uint32_t n_prompt, n_cached, n_output; /* tokens: asked, found in the cache, generated */
    /* Of the engine's clock: handed in, first rows computed, tokens taken. 0: not yet. */
    uint64_t submitted_ns, started_ns, first_token_ns, last_token_ns;
    struct kv_bill bill; /* up to now; complete when it is finished */
};

#endif
