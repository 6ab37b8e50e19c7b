/* The engine: runs what sched/ decides on the model, step by step, and keeps every request's account.
 *
 * One thread owns an engine and everything it hands out. A caller opens sequences, submits requests on them,
 * and calls engine_step until its requests are done; tokens arrive through a request's callback, inside the
 * step. */
#ifndef CABINET_ENGINE_ENGINE_H
#define CABINET_ENGINE_ENGINE_H

#include <stdbool.h>

#include "base/clock.h"
#include "codec/kv_rules.h"
#include "engine/request.h"
#include "kv/kv_account.h"
#include "model/model.h"
#include "model/step_profile.h"
#include "sched/sequence.h"

struct engine;

struct engine_opts {
    uint64_t kv_memory_bytes; /* most bytes of KV; no more is taken than max_sequences + n_cached of
                                 max_tokens need */
    uint32_t n_cached;        /* sequences' worth of memory for what nobody uses now and may be asked again */
    struct kv_rules kv;       /* how K and V are stored */
    uint32_t max_sequences;   /* in one step; others wait */
    uint32_t max_tokens;      /* of one sequence: the context */
    uint32_t chunk_tokens;    /* most prompt tokens of one step */
    /* While others decode, a step takes no more prompt tokens than keep it within so many times its time
     * without them, as measured so far (step_time.h); 0: always chunk_tokens. */
    double chunk_factor;
    const struct evict_policy
        *retain;         /* what stays in the cache (kv/evict_list.h); NULL: least recently used */
    uint32_t slice_rows; /* logits of prompt rows are computed so many at a time; 0: max_sequences */
    struct clock clock;
};

/* The model and the team stay open as long as the engine. INVALID names an option; FULL and NO_MEMORY say how
 * much is needed. */
int engine_open(struct engine **engine, const struct model *model, struct team *team,
                const struct engine_opts *opts);
void engine_close(struct engine *engine);

/* A timeline of its own, for a conversation that keeps its cache between requests. */
int engine_sequence_open(struct engine *engine, struct sequence **sequence);
void engine_sequence_close(struct engine *engine, struct sequence *sequence);

/* What makes a prompt impossible here: INVALID for an empty one or a token outside the vocabulary, TOO_LARGE
 * for one longer than the context, FULL for one that the KV memory can never hold. Any thread. */
int engine_check_prompt(const struct engine *engine, const token_id *prompt, uint32_t n_prompt);
/* Makes `prompt` the sequence's tokens, reusing what is cached of them, and queues the request; any number
 * may wait. Fails as engine_check_prompt, or INVALID for sampling options. The sequence has no other request
 * running. */
int engine_submit(struct engine *engine, struct request *request, const token_id *prompt, uint32_t n_prompt);
/* Ends a request that is not finished; full blocks of what it computed stay cached. */
void engine_cancel(struct engine *engine, struct request *request);

/* Computes one step. Returns the number of rows computed, 0 when there is nothing to do. A request that
 * cannot go on finishes as FINISH_FAILED; the engine goes on. */
int engine_step(struct engine *engine);

/* The latest step that computed something. */
struct engine_step_report {
    uint32_t n_prefill_rows, n_decode_rows;
    uint64_t begin_ns, forward_ns, pick_ns; /* when it began; what the forward pass and sampling took of it */
    uint64_t picked_ns;                     /* when its tokens were known */
    uint64_t fit_ns,
        predicted_ns; /* without picking: measured, and what earlier steps predicted; 0: nothing */
    /* Of KV, whole slots: tiles that several sequences see are read once for all of them; and what these had
     * read alone. */
    uint64_t kv_read_bytes, kv_alone_bytes;
};
const struct engine_step_report *engine_latest_step(const struct engine *engine);
/* Adds the time of every step from now on to *profile, which stays the caller's; NULL: no longer. */
void engine_profile(struct engine *engine, struct step_profile *profile);
struct engine_load {
    uint32_t n_running, n_waiting;
    uint64_t n_preemptions;
};
struct engine_load engine_load(const struct engine *engine);

/* Brings all bills up to now. Who changes the cache from outside (evicts, pins) calls it before. */
void engine_account(struct engine *engine);
/* As of the last engine_account, submission, finish, or step. */
const struct bill_totals *engine_bills(const struct engine *engine);
struct kv_figures engine_kv_figures(const struct engine *engine);

const struct kv_layout *engine_kv_layout(const struct engine *engine);
struct kv_cache *engine_kv(struct engine *engine);
/* Tells the cache the time, as every step does: for who looks at it between two steps. Returns that time, in
 * microseconds. */
uint64_t engine_poll(struct engine *engine);
/* The logits of the latest step's rows: those of `request`'s sequence, (n_vocab), or NULL if it had none.
 * Borrowed until the next step; sampling has changed them where penalties apply. */
const float *engine_logits(const struct engine *engine, const struct request *request);

#endif
