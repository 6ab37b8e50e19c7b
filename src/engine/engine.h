/* The engine: runs what sched/ decides on the model, step by step, and keeps every request's account.
 *
 * One thread owns an engine and everything it hands out. A caller opens sequences, submits requests on them,
 * and calls engine_step until its requests are done; tokens arrive through a request's callback, inside the
 * step. */
#ifndef CABINET_ENGINE_ENGINE_H
#define CABINET_ENGINE_ENGINE_H

#include <stdbool.h>

#include "base/clock.h"
#include "model/model.h"
#include "model/sampler.h"
#include "sched/sequence.h"

struct engine;

struct engine_opts {
    uint64_t kv_memory_bytes; /* most bytes of KV; no more is taken than max_sequences of max_tokens need */
    enum codec_id codec;
    uint32_t max_sequences; /* open at once */
    uint32_t max_tokens;    /* of one sequence: the context */
    uint32_t chunk_tokens;  /* most prompt tokens of one step */
    uint32_t slice_rows;    /* logits of prompt rows are computed so many at a time; 0: max_sequences */
    struct clock clock;
};

enum finish_reason {
    FINISH_NONE,    /* still running */
    FINISH_END,     /* the model ended its answer */
    FINISH_LENGTH,  /* max_output_tokens reached */
    FINISH_CONTEXT, /* the context is full */
    FINISH_CANCELLED,
    FINISH_FAILED, /* `error` says how; err_message() right after the step says why */
};

/* What a client asked, and what became of it. The caller owns it and keeps it until it is finished. */
struct request {
    /* asked */
    struct sequence *sequence;
    struct sampler_opts sampling;
    uint32_t max_output_tokens;
    bool ignores_end;                             /* goes on after an end token, as benchmarks want */
    void (*on_token)(void *user, token_id token); /* may be NULL; end tokens are not delivered */
    /* May be NULL. Else it gets the logits of the prompt's positions from first_logits on, in order and in
     * slices: (n_rows, n_vocab) for `position` and those after it, borrowed for the call. What is cached is
     * reused only up to first_logits. It must not call the engine. */
    void (*on_logits)(void *user, uint32_t position, uint32_t n_rows, const float *logits);
    uint32_t first_logits;
    void *user;
    /* became of it */
    enum finish_reason finish;
    int error;
    uint32_t n_prompt, n_cached, n_output; /* tokens: asked, found in the sequence's cache, generated */
    uint64_t submitted_ns, first_token_ns, last_token_ns; /* of the engine's clock */
};

/* The model and the team stay open as long as the engine. INVALID names an option; FULL and NO_MEMORY say how
 * much is needed. */
int engine_open(struct engine **engine, const struct model *model, struct team *team,
                const struct engine_opts *opts);
void engine_close(struct engine *engine);

/* A timeline of its own. FULL when max_sequences are open. */
int engine_sequence_open(struct engine *engine, struct sequence **sequence);
void engine_sequence_close(struct engine *engine, struct sequence *sequence);

/* Makes `prompt` the sequence's tokens, reusing what is cached of them, and queues the request. INVALID for
 * an empty prompt or a token outside the vocabulary, TOO_LARGE for one longer than the context, FULL for one
 * that the KV memory can never hold. The sequence has no other request running. */
int engine_submit(struct engine *engine, struct request *request, const token_id *prompt, uint32_t n_prompt);
/* Stops a request after the current step; what it computed stays cached. */
void engine_cancel(struct engine *engine, struct request *request);

/* Computes one step. Returns the number of rows computed, 0 when there is nothing to do. A request that
 * cannot go on finishes as FINISH_FAILED, and if others wait for memory its sequence loses what was cached;
 * the engine goes on. */
int engine_step(struct engine *engine);

const struct kv_layout *engine_kv_layout(const struct engine *engine);
struct kv_cache *engine_kv(struct engine *engine);
/* The logits of the latest step's rows: those of `request`'s sequence, (n_vocab), or NULL if it had none.
 * Borrowed until the next step; sampling has changed them where penalties apply. */
const float *engine_logits(const struct engine *engine, const struct request *request);

#endif
