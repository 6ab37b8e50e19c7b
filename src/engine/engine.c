#include "engine/engine.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/transformer.h"
#include "sched/scheduler.h"

enum { HUGE_PAGE = 2 << 20 };

struct engine {
    const struct model *model;
    struct team *team;
    struct engine_opts opts;
    struct kv_layout layout;
    struct kv_cache *kv;
    void *mapping; /* holds the arena, from the first huge page border on */
    size_t mapping_bytes;
    uint8_t *arena;
    struct scheduler scheduler;
    struct batch batch;
    struct workspace workspace;
    struct sampler *sampler;
    struct request **with_logits; /* (batch.n_wanted) whose logits the latest step computed */
    uint32_t n_with_logits;
    uint32_t n_open;
};

/* Beyond what all sequences can fill, memory would only cost bookkeeping. The slack covers slabs' tails. */
static uint64_t arena_bytes(const struct engine_opts *opts, const struct kv_layout *layout) {
    uint64_t need = kv_bytes_for(layout, opts->max_tokens, opts->chunk_tokens) * opts->max_sequences;
    uint64_t most = need + need / 16 + (64u << 20);
    return opts->kv_memory_bytes < most ? opts->kv_memory_bytes : most;
}

static int open_cache(struct engine *engine) {
    const struct engine_opts *opts = &engine->opts;
    TRY(description_kv_layout(&engine->model->description, opts->codec, &engine->layout));
    uint64_t bytes = arena_bytes(opts, &engine->layout);
    struct kv_opts kv_opts = {.memory_bytes = bytes,
                              .max_sequences = opts->max_sequences,
                              .max_tokens = opts->max_tokens,
                              .step_tokens = opts->chunk_tokens};
    TRY(kv_open(&engine->kv, &engine->layout, &kv_opts));
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
    TRY(open_cache(engine));
    uint32_t max_rows = opts->max_sequences + opts->chunk_tokens;
    TRY(scheduler_open(&engine->scheduler, engine->kv, &engine->layout, opts->max_sequences,
                       opts->chunk_tokens));
    TRY(batch_open(&engine->batch, max_rows, opts->max_sequences));
    uint32_t max_wanted = opts->slice_rows > opts->max_sequences ? opts->slice_rows : opts->max_sequences;
    if (max_wanted > max_rows) max_wanted = max_rows;
    TRY(workspace_open(&engine->workspace, engine->model, max_rows, opts->max_sequences, max_wanted,
                       opts->max_tokens, team_size(engine->team)));
    engine->workspace.sink = (struct logits_sink){stream_logits, engine};
    TRY(sampler_open(&engine->sampler, engine->model->description.n_vocab));
    engine->with_logits = mem_alloc(opts->max_sequences, sizeof(struct request *));
    return engine->with_logits == NULL ? ERR_NO_MEMORY : 0;
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
    mem_free(engine->with_logits);
    sampler_close(engine->sampler);
    workspace_close(&engine->workspace);
    batch_close(&engine->batch);
    scheduler_close(&engine->scheduler);
    mem_unmap(engine->mapping, engine->mapping_bytes);
    kv_close(engine->kv);
    mem_free(engine);
}

int engine_sequence_open(struct engine *engine, struct sequence **out) {
    if (engine->n_open == engine->opts.max_sequences)
        return ERR(FULL, "all %" PRIu32 " sequences are open", engine->n_open);
    struct sequence *sequence = mem_alloc(1, sizeof *sequence);
    if (sequence == NULL) return ERR_NO_MEMORY;
    sequence->max_tokens = engine->opts.max_tokens;
    sequence->skips_cache = true; /* a request's n_cached knows only what its own sequence kept */
    sequence->tokens = mem_alloc(sequence->max_tokens, sizeof *sequence->tokens);
    if (sequence->tokens == NULL) {
        mem_free(sequence);
        return ERR_NO_MEMORY;
    }
    engine->n_open++;
    *out = sequence;
    return 0;
}

void engine_sequence_close(struct engine *engine, struct sequence *sequence) {
    if (sequence == NULL) return;
    ASSERT(!sequence_is_scheduled(sequence));
    kv_release(engine->kv, &sequence->kv);
    mem_free(sequence->tokens);
    mem_free(sequence);
    engine->n_open--;
}

static int check_prompt(const struct engine *engine, const token_id *prompt, uint32_t n_prompt) {
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
    uint64_t need = kv_bytes_for(&engine->layout, n_prompt, engine->opts.chunk_tokens);
    struct kv_usage usage = kv_usage(engine->kv);
    if (n_prompt > usage.capacity_tokens)
        return ERR(FULL,
                   "the prompt's %" PRIu32 " tokens take %" PRIu64 " bytes of KV, the KV memory is %" PRIu64
                   " bytes (raise --kv-memory)",
                   n_prompt, need, usage.arena_bytes);
    return 0;
}

int engine_submit(struct engine *engine, struct request *request, const token_id *prompt, uint32_t n_prompt) {
    struct sequence *sequence = request->sequence;
    ASSERT(!sequence_is_scheduled(sequence));
    TRY(sampler_check(&request->sampling));
    TRY(check_prompt(engine, prompt, n_prompt));
    uint32_t first_logits = n_prompt - 1; /* at least one token is left to compute: its logits are wanted */
    if (request->on_logits != NULL && request->first_logits < first_logits)
        first_logits = request->first_logits;
    uint32_t n_common = 0;
    while (n_common < sequence->kv.n_computed && n_common < first_logits &&
           sequence->tokens[n_common] == prompt[n_common])
        n_common++;
    request->n_cached = kv_truncate(engine->kv, &sequence->kv, n_common);
    memcpy(sequence->tokens, prompt, n_prompt * sizeof *prompt);
    sequence->n_tokens = n_prompt;
    sequence->stream_begin = first_logits;
    sequence->stream_end = n_prompt - 1; /* the last position's logits are kept to sample from */
    sequence->owner = request;
    request->finish = FINISH_NONE;
    request->error = 0;
    request->n_prompt = n_prompt;
    request->n_output = 0;
    request->submitted_ns = request->first_token_ns = request->last_token_ns =
        clock_now_ns(&engine->opts.clock);
    scheduler_add(&engine->scheduler, sequence);
    return 0;
}

static void finish(struct engine *engine, struct request *request, enum finish_reason reason) {
    request->finish = reason;
    scheduler_remove(&engine->scheduler, request->sequence);
}

void engine_cancel(struct engine *engine, struct request *request) {
    if (request->finish == FINISH_NONE) finish(engine, request, FINISH_CANCELLED);
}

/* The next token of a request, from its logits. */
static void take_token(struct engine *engine, struct request *request, float *logits) {
    struct sequence *sequence = request->sequence;
    token_id token = sampler_pick(engine->sampler, &request->sampling, logits, sequence->tokens,
                                  sequence->n_tokens, request->n_prompt);
    request->last_token_ns = clock_now_ns(&engine->opts.clock);
    if (request->n_output == 0) request->first_token_ns = request->last_token_ns;
    if (!request->ignores_end && tokenizer_is_end(engine->model->tokenizer, token)) {
        finish(engine, request, FINISH_END);
        return;
    }
    sequence->tokens[sequence->n_tokens++] = token;
    request->n_output++;
    if (request->on_token != NULL) request->on_token(request->user, token);
    if (request->finish != FINISH_NONE) return; /* cancelled from the callback */
    if (request->n_output >= request->max_output_tokens)
        finish(engine, request, FINISH_LENGTH);
    else if (sequence->n_tokens == sequence->max_tokens)
        finish(engine, request, FINISH_CONTEXT);
}

int engine_step(struct engine *engine) {
    struct sequence *failed;
    int result;
    while ((result = scheduler_next(&engine->scheduler, &engine->batch, engine->opts.chunk_tokens, &failed)) <
           0) {
        struct request *request = failed->owner;
        request->error = result;
        finish(engine, request, FINISH_FAILED);
        /* Others wait for slots too: without these they would all fail one after the other. */
        if (engine->scheduler.n_running + engine->scheduler.n_waiting > 0)
            kv_release(engine->kv, &failed->kv);
    }
    struct batch *batch = &engine->batch;
    if (batch->n_rows == 0) return 0;
    transformer_forward(engine->model, &engine->layout, engine->arena, &engine->workspace, engine->team,
                        batch);
    engine->n_with_logits = 0;
    for (uint32_t i = 0; i < engine->scheduler.n_in_step; i++) {
        struct sequence *sequence = engine->scheduler.in_step[i];
        if (sequence->kv.n_computed + sequence->n_rows == sequence->n_tokens)
            engine->with_logits[engine->n_with_logits++] = sequence->owner;
    }
    scheduler_commit(&engine->scheduler);
    size_t n_vocab = engine->model->description.n_vocab;
    for (uint32_t i = 0; i < engine->n_with_logits; i++) {
        struct request *request = engine->with_logits[i];
        if (request->finish != FINISH_NONE) continue; /* cancelled from another's callback */
        float *logits = engine->workspace.logits + i * n_vocab;
        if (request->on_logits != NULL && request->n_output == 0 && request->first_logits < request->n_prompt)
            request->on_logits(request->user, request->n_prompt - 1, 1, logits);
        take_token(engine, request, logits);
    }
    return (int)batch->n_rows;
}

const struct kv_layout *engine_kv_layout(const struct engine *engine) { return &engine->layout; }
struct kv_cache *engine_kv(struct engine *engine) { return engine->kv; }

const float *engine_logits(const struct engine *engine, const struct request *request) {
    for (uint32_t i = 0; i < engine->n_with_logits; i++)
        if (engine->with_logits[i] == request)
            return engine->workspace.logits + i * (size_t)engine->model->description.n_vocab;
    return NULL;
}
