/* The engine's part of a generation: what runs on its thread. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "server/account.h"
#include "server/generation.h"
#include "server/request_times.h"

/* ---- callbacks of a choice's request ---- */

/* What the engine's thread still has to do with a generation is counted; with the last of it the generation
 * is the event thread's, and must not be touched here any more. */
static void let_go(struct generation *generation) {
    struct mailbox *mailbox = generation->server->mailbox;
    bool is_last = --generation->n_left == 0;
    mailbox_post_quietly(mailbox, is_last ? &generation->ended : &generation->news);
}

/* A prompt counts when it is computed: with the first token behind it. */
static void count_token(const struct choice *choice, bool is_first) {
    struct metrics *metrics = choice->generation->server->metrics;
    metrics_add(metrics, METRIC_generation_tokens, 1);
    if (!is_first) return;
    int64_t n_prompt = (int64_t)choice->prompt->n, n_cached = choice->request.n_cached;
    metrics_add(metrics, METRIC_prompt_tokens, n_prompt);
    metrics_add(metrics, METRIC_prompt_tokens_cached, n_cached);
    metrics_add(metrics, METRIC_prefix_cache_queries, n_prompt);
    metrics_add(metrics, METRIC_prefix_cache_hits, n_cached);
    metrics_add_at(metrics, METRIC_kv_prefix_tokens, metric_series(METRIC_outcome_hit, 0), n_cached);
    metrics_add_at(metrics, METRIC_kv_prefix_tokens, metric_series(METRIC_outcome_miss, 0),
                   n_prompt - n_cached);
}

static bool on_token(void *user, const struct token_report *report) {
    struct choice *choice = user;
    struct generation *generation = choice->generation;
    uint32_t n = atomic_load_explicit(&choice->n_written, memory_order_relaxed);
    choice->ring[n] = (struct ring_token){report->token, report->logprob};
    if (choice->tops != NULL)
        memcpy(choice->tops + (size_t)n * report->n_top, report->top, report->n_top * sizeof *report->top);
    uint64_t now_ns = choice->request.last_token_ns;
    if (n > 0) metrics_note_gap(generation->server->metrics, now_ns - choice->latest_token_ns);
    choice->latest_token_ns = now_ns;
    count_token(choice, n == 0);
    atomic_store_explicit(&choice->n_written, n + 1, memory_order_release);
    mailbox_post_quietly(generation->server->mailbox, &generation->news);
    return choice->stops != NULL && output_text_add(choice->stops, report->token, NULL);
}

/* The distribution at `position` tells the prompt's token behind it. */
static void on_logits(void *user, uint32_t position, uint32_t n_rows, const float *logits) {
    struct choice *choice = user;
    const struct request *request = &choice->request;
    uint32_t n_vocab = choice->generation->server->opts.model->description.n_vocab;
    for (uint32_t i = position + 1; i <= position + n_rows && i < choice->prompt->n; i++) {
        struct ring_token *token = &choice->prompt_ring[i];
        token->logprob =
            logprobs_of(logits + (size_t)(i - position - 1) * n_vocab, n_vocab, token->token,
                        request->n_top_logprobs, choice->prompt_tops + (size_t)i * request->n_top_logprobs);
    }
}

static void end_choice(struct choice *choice, enum finish_reason finish) {
    struct generation *generation = choice->generation;
    choice->has_ended = true;
    atomic_store_explicit(&choice->finish, (int)finish, memory_order_release);
    let_go(generation);
}

static void fail(struct generation *generation, int error) {
    if (atomic_load(&generation->failure_code) != 0) return;
    snprintf(generation->failure, sizeof generation->failure, "%s", err_message());
    atomic_store(&generation->failure_code, error);
}

static void on_finish(void *user) {
    struct choice *choice = user;
    struct mailbox *mailbox = choice->generation->server->mailbox;
    const struct request *request = &choice->request;
    enum finish_reason finish = request->finish;
    bool has_failed = finish == FINISH_FAILED; /* perhaps without a step, behind which the mailbox is woken */
    /* The KV memory is full and nobody else has any of it: what there is, is the answer. */
    if (finish == FINISH_FAILED && request->error == ERR_FULL && request->n_output > 0)
        finish = FINISH_CONTEXT;
    if (finish == FINISH_FAILED) fail(choice->generation, request->error);
    end_choice(choice, finish);
    if (has_failed) mailbox_wake(mailbox);
}

/* ---- tasks ---- */

static void submit(struct engine *engine, struct choice *choice) {
    const struct token_list *prompt = choice->prompt;
    choice->is_submitted = true;
    choice->request.on_token = on_token;
    choice->request.on_finish = on_finish;
    if (choice->prompt_ring != NULL) {
        for (size_t i = 0; i < prompt->n; i++)
            choice->prompt_ring[i] = (struct ring_token){prompt->ids[i], NAN};
        choice->request.on_logits = on_logits;
    }
    const struct forecast_ask ask = {prompt->ids, (uint32_t)prompt->n, choice->request.salt,
                                     choice->request.max_output_tokens};
    if (choice->index == 0) engine_forecast(engine, &ask, &choice->forecast);
    int result = engine_submit(engine, &choice->request, prompt->ids, (uint32_t)prompt->n);
    if (result == 0) return;
    fail(choice->generation, result);
    end_choice(choice, FINISH_FAILED);
}

/* Each task counts itself while it runs, so that what it ends is not gone before it returns. Of several
 * answers to a prompt the first computes it, and the others take it over (scheduler.h, rule 8). */
void generation_submit(struct engine *engine, void *user) {
    struct generation *generation = user;
    struct mailbox *mailbox = generation->server->mailbox;
    generation->n_left++;
    for (uint32_t i = 0; i < generation->n_choices; i++) submit(engine, &generation->choices[i]);
    let_go(generation);
    mailbox_wake(mailbox);
}

/* The event thread waits for this task once it has posted it, also when all has ended meanwhile. */
void generation_cancel(struct engine *engine, void *user) {
    struct generation *generation = user;
    struct mailbox *mailbox = generation->server->mailbox;
    for (uint32_t i = 0; i < generation->n_choices; i++) {
        struct choice *choice = &generation->choices[i];
        if (choice->has_ended) continue;
        if (choice->is_submitted)
            engine_cancel(engine, &choice->request);
        else
            end_choice(choice, FINISH_CANCELLED);
    }
    account_load(generation->server, engine);
    mailbox_post(mailbox, &generation->cancelled);
}
