/* Opening, and requests on their way in and out. */
#include "engine/engine.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "engine/engine_state.h"
#include "kv/kv_pin.h"
#include "kv/kv_usage.h"

enum { HUGE_PAGE = 2 << 20, FIRST_MEAN_OUTPUT = 256, MEAN_OVER = 32 };

/* Beyond what all sequences can fill, memory would only cost bookkeeping. The slack covers slabs' tails. */
static uint64_t arena_bytes(const struct engine_opts *opts, const struct kv_layout *layout) {
    uint64_t n_sequences = (uint64_t)opts->max_sequences + opts->n_cached;
    uint64_t need = kv_bytes_for(layout, opts->max_tokens, opts->chunk_tokens) * n_sequences;
    uint64_t most = need + need / 16 + (64u << 20);
    return opts->kv_memory_bytes < most ? opts->kv_memory_bytes : most;
}

static int open_cache(struct engine *engine) {
    const struct engine_opts *opts = &engine->opts;
    TRY(description_kv_layout(&engine->model->description, &opts->kv, &engine->layout));
    uint64_t bytes = arena_bytes(opts, &engine->layout);
    struct kv_opts kv_opts = {.memory_bytes = bytes,
                              .max_sequences = opts->max_sequences,
                              .max_tokens = opts->max_tokens,
                              .step_tokens = opts->chunk_tokens,
                              .retain = opts->retain};
    TRY(kv_open(&engine->kv, &engine->layout, &kv_opts));
    engine->arena_bytes = bytes;
    engine->capacity_tokens = kv_usage(engine->kv).capacity_tokens;
    engine->mapping_bytes = bytes + HUGE_PAGE;
    engine->mapping = mem_map(engine->mapping_bytes);
    if (engine->mapping == NULL) return ERR_NO_MEMORY;
    engine->arena = (uint8_t *)(((uintptr_t)engine->mapping + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    return 0;
}

/* Hands a slice of streamed rows to the requests that asked for them. */
static void stream_logits(void *user, uint32_t first, uint32_t n_rows, const float *logits) {
    struct engine *engine = user;
    const struct batch *batch = &engine->batch;
    size_t n_vocab = engine->model->description.n_vocab;
    uint32_t i = 0, end = first + n_rows;
    while (first < end) {
        while (batch->streamed[first] >= batch->sequences[i].first_row + batch->sequences[i].n_rows) i++;
        const struct batch_sequence *entry = &batch->sequences[i];
        uint32_t n = 1; /* rows of this sequence in the slice: they are consecutive */
        while (first + n < end && batch->streamed[first + n] < entry->first_row + entry->n_rows) n++;
        struct request *request = engine->scheduler.in_step[i]->owner;
        uint32_t position = entry->first_position + (batch->streamed[first] - entry->first_row);
        request->on_logits(request->user, position, n, logits);
        logits += n * n_vocab;
        first += n;
    }
}

static int open_parts(struct engine *engine) {
    const struct engine_opts *opts = &engine->opts;
    uint32_t n_vocab = engine->model->description.n_vocab;
    TRY(open_cache(engine));
    uint32_t max_rows = opts->max_sequences + opts->chunk_tokens;
    TRY(scheduler_open(&engine->scheduler, engine->kv, &engine->layout, opts->max_sequences,
                       opts->chunk_tokens));
    TRY(bills_open(&engine->bills, &engine->scheduler, opts->max_sequences, clock_now_ns(&opts->clock)));
    TRY(batch_open(&engine->batch, max_rows, opts->max_sequences));
    uint32_t max_wanted = opts->slice_rows > opts->max_sequences ? opts->slice_rows : opts->max_sequences;
    if (max_wanted > max_rows) max_wanted = max_rows;
    TRY(workspace_open(&engine->workspace, engine->model, &engine->layout, max_rows, opts->max_sequences,
                       max_wanted, opts->max_tokens, team_size(engine->team)));
    engine->workspace.sink = (struct logits_sink){stream_logits, engine};
    TRY(picker_open(&engine->picker, engine->model->tokenizer, engine->model->kernels, n_vocab,
                    opts->max_sequences, engine->team));
    TRY(mask_thread_open(&engine->masks, opts->max_sequences));
    engine->with_logits = mem_alloc(opts->max_sequences, sizeof(struct request *));
    engine->is_over = mem_alloc(opts->max_sequences, sizeof *engine->is_over);
    return engine->with_logits == NULL || engine->is_over == NULL ? ERR_NO_MEMORY : 0;
}

int engine_open(struct engine **out, const struct model *model, struct team *team,
                const struct engine_opts *opts) {
    if (opts->max_sequences == 0 || opts->max_tokens == 0 || opts->chunk_tokens == 0)
        return ERR(INVALID, "an engine needs at least one sequence, a context and a chunk of one token");
    struct engine *engine = mem_alloc(1, sizeof *engine);
    if (engine == NULL) return ERR_NO_MEMORY;
    engine->model = model;
    engine->team = team;
    engine->opts = *opts;
    engine->mean_prompt = engine->mean_output = FIRST_MEAN_OUTPUT;
    step_time_open(&engine->step_time);
    int result = open_parts(engine);
    if (result < 0) {
        engine_close(engine);
        return result;
    }
    *out = engine;
    return 0;
}

void engine_close(struct engine *engine) {
    if (engine == NULL) return;
    ASSERT(engine->n_open == 0);
    mem_free(engine->is_over);
    mem_free(engine->with_logits);
    mask_thread_close(engine->masks);
    picker_close(&engine->picker);
    workspace_close(&engine->workspace);
    batch_close(&engine->batch);
    bills_close(&engine->bills);
    scheduler_close(&engine->scheduler);
    mem_unmap(engine->mapping, engine->mapping_bytes);
    kv_close(engine->kv);
    mem_free(engine);
}

int engine_sequence_open(struct engine *engine, struct sequence **out) {
    struct sequence *sequence;
    TRY(sequence_new(&sequence, engine->opts.max_tokens));
    engine->n_open++;
    *out = sequence;
    return 0;
}

void engine_sequence_close(struct engine *engine, struct sequence *sequence) {
    if (sequence == NULL) return;
    if (sequence->kv.table != 0) engine_account(engine);
    kv_release(engine->kv, &sequence->kv);
    sequence_free(sequence);
    engine->n_open--;
}

int engine_check_prompt(const struct engine *engine, const token_id *prompt, uint32_t n_prompt) {
    if (n_prompt == 0) return ERR(INVALID, "the prompt is empty");
    if (n_prompt >= engine->opts.max_tokens)
        return ERR(TOO_LARGE,
                   "the prompt has %" PRIu32 " tokens, the context holds %" PRIu32
                   " and the answer needs at least one (shorten the prompt or raise --ctx)",
                   n_prompt, engine->opts.max_tokens);
    for (uint32_t i = 0; i < n_prompt; i++)
        if (prompt[i] < 0 || (uint32_t)prompt[i] >= engine->model->description.n_vocab)
            return ERR(INVALID, "prompt token %" PRIu32 " has id %" PRId32 ", the vocabulary has %" PRIu32, i,
                       prompt[i], engine->model->description.n_vocab);
    if (n_prompt <= engine->capacity_tokens) return 0;
    return ERR(FULL,
               "the prompt's %" PRIu32 " tokens take %" PRIu64 " bytes of KV, the KV memory is %" PRIu64
               " bytes (raise --kv-memory)",
               n_prompt, kv_bytes_for(&engine->layout, n_prompt, engine->opts.chunk_tokens),
               engine->arena_bytes);
}

/* The tokens that the sequence will probably have at its end: the prompt and an answer as long as others. */
static uint32_t expected_tokens(const struct engine *engine, const struct request *request) {
    uint32_t n_output = (uint32_t)engine->mean_output;
    if (n_output > request->max_output_tokens) n_output = request->max_output_tokens;
    uint64_t n = (uint64_t)request->n_prompt + n_output;
    return n < request->sequence->max_tokens ? (uint32_t)n : request->sequence->max_tokens;
}

int engine_submit(struct engine *engine, struct request *request, const token_id *prompt, uint32_t n_prompt) {
    struct sequence *sequence = request->sequence;
    ASSERT(!sequence_is_scheduled(sequence));
    TRY(sampler_check(&request->sampling));
    TRY(engine_check_prompt(engine, prompt, n_prompt));
    ASSERT(n_prompt < sequence->max_tokens);
    uint32_t first_logits = n_prompt - 1; /* at least one token is left to compute: its logits are wanted */
    if (request->on_logits != NULL && request->first_logits < first_logits)
        first_logits = request->first_logits;
    uint32_t n_common = 0;
    while (n_common < sequence->kv.n_computed && n_common < first_logits &&
           sequence->tokens[n_common] == prompt[n_common])
        n_common++;
    engine_account(engine);
    request->n_cached = kv_truncate(engine->kv, &sequence->kv, n_common);
    if (request->n_cached == 0) kv_release(engine->kv, &sequence->kv); /* so that the cache is looked into */
    memmove(sequence->tokens, prompt, n_prompt * sizeof *prompt);
    sequence->n_tokens = n_prompt;
    sequence->stream_begin = first_logits;
    sequence->stream_end = n_prompt - 1; /* the last position's logits are kept to sample from */
    sequence->owner = request;
    sequence->priority = request->priority;
    sequence->salt = request->salt;
    sequence->skips_cache = request->skips_cache;
    request->finish = FINISH_NONE;
    request->error = 0;
    request->n_prompt = n_prompt;
    request->n_output = 0;
    request->bill = (struct kv_bill){0};
    request->started_ns = 0;
    request->submitted_ns = request->first_token_ns = request->last_token_ns =
        clock_now_ns(&engine->opts.clock);
    sequence->n_expected = expected_tokens(engine, request);
    scheduler_add(&engine->scheduler, sequence);
    return 0;
}

void engine_finish(struct engine *engine, struct request *request, enum finish_reason reason) {
    engine_account(engine); /* the last moment in which the sequence is the request's */
    scheduler_remove(&engine->scheduler, request->sequence);
    /* Who failed for want of memory leaves it to those who wait for it. */
    bool is_wanted = reason == FINISH_FAILED && engine->scheduler.n_running + engine->scheduler.n_waiting > 0;
    if (request->releases_cache || is_wanted) kv_release(engine->kv, &request->sequence->kv);
    if (reason != FINISH_CANCELLED && reason != FINISH_FAILED) {
        engine->mean_prompt += ((double)request->n_prompt - engine->mean_prompt) / MEAN_OVER;
        engine->mean_output += ((double)request->n_output - engine->mean_output) / MEAN_OVER;
    }
    request->finish = reason;
    for (uint32_t i = 0; i < engine->n_with_logits; i++)
        if (engine->with_logits[i] == request) engine->is_over[i] = true;
    if (request->on_finish != NULL) request->on_finish(request->user);
}

void engine_cancel(struct engine *engine, struct request *request) {
    if (request->finish == FINISH_NONE) engine_finish(engine, request, FINISH_CANCELLED);
}

const struct kv_layout *engine_kv_layout(const struct engine *engine) { return &engine->layout; }
struct kv_cache *engine_kv(struct engine *engine) { return engine->kv; }

void engine_account(struct engine *engine) {
    bills_advance(&engine->bills, clock_now_ns(&engine->opts.clock));
}

const struct bill_totals *engine_bills(const struct engine *engine) { return &engine->bills.totals; }

struct kv_figures engine_kv_figures(const struct engine *engine) {
    return kv_account_figures(engine->bills.account);
}

uint64_t engine_poll(struct engine *engine) {
    uint64_t now_ns = clock_now_ns(&engine->opts.clock), now_us = now_ns / 1000;
    bills_advance(&engine->bills, now_ns);
    kv_poll(engine->kv, now_us);
    return now_us;
}

struct engine_load engine_load(const struct engine *engine) {
    const struct scheduler *scheduler = &engine->scheduler;
    return (struct engine_load){scheduler->n_running, scheduler->n_waiting, scheduler->n_preemptions};
}

void engine_profile(struct engine *engine, struct step_profile *profile) {
    engine->workspace.profile = profile;
    team_measure_waits(engine->team, profile == NULL ? NULL : &profile->clock,
                       profile == NULL ? NULL : &profile->waited_ns);
}

const struct engine_step_report *engine_latest_step(const struct engine *engine) { return &engine->report; }

const float *engine_logits(const struct engine *engine, const struct request *request) {
    for (uint32_t i = 0; i < engine->n_with_logits; i++)
        if (engine->with_logits[i] == request)
            return engine->workspace.logits + i * (size_t)engine->model->description.n_vocab;
    return NULL;
}
