/* One step: what runs, the forward pass, the next tokens. */
#include <stdio.h>

#include "base/err.h"
#include "codec/kv_copy.h"
#include "engine/engine_state.h"
#include "kv/kv_pin.h"
#include "model/constraint.h"

/* The step without prefill: what the chunk is measured against. */
static struct step_shape decode_shape(const struct engine *engine) {
    struct step_shape shape = {0};
    for (const struct sequence *s = engine->scheduler.running.first; s != NULL; s = s->link.next) {
        if (sequence_tokens_left(s) != 1) continue;
        shape.decode_rows++;
        shape.decode_kv_tokens += s->n_tokens;
    }
    return shape;
}

/* The positions from which the next prefill chunk goes on. */
static uint32_t prefill_context(const struct engine *engine) {
    for (const struct sequence *s = engine->scheduler.running.first; s != NULL; s = s->link.next)
        if (sequence_tokens_left(s) > 1) return s->kv.n_computed;
    return 0;
}

/* Of a chunk beside decode rows. Deep in a prompt one of its rows takes as long as several decode rows: a
 * whole block at a time would make a step four times as long as without. */
enum { LEAST_CHUNK = 8 };

uint32_t engine_chunk(const struct engine *engine, const struct step_shape *decoding, uint32_t context) {
    const struct engine_opts *opts = &engine->opts;
    if (opts->chunk_factor <= 0 || decoding->decode_rows == 0) return opts->chunk_tokens;
    return step_time_chunk(&engine->step_time, decoding, context, opts->chunk_factor, LEAST_CHUNK,
                           opts->chunk_tokens);
}

static uint32_t prefill_budget(const struct engine *engine) {
    const struct step_shape shape = decode_shape(engine);
    return engine_chunk(engine, &shape, prefill_context(engine));
}

/* Tells the fit of step times what this step was, and what it took. */
static void note_step(struct engine *engine, uint64_t begin_ns, uint64_t end_ns) {
    const struct batch *batch = &engine->batch;
    struct step_shape shape = {0};
    for (uint32_t i = 0; i < batch->n_sequences; i++) {
        const struct batch_sequence *entry = &batch->sequences[i];
        if (entry->n_rows == 1) {
            shape.decode_rows++;
            shape.decode_kv_tokens += entry->first_position + 1;
        } else {
            shape.prefill_rows += entry->n_rows;
            uint64_t n = entry->n_rows;
            shape.prefill_kv_tokens += n * entry->first_position + n * (n + 1) / 2;
        }
    }
    const bool is_known = engine->step_time.n_noted[shape.prefill_rows > 0] > 0;
    engine->report.fit_ns = end_ns - begin_ns;
    engine->report.predicted_ns =
        is_known ? (uint64_t)(1e9 * step_time_predict(&engine->step_time, &shape)) : 0;
    step_time_note(&engine->step_time, &shape, (double)(end_ns - begin_ns) * 1e-9);
    kv_set_recompute_cost(engine->kv, 1e9 * step_time_of_row(&engine->step_time),
                          1e9 * step_time_of_key(&engine->step_time));
    engine->report.n_decode_rows = shape.decode_rows;
    engine->report.n_prefill_rows = shape.prefill_rows;
}

/* What a step took beside that: commit and sampling. */
static void note_rest(struct engine *engine) {
    enum { MEAN_STEPS = 32 };
    const struct engine_step_report *report = &engine->report;
    const double rest = (double)(report->picked_ns - report->begin_ns - report->fit_ns) * 1e-9;
    engine->mean_rest += (rest - engine->mean_rest) / (engine->mean_rest > 0 ? MEAN_STEPS : 1);
}

/* Who gets a token of this step, in the order of the logits. */
static void list_with_logits(struct engine *engine, uint64_t now_ns) {
    engine->n_with_logits = 0;
    for (uint32_t i = 0; i < engine->scheduler.n_in_step; i++) {
        struct sequence *sequence = engine->scheduler.in_step[i];
        struct request *request = sequence->owner;
        if (request->started_ns == 0) request->started_ns = now_ns;
        if (sequence->kv.n_computed + sequence->n_rows < sequence->n_tokens) continue;
        engine->is_over[engine->n_with_logits] = false;
        engine->with_logits[engine->n_with_logits++] = request;
    }
}

static void begin_masks(struct engine *engine) {
    struct mask_job *jobs = mask_thread_jobs(engine->masks);
    uint32_t n = 0;
    for (uint32_t i = 0; i < engine->n_with_logits; i++) {
        const struct request *request = engine->with_logits[i];
        if (request->constraint != NULL)
            jobs[n++] = (struct mask_job){.constraint = request->constraint, .mask = request->mask};
    }
    mask_thread_begin(engine->masks, n);
}

static int fail(struct engine *engine, struct request *request, int error) {
    request->error = error;
    engine_finish(engine, request, FINISH_FAILED);
    return error;
}

/* Requests whose mask could not be made fail. */
static void end_masks(struct engine *engine) {
    mask_thread_wait(engine->masks);
    const struct mask_job *job = mask_thread_jobs(engine->masks);
    for (uint32_t i = 0; i < engine->n_with_logits; i++) {
        struct request *request = engine->with_logits[i];
        if (request->constraint == NULL) continue;
        if (job->result < 0) {
            (void)ERR(INTERNAL, "the constraint on the answer: %s", job->message);
            fail(engine, request, job->result);
        }
        job++;
    }
}

/* Why an answer ends behind the token that was just taken, if it does. */
static enum finish_reason end_of(const struct request *request, bool stops) {
    const struct sequence *sequence = request->sequence;
    if (stops) return FINISH_STOPPED;
    if (request->constraint != NULL && constraint_is_finished(request->constraint)) return FINISH_END;
    if (request->n_output >= request->max_output_tokens) return FINISH_LENGTH;
    return sequence->n_tokens == sequence->max_tokens ? FINISH_CONTEXT : FINISH_NONE;
}

/* The token that was picked from the i-th logits. */
static void take_token(struct engine *engine, uint32_t i) {
    struct request *request = engine->with_logits[i];
    const struct pick *pick = &engine->picker.picks[i];
    struct sequence *sequence = request->sequence;
    request->last_token_ns = engine->report.picked_ns;
    if (request->n_output == 0) request->first_token_ns = request->last_token_ns;
    if (!request->ignores_end && tokenizer_is_end(engine->model->tokenizer, pick->token)) {
        engine_finish(engine, request, FINISH_END);
        return;
    }
    int accepted = request->constraint == NULL ? 0 : constraint_accept(request->constraint, pick->token);
    if (accepted < 0) {
        fail(engine, request, accepted);
        return;
    }
    sequence->tokens[sequence->n_tokens++] = pick->token;
    request->n_output++;
    const struct token_report report = {pick->token, pick->logprob,
                                        request->wants_logprobs ? request->n_top_logprobs : 0, pick->top};
    bool stops = request->on_token != NULL && request->on_token(request->user, &report);
    if (engine->is_over[i]) return; /* cancelled from the callback */
    enum finish_reason end = end_of(request, stops);
    if (end != FINISH_NONE) engine_finish(engine, request, end);
}

/* Logits of the last prompt position go to who streams them, and all rows to the picker. */
static void pick_tokens(struct engine *engine) {
    size_t n_vocab = engine->model->description.n_vocab;
    for (uint32_t i = 0; i < engine->n_with_logits; i++) {
        engine->picker.picks[i].request = NULL;
        if (engine->is_over[i]) continue;
        struct request *request = engine->with_logits[i];
        float *logits = engine->workspace.logits + i * n_vocab;
        if (request->on_logits != NULL && request->n_output == 0 && request->first_logits < request->n_prompt)
            request->on_logits(request->user, request->n_prompt - 1, 1, logits);
        struct pick *pick = &engine->picker.picks[i];
        pick->request = request;
        pick->logits = logits;
        pick->mask = request->constraint == NULL ? NULL : request->mask;
        if (request->n_output == 0) request->n_cached = request->sequence->n_matched;
    }
    picker_run(&engine->picker, engine->n_with_logits);
}

/* Fills the batch. Requests that can never go on fail. */
static void schedule(struct engine *engine) {
    struct sequence *failed;
    int result;
    uint32_t budget = prefill_budget(engine);
    while ((result = scheduler_next(&engine->scheduler, &engine->batch, budget, &failed)) < 0)
        fail(engine, failed->owner, result);
}

struct op_job {
    const struct engine *engine;
    const struct kv_op *op;
};

static void do_op_item(void *argument, unsigned rank, size_t item) {
    (void)rank;
    const struct op_job *job = argument;
    kv_op_do(&job->engine->layout, job->engine->arena, job->op, item);
}

/* What kv/ wants moved before the forward pass; one after the other, each on all threads. */
static void do_ops(struct engine *engine) {
    const struct kv_op *ops;
    uint32_t n_ops = kv_ops(engine->kv, &ops);
    for (uint32_t i = 0; i < n_ops; i++) {
        struct op_job job = {engine, &ops[i]};
        size_t n_items = kv_op_n_items(&engine->layout, &ops[i]);
        team_for(n_items > 1 ? engine->team : NULL, n_items, 1, do_op_item, &job);
    }
}

/* Nothing ran: that was no step. */
static int forget_step(struct step_profile *profile) {
    if (profile != NULL) profile->n_steps--;
    return 0;
}

int engine_step(struct engine *engine) {
    const struct clock *clock = &engine->opts.clock;
    struct engine_step_report *report = &engine->report;
    struct step_profile *profile = engine->workspace.profile;
    uint64_t begin_ns = clock_now_ns(clock);
    step_profile_begin(profile);
    bills_advance(&engine->bills, begin_ns);
    kv_poll(engine->kv, begin_ns / 1000);
    schedule(engine);
    if (engine->batch.n_rows == 0) return forget_step(profile);
    report->begin_ns = begin_ns;
    list_with_logits(engine, begin_ns);
    begin_masks(engine);
    uint64_t scheduled_ns = clock_now_ns(clock);
    do_ops(engine);
    step_profile_end_part(profile, STEP_PART_SCHEDULE);
    transformer_forward(engine->model, &engine->layout, engine->arena, &engine->workspace, engine->team,
                        &engine->batch);
    uint64_t computed_ns = clock_now_ns(clock);
    note_step(engine, begin_ns, computed_ns);
    bills_step(&engine->bills, computed_ns);
    scheduler_commit(&engine->scheduler);
    step_profile_end_part(profile, STEP_PART_COMMIT);
    uint64_t committed_ns = clock_now_ns(clock);
    end_masks(engine);
    pick_tokens(engine);
    report->picked_ns = clock_now_ns(clock);
    note_rest(engine);
    report->forward_ns = computed_ns - scheduled_ns;
    report->kv_read_bytes = engine->workspace.reads.bytes;
    report->kv_alone_bytes = engine->workspace.reads.alone_bytes;
    report->pick_ns = report->picked_ns - committed_ns;
    for (uint32_t i = 0; i < engine->n_with_logits; i++)
        if (!engine->is_over[i]) take_token(engine, i);
    step_profile_end_part(profile, STEP_PART_SAMPLE);
    return (int)engine->batch.n_rows;
}
